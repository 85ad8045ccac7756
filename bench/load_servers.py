"""The web servers that are put under load: ours, and a minimal Probot app beside it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bot.durable import migrate_engine
from bot.migrations import migrate

SECRET = "bench"  # noqa: S105 - of the bench's own servers
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Server:
    """A web server in processes of its own, on a free port."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.port = _free_port()
        self._command = command
        self._folder = folder
        self._environment = {"PATH": os.environ["PATH"], "PORT": str(self.port), **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        log = self._folder / "server.log"
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=log.open("wb"),
            start_new_session=True,
        )
        until_s = time.monotonic() + 30
        while time.monotonic() < until_s and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2):
                    return self
            except OSError:
                time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"{self._command[0]} did not start: {log.read_text()[-2000:]}")

    def __exit__(self, *_error: object) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=10)

    def pids(self) -> list[int]:
        """Its processes."""
        assert self._process is not None
        found = [self._process.pid]
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == self._process.pid:
                found.append(int(status.parent.name))
        return found

    def cpu_s(self) -> float:
        """CPU seconds used so far."""
        total = 0
        for pid in self.pids():
            parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(parts[11]) + int(parts[12])
        return total / TICKS_PER_S

    def memory_mb(self) -> float:
        """Memory of all its processes together, shared pages counted once a process."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def ours(database_url: str, folder: Path) -> Server:
    """`rollback-bot web` on a migrated database."""
    migrate(database_url)
    migrate_engine(database_url)
    environment = {
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder),
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "GITHUB_TOKEN": "unused",
    }
    return Server([sys.executable, "-m", "bot.cli", "web"], folder, environment)


def probot(folder: Path) -> Server | None:
    """A minimal Probot app; None, and one line that says why, where Node or the package cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        print("Node is not here, so there is no Probot to compare with.", file=sys.stderr)
        return None
    for name in ("app.mjs", "package.json"):
        shutil.copy(Path(__file__).parent / "probot" / name, folder / name)
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    if done.returncode != 0:
        print("npm could not install Probot, so there is nothing to compare with.", file=sys.stderr)
        return None
    return Server(["node", str(folder / "app.mjs")], folder, {"WEBHOOK_SECRET": SECRET})


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
