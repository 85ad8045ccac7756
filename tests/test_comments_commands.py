"""How answers look on GitHub: one hidden marker a request, nothing foreign formats, never too long."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bot.comments_commands import command_comment, command_marker, plain_answer
from bot.comments_reland import reland_pull_request
from bot.comments_switches import expiry_comment, expiry_marker, freeze_check
from policies.asked import Mood, Part, Reply, short_duration, spoken
from policies.chatops import Command, parse_comment
from tests import incidents
from tests.command_worlds import MERGED, asked
from tests.fakes import PULL_REQUEST, SHA


def test_a_request_has_one_marker_however_it_is_delivered() -> None:
    first, again = asked("/rollback"), asked("/rollback", who="lee")
    assert command_marker(first) == command_marker(again)
    assert command_marker(first) != command_marker(asked("/rollback", comment=8))
    assert command_marker(first) != command_marker(replace(first, repository="acme/other"))


def test_the_comment_begins_with_result_reason_and_next_step() -> None:
    reply = Reply(Mood.REFUSED, "Not held.", "Nobody asked.", "Ask.", (Part("Every gate", "- one"),))
    request = asked("/rollback hold")
    assert command_comment(request, reply) == (
        f"{command_marker(request)}\n**Not held.** Nobody asked. Ask.\n\n"
        "<details><summary>Every gate</summary>\n\n- one\n\n</details>\n"
    )
    assert plain_answer(reply) == "Not held. Nobody asked. Ask."


@given(st.text(max_size=300_000))
def test_a_log_never_leaves_its_block_nor_exceeds_a_comment(text: str) -> None:
    reply = Reply(Mood.ACCEPTED, "Captured.", parts=(Part("Log", text, is_log=True),))
    body = command_comment(asked("/rollback logs"), reply)
    assert len(body.encode()) <= 60_000


@given(st.from_regex(r"/rollback( hold| freeze| cancel)?( [0-9]{1,2}[hmd])?( --reason [\"a-z ]{1,20})?"))
def test_what_is_written_down_can_be_typed_again(text: str) -> None:
    said = parse_comment(text)
    if isinstance(said, Command) and '"' not in said.reason:
        assert parse_comment(spoken(said)) == said


def test_durations_are_written_as_they_are_typed() -> None:
    assert [short_duration(s) for s in (60, 5400, 86_400, 129_600)] == ["1m", "1h30m", "1d", "1d12h"]


def test_the_draft_of_a_reland_mentions_the_author_and_nobody_else() -> None:
    about = replace(MERGED, pull_request=replace(PULL_REQUEST, title="Fix @all [skip ci] `x` <b>"))
    title, body = reland_pull_request(about, incidents.RECOVERED, (SHA,), asked("/rollback reland", "lee"))
    assert title == "Reland: Fix all skip ci x b"
    assert body == (
        "@dana, this brings #42 back, which was rolled back. @lee asked for it.\n\n"
        "**Put the fix on this branch before you merge.** The log said: "
        f"`{incidents.DJANGO_LINE}`\n\n"
        "⚠️ **Do not merge `feature/uploads` again.** Its commits are already in the history of `develop`, so "
        "git would silently leave them out and bring only what is new.\n\n"
        "Before it goes in:\n\n"
        "- [ ] the image holds the settings that the change needs\n"
        "- [ ] the boot log is clean\n"
        "- [ ] a smoke test of the changed path succeeds\n"
        "- [ ] every environment variable exists, is injected and is read\n\n"
        f"Rollback-Relands: {SHA}\n"
    )


def test_the_failing_check_says_who_why_and_how_it_is_lifted() -> None:
    title, summary = freeze_check("an @incident", "lee", "develop", 1_800_000_000.0)
    assert title == "develop is frozen until 2027-01-15 08:00:00 UTC"
    assert summary == (
        "By `lee`: an `@incident`\n\n"
        "A maintainer lifts it with `/rollback unfreeze` on any pull request to this branch."
    )


def test_the_end_of_a_switch_is_noted_where_it_was_set() -> None:
    assert expiry_comment("hold", "acme/stagelog:develop", "dana", 1_800_000_000.0) == (
        "**The hold has ended.** @dana set it on `acme/stagelog:develop` until 2027-01-15 08:00:00 UTC. "
        "I act again.\n"
    )
    assert expiry_marker("hold", "a", 1.0) != expiry_marker("hold", "a", 2.0)
