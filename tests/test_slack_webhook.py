"""POST /webhooks/slack: who is believed, what is stored, and what is said when nothing behind it answers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug.test import TestResponse

from bot.comments_slack import APPROVE, KNOWN, NOT_TAKEN, TAKEN, UNKNOWN
from bot.inbox import Accepted, Heard, Patience
from policies.asked import Asked
from rehearsal.slack import signed_headers
from tests.deliveries import SECRET, Web, deployment_status, github_headers, open_web
from tests.patience import PATIENCE_S
from webhooks.slack import PATH, Taking

SLACK_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
FORM = "application/x-www-form-urlencoded"


def signed(body: bytes, secret: str = SLACK_SECRET, ago_s: float = 0.0) -> dict[str, str]:
    return signed_headers(secret, body, time.time() - ago_s)


@pytest.fixture
def slack_web(sqlite_url: str) -> Iterator[Web]:
    opened = open_web(sqlite_url, SLACK_SIGNING_SECRET=SLACK_SECRET, SLACK_BOT_TOKEN="xoxb-not-used")
    yield opened
    opened.store.close()


def command(text: str, trigger: str = "1.2.abc", **changes: str) -> bytes:
    """What Slack sends of a slash command."""
    fields = {
        "team_id": "T1",
        "user_id": "U1",
        "user_name": "dana",
        "channel_id": "C1",
        "command": "/rollback",
        "text": text,
        "trigger_id": trigger,
        "response_url": "https://hooks.slack.com/commands/T1/1/x",
    }
    return urllib.parse.urlencode(fields | changes).encode()


def click(action: str, value: str, **changes: Any) -> bytes:
    """What Slack sends of a pressed button."""
    payload: dict[str, Any] = {
        "type": "block_actions",
        "team": {"id": "T1"},
        "user": {"id": "U1", "username": "dana"},
        "channel": {"id": "C1"},
        "container": {"type": "message"},
        "trigger_id": "5.6.def",
        "response_url": "https://hooks.slack.com/actions/T1/1/x",
        "actions": [
            {"type": "button", "action_id": action, "block_id": "b", "value": value, "action_ts": "1.1"}
        ],
    }
    return urllib.parse.urlencode({"payload": json.dumps(payload | changes)}).encode()


def post(web: Web, body: bytes, headers: dict[str, str] | None = None) -> TestResponse:
    return web.client.post(PATH, data=body, headers={**signed(body), **(headers or {})})


def said(answer: TestResponse) -> str:
    return str(answer.get_json(force=True)["text"])


def test_a_command_is_stored_and_acknowledged_to_the_asker_alone(slack_web: Web) -> None:
    answer = post(slack_web, command('acme/stagelog#42 --env develop --reason "it is slow"'))
    assert answer.status_code == 200
    assert answer.get_json(force=True) == {"text": TAKEN, "response_type": "ephemeral"}
    ((workflow, _id, asked),) = slack_web.work()
    assert workflow == "command" and asked["place"] == "slack" and asked["who"] == ""
    assert (asked["repository"], asked["number"], asked["account"]) == ("acme/stagelog", 42, "T1/U1")
    assert asked["command"]["reason"] == "it is slow" and asked["command"]["environment"] == "develop"


def test_the_same_request_twice_is_stored_once(slack_web: Web) -> None:
    body = command("acme/stagelog#42 status")
    assert [said(post(slack_web, body)), said(post(slack_web, body))] == [TAKEN, KNOWN]
    assert said(post(slack_web, command("acme/stagelog#42 status", trigger="another"))) == TAKEN
    assert slack_web.delivered() == 2 and len(slack_web.work()) == 2
    pressed = click(APPROVE, "i-1|2.000")
    assert [post(slack_web, pressed).status_code for _ in range(2)] == [200, 200]
    assert slack_web.delivered() == 3


def test_a_button_carries_its_question_and_nothing_else_is_believed_of_it(slack_web: Web) -> None:
    answer = post(slack_web, click(APPROVE, "i-1|2.000"))
    assert answer.status_code == 200 and answer.get_data() == b""
    ((_, _, asked),) = slack_web.work()
    assert asked["command"]["verb"] == "approve" and asked["button"] == "i-1|2.000"
    assert asked["repository"] == "" and asked["number"] == 0
    # Links in a message are buttons too to Slack; they are acknowledged, and that is all.
    assert post(slack_web, click("somebody-elses", "x")).status_code == 200
    assert len(slack_web.work()) == 1


def test_a_word_that_bolt_takes_for_a_buttons_form_is_a_word(slack_web: Web) -> None:
    assert said(post(slack_web, command('acme/stagelog#42 --reason "the payload is wrong"'))) == TAKEN
    assert slack_web.work()[0][2]["command"]["reason"] == "the payload is wrong"


HELP = command("help")
REFUSED: dict[str, tuple[bytes, Callable[[], dict[str, str]]]] = {
    "signed with another secret": (HELP, lambda: signed(HELP, "another")),
    "a replay of six minutes ago": (HELP, lambda: signed(HELP, ago_s=360)),
    "from the future": (HELP, lambda: signed(HELP, ago_s=-360)),
    "without headers": (HELP, dict),
    "without a signature": (HELP, lambda: {"X-Slack-Request-Timestamp": str(int(time.time()))}),
    "with a timestamp that is none": (HELP, lambda: signed(HELP) | {"X-Slack-Request-Timestamp": "now"}),
    "with a garbled signature": (HELP, lambda: signed(HELP) | {"X-Slack-Signature": "v0=" + "a" * 63 + "é"}),
    "with another body": (HELP + b"&text=approve", lambda: signed(HELP)),
    "that is no text": (b"\xff\xfe", lambda: signed_headers(SLACK_SECRET, b"\xff\xfe")),
    "a check of certificates": (b"ssl_check=1&token=x", dict),
    "with GitHub's signature": (HELP, lambda: github_headers(HELP, "issue_comment") | {"Content-Type": FORM}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_slack_did_not_sign_just_now_is_refused(slack_web: Web, case: str) -> None:
    body, headers = REFUSED[case]
    answer = slack_web.client.post(PATH, data=body, headers={"Content-Type": FORM, **headers()})
    assert answer.status_code == 401
    assert "five minutes" in answer.get_json()["error"]
    assert slack_web.delivered() == 0


ODD = [
    (b"", 404),
    (b"payload={{{", 400),
    (b"payload=[]", 400),
    (b"payload=7", 400),
    (b"payload=%7B%7D", 404),
    (b"payload=" + b"%5B" * 20_000, 400),
    (command("help", team_id=""), 400),
    (command("help", user_id="<!channel>"), 400),
    (click(APPROVE, "x", user="nobody"), 400),
    (click(APPROVE, "x", actions=[]), 500),  # Bolt itself stumbles
    (click(APPROVE, "x", type="view_submission"), 404),
    (b"x" * 300_000, 413),
]


@pytest.mark.parametrize(("body", "status"), ODD)
def test_what_slack_would_not_send_is_refused_though_signed(slack_web: Web, body: bytes, status: int) -> None:
    assert post(slack_web, body).status_code == status
    assert slack_web.delivered() == 0


def test_json_that_is_signed_and_no_object_is_refused(slack_web: Web) -> None:
    for body in (b"[1]", b'"x"', b"{", b"null"):
        assert post(slack_web, body, {"Content-Type": "application/json"}).status_code in (400, 404)
    assert slack_web.delivered() == 0


def test_without_a_secret_it_is_off(web: Web) -> None:
    answer = post(web, command("help"))
    assert answer.status_code == 404 and "SLACK_SIGNING_SECRET is not set" in answer.get_json()["error"]
    assert web.client.get("/slack/connect?token=x").status_code == 404


def test_another_name_of_the_command_works_too(slack_web: Web) -> None:
    assert said(post(slack_web, command("help", command="/undo"))) == TAKEN


def test_a_locked_database_is_said_and_nothing_is_taken_later(slack_web: Web, sqlite_url: str) -> None:
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    answer = post(slack_web, command("acme/stagelog#42 approve"))
    took_s = time.monotonic() - began
    pressed = post(slack_web, click(APPROVE, "i-1|2.000"))
    other.execute("ROLLBACK")
    print(f"answered in {took_s:.2f} s with the database locked")
    assert said(answer) == NOT_TAKEN and answer.status_code == 200
    assert pressed.status_code == 503 and said(pressed) == NOT_TAKEN, "Slack shows that a button failed"
    time.sleep(1)  # the threads that waited get the lock now, and see that nobody waits for them
    assert slack_web.delivered() == 0 and slack_web.work() == []
    assert said(post(slack_web, command("acme/stagelog#42 approve", trigger="again"))) == TAKEN


class SlowInbox:
    """Begins to commit, and then hangs."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def accept(
        self, delivery_id: str, event: Heard, received_at_s: float, patience: Patience | None = None
    ) -> Accepted:
        assert patience is not None and patience.may_commit()
        self.may_end.wait(30)
        return Accepted(delivery_id, "command", None, True)


