"""Random and hostile comment bodies: never an action, never an exception, never more than one reply."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.chatops import answer
from bot.inbox import CommentHeard
from policies.asked import Mood
from policies.chatops import VERBS, Command
from tests.command_worlds import ACTED, FakeDesk
from webhooks import issue_comment
from webhooks.events import Fields, Ignored, Lacking

BODIES = int(os.environ.get("HOSTILE_BODIES", "2000"))
"""The bar is 10,000, which `make test-long` takes: see the test that is marked so."""

LOOK_ALIKES = ["/rollback", "∕rollback", "／rollback", "\\rollback", "⁄rollback", "/rol1back", "/ROLLBACK"]
PIECES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(sorted(VERBS)),
    st.sampled_from(
        [
            "--upload-pack=touch /tmp/x",
            "--env=$(id)",
            "--env",
            "--reason",
            '"',
            "'",
            "\\",
            "`id`",
            "; rm -rf /",
            "&& echo",
            "-m 1",
            "--",
            "-",
            "--repo",
            "--dry-run",
            "\x00",
            "\n/rollback approve",
            "\r\n> /rollback",
            "\u202e",
            "\u2028",
            "\ud800",
            "2h",
            "99999999999999d",
            "../../etc/passwd",
            "refs/heads/main",
            "@everyone",
            "<!-- x -->",
        ]
    ),
)
SEPARATORS = st.sampled_from([" ", "", "\t", "\u00a0", "  ", "\n", "\u3000"])
BODY = st.one_of(
    st.text(max_size=300),
    st.builds(
        lambda start, parts: start + "".join(a + b for a, b in parts),
        st.sampled_from([*LOOK_ALIKES, " /rollback", "> /rollback", "```\n/rollback", "\ufeff/rollback"]),
        st.lists(st.tuples(SEPARATORS, PIECES), max_size=8),
    ),
)


def payload(body: Any, **comment: Any) -> dict[str, Any]:
    """What GitHub sends of a new comment on a pull request."""
    return {
        "action": "created",
        "repository": {"full_name": "acme/stagelog"},
        "issue": {
            "number": 42,
            "pull_request": {"url": "https://api.github.com/repos/acme/stagelog/pulls/42"},
        },
        "comment": {"id": 7, "body": body, "user": {"login": "mallory", "type": "User"}, **comment},
    }


def heard(body: Any) -> CommentHeard | None:
    try:
        said = issue_comment.hear(Fields(payload(body)), 1_800_000_000.0)
    except Lacking:
        return None
    return None if isinstance(said, Ignored) else said  # type: ignore[return-value]


def check(body: Any) -> None:
    """Nobody without a role gets more than one reply, or any action; nothing raises."""
    found = heard(body)
    if found is None:
        return
    assert isinstance(body, str) and body.startswith("/rollback")
    world = FakeDesk(role_="none")
    asyncio.run(answer(found.asked, world))
    assert len(world.replies) == 1 and len(world.noted) == 1
    assert ACTED & set(world.did) == set()
    reading_help = isinstance(found.asked.command, Command) and found.asked.command.verb == "help"
    assert (world.replies[0].mood is Mood.ACCEPTED) == reading_help


@settings(max_examples=BODIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(BODY)
def test_hostile_bodies_do_nothing(body: str) -> None:
    check(body)


@pytest.mark.long
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(BODY)
def test_ten_thousand_hostile_bodies_do_nothing(body: str) -> None:
    check(body)


@settings(max_examples=BODIES // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(LOOK_ALIKES), st.lists(st.tuples(SEPARATORS, PIECES), max_size=8))
def test_even_with_every_right_only_a_whole_command_acts(start: str, parts: list[tuple[str, str]]) -> None:
    body = start + "".join(a + b for a, b in parts)
    found = heard(body)
    if found is None:
        return
    world = FakeDesk(role_="admin")
    asyncio.run(answer(found.asked, world))
    assert len(world.replies) == 1
    if found.asked.command is None:
        assert ACTED & set(world.did) == set() and world.replies[0].mood is Mood.CONFUSED


@pytest.mark.parametrize(
    "body",
    [
        "/rollback " + "x" * 5_000_000,
        "/rollback" + " " * 5_000_000,
        "\n" * 3_000_000 + "/rollback",
        "/rollback\n" + "a" * 5_000_000,
        "/rollback --reason " + '"' * 100_001,
        None,
        7,
        ["/rollback"],
        {"/rollback": 1},
        True,
    ],
)
def test_megabytes_and_other_types_are_no_trouble(body: Any) -> None:
    check(body)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"action": "edited"}, "only new comments"),
        ({"action": "deleted"}, "only new comments"),
        ({"action": None}, "only new comments"),
        ({"issue": {"number": 42}}, "on an issue"),
        ({"issue": {"number": 42, "pull_request": None}}, "on an issue"),
    ],
)
def test_edits_deletions_and_issues_are_not_for_us(changes: dict[str, Any], why: str) -> None:
    said = issue_comment.hear(Fields({**payload("/rollback"), **changes}), 1.8e9)
    assert isinstance(said, Ignored) and why in said.why


@pytest.mark.parametrize(
    "user",
    [
        {"login": "rollback-bot[bot]", "type": "Bot"},
        {"login": "x", "type": "Bot"},
        {"login": "x[bot]", "type": "User"},
        {"login": "acme", "type": "Organization"},
    ],
)
def test_bots_are_not_heard(user: dict[str, str]) -> None:
    said = issue_comment.hear(Fields(payload("/rollback", user=user)), 1.8e9)
    assert isinstance(said, Ignored) and "bot" in said.why


@pytest.mark.parametrize("missing", [{"id": None}, {"id": "7"}, {"user": None}, {"user": {"login": ""}}])
def test_what_a_comment_lacks_is_said(missing: dict[str, Any]) -> None:
    with pytest.raises(Lacking):
        issue_comment.hear(Fields(payload("/rollback", **missing)), 1.8e9)
