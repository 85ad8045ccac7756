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
from hypothesis import given as every
from hypothesis import strategies as st

from bot.cli_evidence import BLOCK_BYTES
from policies.redaction_view import redact_raw, unfinished
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


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (b"caf\xe9\r\nok\r\n\x1b[31mred\r\n\x00\xff", b"caf\xe9\r\nok\r\n\x1b[31mred\r\n\x00\xff"),
        (b"\x1b[1mpassword=\x1b[31mhunter2x\x1b[0m\r\n\xe9 1%\r2%\n", b"\x1b[1mpassword=\x1b[31m[redacted]\x1b[0m\r\n\xe9 1%\r2%\n"),
        (b"\xe9 password: |\r\n", b"\xe9 password: |\r\n"),
        (b"kind: Secret\r\ndata:\r\n  url: aGk=\r\n\x0c", b"kind: Secret\r\ndata:\r\n  url: [redacted]\r\n\x0c"),
        (b"\x1b]8;;http://x/?token=hunter2x\x07link\x1b]8;;\x07\n", b"\x1b]8;;http://x/?token=[redacted]\x07link\x1b]8;;\x07\n"),
        ("password=hunter2x\r\nnext\n".encode("utf-16"), "password=[redacted]\r\nnext\n".encode("utf-16")),
        (b"password: \rhunter2x\xe9\r\n", b"password: \r[redacted]\r\n"),
    ],
)  # fmt: skip
def test_redact_leaves_codes_and_other_encodings(given: bytes, left: bytes) -> None:
    assert redact_raw(given)[0] == left
    assert redact_raw(left)[0] == left


@pytest.mark.parametrize(
    "code", ["\x1b[0m", "\x1b[38;5;1m", "\x1b]0;t\x07", "\x00", "\x00\x00", "\r", "\x08", "\u200b", "\x9b1m"]
)
def test_redact_finds_a_token_that_codes_split(code: str) -> None:
    for at in (1, 5, 10, 30):
        split = f"a\r\n{TOKEN[:at]}{code}{TOKEN[at:]}\r\n".encode() + b"\xe9\n"

        assert redact_raw(split)[0] == b"a\r\n[redacted]\r\n\xe9\n"


@every(
    st.lists(
        st.sampled_from(
            [
                b"\x1b",
                b"[",
                b"0m",
                b"]",
                b"\x07",
                b"\r",
                b"\n",
                b"\0",
                b"\xe9",
                b"\xc2\x9d",
                b"ok ",
                b"\xe2\x80\xa8",
            ]
        )
    )
)
def test_redact_changes_no_byte_where_nothing_is_secret(parts: list[bytes]) -> None:
    assert redact_raw(b"".join(parts)) == (b"".join(parts), 0)


def test_redact_waits_for_the_end_of_a_yaml_block() -> None:
    def part(given: bytes) -> bytes | None:
        at = unfinished(given)
        return None if at is None else given[at:]

    assert part(b"ok\r\n\x1b[1mpassword: |\r\n  hun\r\n") == b"password: |\r\n  hun\r\n"
    assert part(b"ok\n- secret: >-\n") == b"- secret: >-\n"
    assert part(b"password: |\n  hun\nnext\n") is None

    given = b"x\n" * (BLOCK_BYTES // 2 - 8) + b"password: |\n  hunter2\n  rest of it\nlast\n"

    assert (
        run("redact", given=given)
        .stdout[-56:]
        .endswith(b"x\npassword: |\n  [redacted]\n  [redacted]\nlast\n")
    )


def test_redact_of_standard_input_keeps_its_bytes() -> None:
    given = f"caf\xe9\r\n\x1b[31mred\r\n{TOKEN[:10]}\x1b[0m{TOKEN[10:]}\r\n".encode("latin-1")

    assert run("redact", given=given).stdout == b"caf\xe9\r\n\x1b[31mred\r\n[redacted]\r\n"


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