def test_a_commit_that_hangs_is_not_called_not_taken() -> None:
    inbox = SlowInbox()
    asked = Asked("slack-1", "slack", "", "", 0, time.time(), None)
    assert Taking(inbox, 0.1, 0.1).take(asked) == UNKNOWN
    inbox.may_end.set()


# --- everything hangs ------------------------------------------------------------------------------


@contextlib.contextmanager
def hanging() -> Iterator[int]:
    """A port that accepts whoever comes and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        kept: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])
        for one in kept:
            one.close()


@contextlib.contextmanager
def web_process(folder: Path, **environment: str) -> Iterator[str]:
    """`rollback-bot web`, and nothing else; its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "bot.cli", "web"],
        env={
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(folder),
            "PORT": str(port),
            "GITHUB_WEBHOOK_SECRET": SECRET,
            "GITHUB_TOKEN": "not-used-here",
            "SLACK_SIGNING_SECRET": SLACK_SECRET,
            "SLACK_BOT_TOKEN": "xoxb-not-used",
            **environment,
        },
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "web.log").open("wb"),
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/healthz", timeout=PATIENCE_S, trust_env=False).status_code == 200:
                    break
            time.sleep(0.1)
        else:
            raise RuntimeError((folder / "web.log").read_text())
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE_S)


