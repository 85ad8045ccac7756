"""Starting a process, and looking by hand: what cannot be used is one sentence, and nothing is made by looking."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bot import migrations
from bot.cli import main
from bot.settings import Settings
from bot.store import Store

ROOT = Path(__file__).parents[1]
SECRETS = {"GITHUB_WEBHOOK_SECRET": "a-secret", "GITHUB_TOKEN": "a-token"}
REPO = ("--repo", "acme/stagelog")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in, with an environment that holds none of our settings but the secrets."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, run in this process."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def sentence(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that must be refused for its settings says: one line, and exit 2."""
    code, out, said = run(capsys, *arguments)
    assert (code, out, said.count("\n"), said.startswith("rollback-bot: ")) == (2, "", 1, True), said
    return said


# --- what the settings name -------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["migrate", "worker", "web", "start"])
@pytest.mark.parametrize(
    ("data_dir", "why"),
    [
        ("/proc/nope", "No such file or directory"),
        ("/dev/null/x", "Not a directory"),
        ("a-file", "it is a file"),
        ("a-file/below", "Not a directory"),
    ],
)
def test_a_data_dir_that_cannot_be(
    command: str,
    data_dir: str,
    why: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "a-file").write_text("")
    monkeypatch.setenv("DATA_DIR", data_dir)
    said = sentence(capsys, command)
    assert why in said and "Set DATA_DIR to a place that the bot may write." in said


