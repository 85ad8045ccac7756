"""Nothing is logged that was not redacted: our events, libraries' records, exceptions, and what nobody caught."""

# ruff: noqa: E501 - what is typed and printed stays whole
from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bot.logging_setup import redact_event
from tests.patience import PATIENCE_S
from tests.redaction_cases import survives

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
PASSWORD = "s3cretpassw0rd"
HEAD = f"""
import logging, sys, threading
import structlog
from bot.logging_setup import configure_logging
TOKEN, PASSWORD = {TOKEN!r}, {PASSWORD!r}
"""


def logged(body: str, json_lines: bool) -> str:
    program = f"{HEAD}\nconfigure_logging({json_lines}, level='DEBUG')\n{body}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("json_lines", [True, False])
@pytest.mark.parametrize(
    "body",
    [
        "structlog.get_logger().info('pushing to https://x-access-token:' + TOKEN + '@github.com', password=PASSWORD)",
        "structlog.get_logger().info('nested', headers={'Authorization': 'Bearer ' + TOKEN}, rows=[{'db_password': PASSWORD}])",
        "logging.getLogger('urllib3').warning('GET /x?access_token=%s password=%s', TOKEN, PASSWORD)",
        "logging.getLogger('x').info({'not': 'text ' + TOKEN}); logging.getLogger('x').info('%d', 'bad ' + TOKEN)",
        "try:\n    raise ValueError('token ' + TOKEN + ' password=' + PASSWORD)\nexcept ValueError:\n    structlog.get_logger().exception('failed')",
        "try:\n    raise ValueError('token ' + TOKEN)\nexcept ValueError:\n    logging.getLogger('lib').exception('failed')",
        "h = logging.StreamHandler(); own = logging.getLogger('gunicorn.error'); own.addHandler(h); own.propagate = False\n"
        "try:\n    raise ValueError('token ' + TOKEN)\nexcept ValueError:\n    own.exception('password=%s', PASSWORD)",
        "t = threading.Thread(target=lambda: 1 / int('x' + TOKEN)); t.start(); t.join()",
        "raise RuntimeError('DATABASE_URL=postgres://app:' + PASSWORD + '@db/app ' + TOKEN)",
        "import warnings; warnings.warn('deprecated ' + TOKEN)",
    ],
)
def test_no_secret_reaches_the_log(body: str, json_lines: bool) -> None:
    text = logged(body, json_lines)

    assert text.strip()
    assert "[redacted]" in text
    assert not survives(TOKEN, text) and not survives(PASSWORD, text)


def test_json_lines_stay_json() -> None:
    text = logged(
        "structlog.get_logger('bot.x').info('hello %s', TOKEN, deploy='d-1', seconds=1.5, sha='4f2a9c1d' * 5)",
        True,
    )
    event = json.loads(text)

    assert event["event"] == "hello [redacted]" and event["level"] == "info" and event["logger"] == "bot.x"
    assert (event["deploy"], event["seconds"], event["sha"]) == ("d-1", 1.5, "4f2a9c1d" * 5)
    assert event["timestamp"].endswith("Z")


def test_levels_hold_and_chatty_libraries_are_quiet() -> None:
    text = logged(
        "logging.getLogger('botocore').info('chatter'); logging.getLogger('bot').debug('ours')", True
    )

    assert "chatter" not in text and "ours" in text


def test_what_is_no_text_stays_what_it_is() -> None:
    event = {"count": 3, "ok": True, "none": None, "many": (1, "x"), "api_key": "k", "password": ""}

    assert redact_event(None, "info", dict(event)) == {
        "count": 3,
        "ok": True,
        "none": None,
        "many": [1, "x"],
        "api_key": "[redacted]",
        "password": "",
    }
