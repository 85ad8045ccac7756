"""How answers look on GitHub: one hidden marker a request, nothing foreign formats, never too long."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bot.comments import headline, incident_comment, needs_a_person
from bot.comments_commands import command_comment, command_marker, plain_answer
from bot.comments_reland import reland_pull_request
from bot.comments_switches import expiry_comment, expiry_marker, freeze_check
from policies.asked import Mood, Part, Reply, short_duration, spoken
from policies.chatops import Command, parse_comment
from policies.facts import IncidentState
from policies.limits import Plan
from policies.verifications import BootLogCheck, ImageCheck, SmokeCheck, Verifications
from tests import incidents
from tests.command_worlds import MERGED, asked
from tests.fakes import PLAN, PULL_REQUEST, SHA


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
    if isinstance(said, Command):
        assert parse_comment(spoken(said)) == said


def test_durations_are_written_as_they_are_typed() -> None:
    assert [short_duration(s) for s in (60, 5400, 86_400, 129_600)] == ["1m", "1h30m", "1d", "1d12h"]


VERIFY = Verifications(
    ImageCheck("/app/config/settings.py", ("STATIC_ROOT", "S3_UPLOAD_BUCKET")),
    BootLogCheck(("Starting gunicorn", "Booting worker"), ("Error",)),
    SmokeCheck("POST", "/api/uploads/presign", '{"filename": "test.png"}', 200, "data.file_url"),
    ("AWS_REGION", "S3_UPLOAD_BUCKET"),
)
TITLED = replace(MERGED, pull_request=replace(PULL_REQUEST, title="Fix @all [skip ci] `x` <b>, closes #7"))


def draft(plan: Plan) -> tuple[str, str]:
    return reland_pull_request(TITLED, incidents.RECOVERED, (SHA,), asked("/rollback reland", "lee"), plan)


def test_the_draft_of_a_reland_carries_the_repository_s_own_verifications() -> None:
    title, body = draft(
        replace(PLAN, environment="develop", url="https://api.example.com/health", verify=VERIFY)
    )
    assert title == "Reland: Fix all … `x` <b>, closes no. 7"
    assert body == (
        "@dana, this brings #42 back, which was rolled back. @lee asked for it.\n\n"
        "**Put the fix on this branch before you merge.** The log said: "
        f"`{incidents.DJANGO_LINE}`\n\n"
        "⚠️ **Do not merge `feature/uploads` again.** Its commits are already in the history of `develop`, so "
        "git would silently leave them out and bring only what is new.\n\n"
        "Before it goes in, verify the four of `verify:` in `.github/rollback.yml` in `develop`:\n\n"
        "- [ ] **Image**: the file `/app/config/settings.py` in the built image contains `STATIC_ROOT` and "
        "`S3_UPLOAD_BUCKET`\n"
        "- [ ] **Boot log**: the container's log contains `Starting gunicorn` and `Booting worker` and never "
        "`Error`\n"
        "- [ ] **Smoke test**: `POST https://api.example.com/api/uploads/presign` with the JSON "
        '`{"filename": "test.png"}` answers 200, and `data.file_url` (JMESPath) finds a value in it\n'
        "- [ ] **Environment**: `AWS_REGION` and `S3_UPLOAD_BUCKET` exist, are injected by the workflow and are "
        "read by the code\n\n"
        f"Rollback-Relands: {SHA}\n"
    )


def test_without_a_verify_section_the_four_are_asked_for_in_general() -> None:
    _, body = draft(PLAN)
    assert "verify these four (write them into `verify:` in `.github/rollback.yml`" in body
    assert body.count("- [ ] **") == 4 and body.count("_(not in `verify:`)_") == 4
    _, some = draft(replace(PLAN, verify=replace(VERIFY, smoke=None, env=())))
    assert some.count("- [ ] **") == 4 and some.count("_(not in `verify:`)_") == 2


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=60))
def test_whatever_a_configuration_holds_each_verification_stays_one_harmless_line(
    held: str, sent: str, title: str
) -> None:
    verify = Verifications(
        ImageCheck("/x", (held,)),
        BootLogCheck((held,), (held,)),
        SmokeCheck("GET", "/", sent, jmespath=held),
        (held,),
    )
    about = replace(MERGED, pull_request=replace(PULL_REQUEST, title=title))
    named, body = reland_pull_request(
        about, None, (SHA,), asked("/rollback reland"), replace(PLAN, verify=verify)
    )
    boxes = [line for line in body.split("\n") if line.startswith("- [ ] **")]
    assert len(boxes) == 4 and "\n" not in named and named.startswith("Reland: ")
    assert body.splitlines()[-1] == f"Rollback-Relands: {SHA}"


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


def test_a_question_that_nobody_answered_ends_in_a_comment_that_people_are_told_of() -> None:
    ended = replace(incidents.ASKED, state=IncidentState.HELD, closed_at_s=incidents.DEPLOYED_AT_S + 1_280)
    assert needs_a_person(ended) and headline(ended) == (
        "acme/stagelog: Nobody answered in time: the deploy of b7c1f0e0 to develop is failing, and I did not roll it "
        "back."
    )
    body = incident_comment(ended, PLAN, None, False, PULL_REQUEST)
    assert "**it needs a person**. `/rollback` on this pull request rolls it back now" in body
    held = replace(incidents.HELD, closed_at_s=incidents.DEPLOYED_AT_S + 1_280)
    assert not needs_a_person(held) and not needs_a_person(replace(ended, closed_at_s=None))
