"""`rollback-bot diagnose` and `rollback-bot redact` on files, standard input and any bytes."""

# ruff: noqa: E501 - what is typed and printed stays whole
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.redaction_cases import survives

LOGS = Path(__file__).resolve().parent / "logs"
TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
PROGRAM = "import typer; from bot import cli_evidence; app = typer.Typer(); cli_evidence.register(app); app()"


def run(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        input=given,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_diagnose_prints_one_object() -> None:
    done = run("diagnose", "--json", str(LOGS / "django_setting" / "static_root.log"))
    answer = json.loads(done.stdout)

    assert done.returncode == 0
    assert set(answer) == {"class", "line", "advice", "revert_helps"}
    assert (answer["class"], answer["revert_helps"]) == ("django_setting", "yes")
    assert answer["line"].startswith(
        "django.core.exceptions.ImproperlyConfigured: You're using the staticfiles app"
    )


def test_diagnose_of_a_healthy_log_names_nothing() -> None:
    done = run("diagnose", "--json", given=b"Server listening on port 3000\nGET / 200\n")

    assert done.returncode == 0
    assert json.loads(done.stdout) == {"class": None, "line": None, "advice": None, "revert_helps": None}


def test_diagnose_for_the_eye_shows_no_secret() -> None:
    done = run("diagnose", given=f"RuntimeError: bad token={TOKEN}\n".encode())

    assert done.returncode == 0 and b"Revert helps: maybe" in done.stdout
    assert not survives(TOKEN, done.stdout.decode())


def test_diagnose_reads_the_end_of_a_large_log() -> None:
    given = b"ValueError: old\n" + b"GET / 200 ok\n" * 100_000 + b"KeyError: 'AWS_REGION'\n"

    assert json.loads(run("diagnose", "--json", given=given).stdout)["class"] == "missing_env"


@pytest.mark.parametrize("verb", ["diagnose", "redact"])
def test_a_file_that_cannot_be_read_is_bad_input(verb: str, tmp_path: Path) -> None:
    missing, folder = run(verb, str(tmp_path / "none.log")), run(verb, str(tmp_path))

    assert (missing.returncode, folder.returncode) == (2, 2)
    assert b"cannot be read (No such file or directory)" in missing.stderr
    assert b"Traceback" not in missing.stderr + folder.stderr


def test_redact_changes_nothing_but_secrets() -> None:
    ordinary = b"one\r\n\xff\xfe raw \x80 bytes\nsha 4f2a9c1d0b3e5f67890123456789abcdef012345\ncaf\xc3\xa9\n\n  last without end"

    done = run("redact", given=ordinary.replace(b"one", b"one " + TOKEN.encode()))

    assert done.returncode == 0
    assert done.stdout == ordinary.replace(b"one", b"one [redacted]")


def test_redact_finds_a_token_that_colours_split() -> None:
    done = run("redact", given=f"{TOKEN[:10]}\x1b[0m{TOKEN[10:]}\n".encode())

    assert done.stdout == b"[redacted]\n"


def test_redact_waits_for_the_end_of_a_key_and_for_nothing_else(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "redact"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(
            b"first line\npassword=hunter2x\n-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA04up8hoqzS1APIB0\n"
        )
        process.stdin.flush()
        assert process.stdout.readline() == b"first line\n"
        assert process.stdout.readline() == b"password=[redacted]\n"
        time.sleep(0.5)
        process.stdin.write(b"RhjXyObwHQnOzhAk5Bd7mhkSbPkyhP1A\n-----END RSA PRIVATE KEY-----\nlast\n")
        process.stdin.close()
        assert process.stdout.read() == b"[redacted]\nlast\n"
    finally:
        process.kill()
        process.wait()


def test_any_bytes_pass_both(tmp_path: Path) -> None:
    for size in (1, 1000, 300_000):
        noise = os.urandom(size)

        assert run("redact", given=noise).returncode == 0
        assert run("diagnose", given=noise).returncode == 0
