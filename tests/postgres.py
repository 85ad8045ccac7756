"""A PostgreSQL of the tests' own: started once on a free port as an ordinary user, and taken down again."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

MISSING = "PostgreSQL is not installed here (no initdb found): the tests on PostgreSQL are skipped."


@dataclass(frozen=True)
class Server:
    """A running server; `binaries` is the folder of pg_ctl, `data` its data folder."""

    binaries: Path
    data: Path
    port: int

    def new_database(self) -> str:
        """The URL of a fresh, empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres", "postgresql"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name, "postgresql")

    def url(self, database: str, scheme: str) -> str:
        return f"{scheme}://tester@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        _run([self.binaries / "pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop"])

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off "
            "-c max_connections=200"
        )
        log = self.data / "server.log"
        _run([self.binaries / "pg_ctl", "-D", self.data, "-o", options, "-l", log, "-w", "-t", "60", "start"])


def postgres_binaries() -> Path | None:
    """Where initdb and pg_ctl are: on PATH, in Debian's folders, or nowhere."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: _number(p.parent.name))[::-1]
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One server for the session; skips with one line where PostgreSQL is not installed."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="rollback-bot-pg-"))
    try:
        if _user() is not None:
            shutil.chown(folder, *_user_and_group())
        data = folder / "data"
        _run([binaries / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"])
        server = Server(binaries, data, _free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """A fresh database on the session's server."""
    return postgres_server.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind in turn, without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rollback.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def _user() -> str | None:
    """PostgreSQL refuses to run as root: then it runs as an ordinary user of this machine."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _user_and_group() -> tuple[int, int]:
    entry = pwd.getpwnam(_user() or "")
    return entry.pw_uid, entry.pw_gid


def _run(command: list[str | Path]) -> None:
    user = _user()
    identity = dict(zip(("user", "group"), _user_and_group(), strict=True)) if user else {}
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        cwd="/",
        timeout=120,
        extra_groups=[] if user else None,
        **identity,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stdout.decode(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
