"""What is a command and what only talks about one; 10,000 hostile comments never act and never raise."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.chatops import (
    LONGEST_S,
    MOST_CHARS,
    USAGE,
    VERBS,
    Command,
    Misunderstood,
    Target,
    parse_comment,
    parse_slack,
)

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ("/rollback", Command("rollback")),
        ("/rollback ", Command("rollback")),
        ("/rollback\nplease, it is all broken", Command("rollback")),
        ("/rollback\r\n\r\n/rollback approve", Command("rollback")),
        ("/rollback --env production", Command("rollback", "production")),
        ("/rollback --env=production --dry-run", Command("rollback", "production", dry_run=True)),
        ('/rollback --reason "checkout is slow"', Command("rollback", reason="checkout is slow")),
        ("/rollback --reason=slow", Command("rollback", reason="slow")),
        ("/rollback --reason 'it is \"slow\"'", Command("rollback", reason='it is "slow"')),
        ("/rollback --reason “checkout is slow”", Command("rollback", reason="checkout is slow")),
        ("/rollback —reason “slow”", Command("rollback", reason="slow")),
        ("/rollback\u00a0—dry-run", Command("rollback", dry_run=True)),
        ("/rollback\tapprove", Command("approve")),
        ("/rollback approve", Command("approve")),
        ("/rollback cancel", Command("cancel")),
        ("/rollback hold", Command("hold")),
        ("/rollback hold 2h", Command("hold", duration_s=2 * HOUR)),
        ("/rollback hold --repo 1d", Command("hold", duration_s=DAY, whole_repository=True)),
        ("/rollback hold 1d --repo", Command("hold", duration_s=DAY, whole_repository=True)),
        ("/rollback hold 30m --env develop", Command("hold", "develop", duration_s=30 * MINUTE)),
        ("/rollback resume --repo", Command("resume", whole_repository=True)),
        (
            '/rollback freeze 1d12h --reason "launch"',
            Command("freeze", reason="launch", duration_s=DAY + 12 * HOUR),
        ),
        ("/rollback unfreeze", Command("unfreeze")),
        ("/rollback reland", Command("reland")),
        ("/rollback logs", Command("logs")),
        ("/rollback status --env 'eu west (blue)'", Command("status", "eu west (blue)")),
        ('/rollback status --env "Production – shop"', Command("status", "Production – shop")),
        ("/rollback status --env 'eu/west [blue], 日本'", Command("status", "eu/west [blue], 日本")),
        ("/rollback status --env=_preview", Command("status", "_preview")),
        ("/rollback why", Command("why")),
        ("/rollback help", Command("help")),
        ("/rollback --reason '🤷\u200d♀️ broken'", Command("rollback", reason="🤷\u200d♀️ broken")),
    ],
)
def test_commands(body: str, command: Command) -> None:
    assert parse_comment(body) == command


@pytest.mark.parametrize(
    "body",
    [
        "",
        "please /rollback",
        " /rollback",
        "    /rollback",
        "\n/rollback",
        "> /rollback approve",
        "`/rollback approve`",
        "```\n/rollback approve\n```",
        "~~~\n/rollback\n~~~",
        "<!-- -->/rollback",
        "- /rollback",
        "**/rollback**",
        "/rollbacks",
        "/rollback:",
        "/rollback-bot status",
        "/rollback`approve`",
        "/Rollback",
        "/ROLLBACK approve",
        "//rollback",
        "\\/rollback",
        "∕rollback approve",
        "／rollback approve",
        "⁄rollback approve",
        "/rоllback approve",
        "/roll\u200bback approve",
        "\ufeff/rollback approve",
        "\u202e/rollback",
        "/rollback\u200b approve",
        "/rollback\u2028approve",
        "/rollback\x00",
        "/rollback\x0bapprove",
    ],
)
def test_what_only_talks_about_a_command_is_not_for_us(body: str) -> None:
    assert parse_comment(body) is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("/rollback now", "I do not know that command."),
        ("/rollback rollback", "I do not know that command."),
        ("/rollback connect", "`/rollback connect` in Slack gives you the code to write here."),
        ("/rollback Approve", "I do not know that command."),
        ("/rollback acme/stagelog#42", "I do not know that command."),
        ("/rollback approve please", 'A reason stands in quotation marks: --reason "it is slow".'),
        ("/rollback --reason the site is slow", "There is a word too many after `/rollback`."),
        ("/rollback --reason don't", "A quotation mark is not closed."),
        ("/rollback --reason", "`--reason` needs a value."),
        ("/rollback --reason --dry-run", "`--reason` needs a value."),
        ('/rollback --reason ""', "`--reason` needs a value."),
        ("/rollback --env", "`--env` needs a value."),
        ("/rollback --env=-x", "That is no name of an environment."),
        ("/rollback --env 'a$(id)'", "That is no name of an environment."),
        ("/rollback --env '<b>'", "That is no name of an environment."),
        ("/rollback --env " + "x" * 256, "That is no name of an environment."),
        ("/rollback --env a --env b", "`--env` is there twice."),
        ("/rollback --dry-run=no", "`--dry-run` takes no value."),
        ("/rollback --dry-run no", "There is a word too many"),
        ("/rollback --dry", "`/rollback` takes `--dry-run`, `--env`, `--reason`, and nothing else"),
        ("/rollback --upload-pack=/bin/sh", "and nothing else that begins with a hyphen."),
        ("/rollback -rf", "and nothing else that begins with a hyphen."),
        ("/rollback --", "and nothing else that begins with a hyphen."),
        ("/rollback help --env x", "`/rollback help` takes no option"),
        ("/rollback approve --dry-run", "`/rollback approve` takes `--env`, `--reason`"),
        ("/rollback hold 2h 3h", "There are two durations; give one."),
        ("/rollback hold 2", "I do not know that word; a duration is like `30m`, `2h` or `1d`."),
        ("/rollback hold 2hours", "I do not know that word"),
        ("/rollback hold ٢h", "I do not know that word"),
        ("/rollback hold 0m", "A duration is from 1m to 30d."),
        ("/rollback hold 31d", "A duration is from 1m to 30d."),
        ("/rollback hold 9999d", "A duration is from 1m to 30d."),
        ("/rollback hold -2h", "and nothing else that begins with a hyphen."),
        ("/rollback freeze 2h", '`/rollback freeze` needs a reason: --reason "why".'),
        ("/rollback approve\u200b", "There are invisible characters"),
        ("/rollback ap\u202eprove", "There are invisible characters"),
        ("/rollback \x1b[31mapprove", "There are invisible characters"),
        ("/rollback --reason " + "x" * 301, "A reason is at most 300 characters long."),
        ("/rollback " + "x" * 1_000, "A command is at most 1,000 characters long."),
    ],
)
def test_what_was_meant_for_us_and_not_understood_is_told_why(body: str, why: str) -> None:
    answer = parse_comment(body)
    assert isinstance(answer, Misunderstood)
    assert why in answer.why


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("", Command("rollback")),
        ("approve", Command("approve")),
        ("acme/stagelog#42", Command("rollback", target=Target("acme/stagelog", 42))),
        (
            "acme/stagelog#42 hold 2h",
            Command("hold", duration_s=2 * HOUR, target=Target("acme/stagelog", 42)),
        ),
        ("acme/stage.log#7 --dry-run", Command("rollback", dry_run=True, target=Target("acme/stage.log", 7))),
        ("connect", Command("connect")),
    ],
)
def test_slack_says_the_same_and_names_the_pull_request_first(text: str, command: Command) -> None:
    assert parse_slack(text) == command


@pytest.mark.parametrize(
    "text",
    ["approve acme/stagelog#42", "acme/stagelog#0", "acme#42", "../x#1 approve", "approve\nhold", "#42"],
)
def test_slack_is_no_more_lenient(text: str) -> None:
    assert isinstance(parse_slack(text), Misunderstood)


def test_the_usage_names_every_verb() -> None:
    assert all(verb in USAGE for verb in VERBS)


# --- hostile ----------------------------------------------------------------------------------------

PIECES = [
    "/rollback", "/rollback ", "approve", "cancel", "hold", "freeze", "--reason", "--env", "--dry-run",
    "--repo", "=", "--upload-pack=/bin/sh", "-c", "$(id)", "`id`", ";", "|", "&&", "\n", "\r", "\t",
    "\u0000", "\u001b[31m", "\u2028", "\u202e", "\u200b", "\ufeff", "\u2215rollback", "\uff0frollback",
    "\"", "'", "\\", "\u201c", "\u201d", "\u2014", "2h", "99999d", "1d", "> ", "```", "~~~", "    ", "<!--",
    "@dana", "acme/x#1", "\u00e9", "\ud83d\udfe5", "\ud800", "x" * 2_000, " ", "  ",
]  # fmt: skip
BODIES = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=8).map(lambda parts: "/rollback " + " ".join(parts)),
    st.text(st.characters(exclude_categories=()), max_size=80),
    st.text(st.characters(exclude_categories=()), max_size=80).map(lambda text: "/rollback " + text),
    st.text(string.printable, max_size=120).map(lambda text: "/rollback" + text),
)


def assert_sound(answer: object, verbs: set[str]) -> None:
    """Whatever comes out can be acted on: known verb, bounded values, nothing that looks like an option."""
    if answer is None or isinstance(answer, Misunderstood):
        return
    assert isinstance(answer, Command)
    assert answer.verb in verbs
    assert answer.environment is None or (
        len(answer.environment) <= 255 and answer.environment[0] not in "- "
    )
    assert len(answer.reason) <= 300 and "\n" not in answer.reason
    assert answer.duration_s is None or MINUTE <= answer.duration_s <= LONGEST_S
    assert answer.verb == "rollback" or not answer.dry_run
    assert answer.verb in ("hold", "resume") or not answer.whole_repository


def assert_nothing_happens_by_accident(body: str) -> None:
    answer = parse_comment(body)
    assert_sound(answer, set(VERBS))
    if not body.startswith("/rollback"):
        assert answer is None
    if isinstance(answer, Misunderstood):
        assert len(answer.why) < 200 and answer.why.isprintable()
    assert_sound(parse_slack(body), {*VERBS, "connect"})


def test_ten_thousand_hostile_comments_never_raise() -> None:
    dice = random.Random(20_260_504)
    for _ in range(10_000):
        body = dice.choice(["", " "]).join(dice.choices(PIECES, k=dice.randint(0, 12)))
        assert_nothing_happens_by_accident(dice.choice(["", "/rollback", "/rollback "]) + body)


@settings(max_examples=500, deadline=None)
@given(body=BODIES)
def test_comments_that_nobody_thought_of_never_raise(body: str) -> None:
    assert_nothing_happens_by_accident(body)


@pytest.mark.long
@settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=BODIES)
def test_many_comments_that_nobody_thought_of_never_raise(body: str) -> None:
    assert_nothing_happens_by_accident(body)


def test_a_comment_of_megabytes_is_read_no_further_than_its_first_line() -> None:
    assert parse_comment("/rollback status\n" + "x" * 50_000_000) == Command("status")
    assert isinstance(parse_comment("/rollback " + '"' * 50_000_000), Misunderstood)
    assert parse_comment("x" * 50_000_000) is None


def test_the_longest_command_is_read() -> None:
    body = "/rollback --reason '" + "x" * 300 + "'"
    assert parse_comment(body + " " * (MOST_CHARS - len(body))) == Command("rollback", reason="x" * 300)