def test_slack_is_answered_while_everything_behind_the_bot_hangs(tmp_path: Path) -> None:
    with hanging() as port:
        behind = f"http://127.0.0.1:{port}"
        environment = {
            "DATABASE_URL": f"postgresql://nobody@127.0.0.1:{port}/none",
            "GITHUB_API_URL": behind,
            "GITHUB_SERVER_URL": behind,
            "SLACK_API_URL": behind,
            "AWS_ENDPOINT_URL": behind,
        }
        with (
            web_process(tmp_path, **environment) as url,
            httpx.Client(timeout=PATIENCE_S, trust_env=False) as client,
        ):
            took: list[float] = []

            def ask(body: bytes) -> httpx.Response:
                began = time.monotonic()
                answer = client.post(url + PATH, content=body, headers=signed(body))
                took.append(time.monotonic() - began)
                return answer

            def deliver(_: int) -> int:
                body = json.dumps(deployment_status()).encode()
                headers = github_headers(body, "deployment_status")
                return client.post(f"{url}/webhooks/github", content=body, headers=headers).status_code

            with ThreadPoolExecutor(24) as pool:
                # GitHub's deliveries hold every thread that webhooks usually have.
                delivering = [pool.submit(deliver, number) for number in range(16)]
                time.sleep(0.3)
                answers = [ask(command("acme/stagelog#42 status", trigger=str(n))) for n in range(3)]
                at_once = [pool.submit(ask, command("help", trigger=f"many-{n}")) for n in range(8)]
                answers += [one.result() for one in at_once]
                pressed = ask(click(APPROVE, "i-1|2.000"))
                assert {one.result() for one in delivering} == {503}
            print(
                f"\neverything hanging: {len(took)} requests, slowest {max(took):.2f} s, first {took[0]:.2f} s"
            )
            assert {(one.status_code, one.json()["text"]) for one in answers} == {(200, NOT_TAKEN)}
            assert pressed.status_code == 503 and pressed.json()["text"] == NOT_TAKEN