@pytest.mark.parametrize("command", ["migrate", "worker", "web"])
def test_a_database_in_a_folder_that_cannot_be_names_the_variable(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////proc/nope/rollback.db")
    assert "Set DATABASE_URL to a place" in sentence(capsys, command)


@pytest.mark.parametrize("command", ["migrate", "worker", "web", "incidents", "audit", "hold"])
@pytest.mark.parametrize("url", ["mysql://x/y", "garbage", "postgresql://host:port/name"])
def test_an_address_of_no_database_of_ours(
    command: str,
    url: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert "DATABASE_URL " in sentence(capsys, command)


UNUSABLE = {
    "no such key": ({"GITHUB_APP_PRIVATE_KEY": "/nope.pem", "GITHUB_APP_ID": "7"}, "GITHUB_APP_PRIVATE_KEY"),
    "garbage": ({"GITHUB_APP_PRIVATE_KEY": "garbage.pem", "GITHUB_APP_ID": "7"}, "GITHUB_APP_PRIVATE_KEY"),
    "half a key": (
        {"GITHUB_APP_PRIVATE_KEY": "-----BEGIN PRIVATE KEY-----\nx", "GITHUB_APP_ID": "7"},
        "GITHUB_APP_PRIVATE_KEY is not a private key",
    ),
    "no such file": ({"ROLLBACK_CONFIG": "none.yml"}, "ROLLBACK_CONFIG names none.yml, which cannot be read"),
    "an unknown key": ({"ROLLBACK_CONFIG": "server.yml"}, "server.yml:1: unknown key `lockd`"),
}


@pytest.mark.parametrize(("environ", "says"), UNUSABLE.values(), ids=UNUSABLE)
def test_web_stops_with_the_sentence_of_the_worker(
    environ: dict[str, str],
    says: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "garbage.pem").write_text("not a key")
    (folder / "server.yml").write_text("lockd: [mode]\n")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    said = sentence(capsys, "web")
    assert says in said and said == sentence(capsys, "worker")


# --- where web listens ------------------------------------------------------------------------------


def test_a_port_in_use_and_a_host_that_is_not_ours(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    monkeypatch.setenv("GITHUB_APP_ID", "7")
    monkeypatch.setenv("GITHUB_APP_PRIVATE_KEY", pem)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        said = sentence(capsys, "web")
        assert f"Port {port} is taken" in said and "set PORT to a free port" in said
        monkeypatch.setenv("BIND_HOST", "127.0.0.1")
        assert f"Port {port} is taken" in sentence(capsys, "web")
    for host in ("192.0.2.1", "no.such.host.invalid", "2001:db8::1", "a" * 70 + ".example", "unix:/x"):
        monkeypatch.setenv("BIND_HOST", host)
        assert f"BIND_HOST '{host}' is no address of this machine" in sentence(capsys, "web")


def test_the_process_says_no_more_than_the_sentence(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environ = {"PATH": os.environ["PATH"], "PORT": str(taken.getsockname()[1]), **SECRETS}
        done = subprocess.run(
            [sys.executable, "-m", "bot.cli", "web"],
            env={**environ, "DATA_DIR": str(folder)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr


# --- looking makes nothing --------------------------------------------------------------------------

LOOKING = [
    ("incidents",),
    ("incidents", "some-id"),
    ("incidents", "--summary"),
    ("audit",),
    ("replay", "some-id"),
    *((command,) for command in ("hold", "resume", "freeze", "unfreeze")),
    ("hold", *REPO),
    ("resume", *REPO),
    ("simulate", *REPO, "--pr", "1"),
]


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_where_nothing_is_nothing_is_made(
    command: tuple[str, ...],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATA_DIR", "var")
    code, out, said = run(capsys, *command)
    assert (code, out) == (1, "")
    assert f"There is no database yet at {folder / 'var' / 'rollback.db'}." in said
    assert "`rollback-bot migrate`" in said and "DATA_DIR" in said and "DATABASE_URL" in said
    assert list(folder.iterdir()) == []

    (folder / "var").mkdir()
    (folder / "var" / "rollback.db").touch()
    assert "There is no database yet" in run(capsys, *command)[2], "an empty file is none"
    assert [path.name for path in (folder / "var").iterdir()] == ["rollback.db"]


def test_after_migrate_they_look(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "migrate")[0] == 0
    assert run(capsys, "incidents") == (0, "No incident so far.\n", "")
    assert run(capsys, "hold") == (0, "No hold, freeze or kill switch is on.\n", "")


# --- switches for scripts ---------------------------------------------------------------------------


def test_a_switch_that_is_set_or_lifted_is_one_json_object(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{folder}/rollback.db"
    migrations.migrate(url)
    monkeypatch.setenv("DATABASE_URL", url)
    service = {"target": "acme/stagelog:develop", "repository": "acme/stagelog", "environment": "develop"}
    branch = {"target": "acme/stagelog@main", "repository": "acme/stagelog", "branch": "main"}
    whole = {"target": "acme/stagelog", "repository": "acme/stagelog"}
    table: list[tuple[tuple[str, ...], int, dict[str, object]]] = [
        (
            ("hold", *REPO, "-e", "develop", "--reason", "launch"),
            0,
            {"name": "hold", **service, "on": True, "until": None, "reason": "launch"},
        ),
        (
            ("freeze", *REPO, "-b", "main", "--reason", "x"),
            0,
            {"name": "freeze", **branch, "on": True, "until": None, "reason": "x"},
        ),
        (("hold", *REPO), 0, {"name": "kill", **whole, "on": True, "until": None, "reason": None}),
        (
            ("hold", "--repo", "*"),
            0,
            {"name": "kill", "target": "*", "on": True, "until": None, "reason": None},
        ),
        (
            ("resume", *REPO, "-e", "develop"),
            0,
            {"name": "hold", **service, "on": False, "was_on": True},
        ),
        (
            ("resume", *REPO, "-e", "develop"),
            1,
            {"name": "hold", **service, "on": False, "was_on": False},
        ),
        (("unfreeze", *REPO, "-b", "main"), 0, {"name": "freeze", **branch, "on": False, "was_on": True}),
    ]
    for command, code, expected in table:
        ended, out, err = run(capsys, *command, "--json")
        told = json.loads(out)
        assert told.pop("by")
        assert (ended, told, err) == (code, expected, ""), command
    ended, out, _ = run(capsys, "hold", *REPO, "-e", "develop", "--for", "2h", "--json")
    (row,) = [row for row in Store(url).all_switches(0.0) if row.name == "hold"]
    assert row.until_s is not None
    assert json.loads(out)["until"].endswith("+00:00") and ended == 0


# --- explain ----------------------------------------------------------------------------------------

EXPLAINED = {
    "named": (b"environments: {develop: {}, prod: {}}", "develop", b"", 0),
    "not named": (b"environments: {develop: {}, prod: {}}", "nope", b"", 1),
    "another case": (b"environments: {develop: {}, prod: {}}", "Develop", b"", 1),
    "a file for all": (b"version: 1", "nope", b"", 0),
    "named by the server": (b"environments: {develop: {}}", "nope", b"environments: {nope: {}}", 0),
}


@pytest.mark.parametrize(("file", "environment", "server", "code"), EXPLAINED.values(), ids=EXPLAINED)
def test_explain_says_that_the_file_has_no_such_environment(
    file: bytes,
    environment: str,
    server: bytes,
    code: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "rollback.yml").write_bytes(file)
    if server:
        (folder / "server.yml").write_bytes(server)
        monkeypatch.setenv("ROLLBACK_CONFIG", "server.yml")
    asked = ("explain", "--file", "rollback.yml", "-e", environment)
    ended, out, _ = run(capsys, *asked)
    said = f"rollback.yml has no environment '{environment}', only develop, prod"
    assert (ended, said in " ".join(out.split())) == (code, code == 1)
    assert "health.budget" in out, "the table stays"
    ended, out, _ = run(capsys, *asked, "--json")
    told = json.loads(out)
    assert ended == code and told["values"]["mode"]
    assert said in told["problem"] if code else told["problem"] is None
