"""Random and hostile requests in Slack: never an action, never an exception, never more than one reply."""

from __future__ import annotations

import asyncio
import os
import urllib.parse
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.chatops import answer
from bot.comments_slack import APPROVE, CANCEL, CONNECT_YES, WHY, answer_text
from bot.inbox import Accepted, CommentHeard, Heard, Patience
from policies.asked import Asked
from policies.chatops import SLACK_VERBS
from policies.permission import READING
from rehearsal.slack import signed_headers
from tests.command_worlds import ACTED, FakeDesk
from tests.test_chatops_hostile import PIECES, SEPARATORS
from tests.test_slack_webhook import click
from webhooks.bodies import Refused, refusal
from webhooks.slack import PATH, slack_webhook

TEXTS = int(os.environ.get("HOSTILE_BODIES", "2000")) // 8
"""The bar is 10,000, which `make test-long` takes."""
SECRET = "secret"
TEXT = st.one_of(
    st.text(max_size=300),
    st.builds(
        lambda target, verb, parts: target + verb + "".join(a + b for a, b in parts),
        st.sampled_from(
            ["", "acme/stagelog#42 ", "acme/stagelog#042 ", "../..#1 ", "a/b#99999999999 ", "payload "]
        ),
        st.sampled_from(["", *sorted(SLACK_VERBS), "/rollback", "Approve", "<@U1>"]),
        st.lists(st.tuples(SEPARATORS, PIECES), max_size=6),
    ),
)
VALUE = st.one_of(
    st.text(max_size=80), st.sampled_from(["|", "i-1|", "i-1|nan", "i-1|1e999", "|0.000", "x" * 5_000])
)


class Kept:
    """An inbox that only keeps what it was given."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def accept(
        self, delivery_id: str, event: Heard, received_at_s: float, patience: Patience | None = None
    ) -> Accepted:
        assert isinstance(event, CommentHeard)
        self.asked.append(event.asked)
        return Accepted(delivery_id, "command", "w", True)


def endpoint() -> tuple[FlaskClient, Kept]:
    from flask import request

    kept, app = Kept(), Flask(__name__)
    app.register_blueprint(slack_webhook(SECRET, kept))
    app.register_error_handler(Refused, lambda refused: refusal(request, refused))
    return app.test_client(), kept


CLIENT, KEPT = endpoint()


def heard(body: bytes) -> Asked | None:
    """What the endpoint made of a genuine request; it never fails."""
    KEPT.asked.clear()
    answered = CLIENT.post(PATH, data=body, headers=signed_headers(SECRET, body))
    assert answered.status_code in (200, 400, 404, 413), answered.get_data()
    assert len(KEPT.asked) <= 1
    return KEPT.asked[0] if KEPT.asked else None


def check(body: bytes, login: str) -> None:
    """Whoever is linked to nobody, or has no role, gets one reply and no action."""
    asked = heard(body)
    if asked is None:
        return
    world = FakeDesk(role_="none", login=login)
    asyncio.run(answer(asked, world))
    assert len(world.replies) == 1 and len(world.noted) == 1
    assert ACTED & set(world.did) == set()
    verb = asked.command.verb if asked.command else ""
    if not login and verb not in READING | {"connect"}:
        assert "role" not in world.did, "nobody's role is asked for"
    told = answer_text(asked, world.replies[0])
    assert told.blocks and "<" not in told.plain


def typed(text: str) -> bytes:
    fields: dict[str, Any] = {
        "command": "/rollback",
        "text": text,
        "team_id": "T1",
        "user_id": "U1",
        "user_name": text[:50],
        "response_url": "https://hooks.slack.com/commands/x",
    }
    return urllib.parse.urlencode(fields, errors="replace").encode()


@settings(max_examples=TEXTS, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXT, st.sampled_from(["", "mallory"]))
def test_hostile_texts_do_nothing(text: str, login: str) -> None:
    check(typed(text), login)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXT, st.sampled_from(["", "mallory"]))
def test_ten_thousand_hostile_texts_do_nothing(text: str, login: str) -> None:
    check(typed(text), login)


@settings(max_examples=TEXTS, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([APPROVE, CANCEL, WHY, CONNECT_YES, "other"]), VALUE, st.sampled_from(["", "mallory"]))
def test_hostile_buttons_do_nothing(action: str, value: str, login: str) -> None:
    check(click(action, value), login)


@settings(max_examples=TEXTS, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.binary(max_size=400), st.binary(max_size=200).map(lambda tail: b"payload=" + tail)))
def test_bodies_that_are_none_of_slacks_do_nothing(body: bytes) -> None:
    KEPT.asked.clear()
    answered = CLIENT.post(PATH, data=body, headers=signed_headers(SECRET, body))
    assert answered.status_code in (400, 401, 404) and KEPT.asked == []


def test_megabytes_are_refused_at_once() -> None:
    body = typed("x" * 3_000_000)
    assert CLIENT.post(PATH, data=body, headers=signed_headers(SECRET, body)).status_code == 413
