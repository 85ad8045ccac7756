"""The words of a revert commit: nothing in them skips a pipeline, closes an issue or notifies anybody."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policies.revert_message import (
    RevertTrailers,
    harmless,
    is_rollback_of,
    one_line,
    revert_message,
    revert_subject,
    reverts_claimed,
    rollback_deploy_of,
    trailers_of,
)

SHA, PARENT = "a" * 40, "b" * 40
TRAILERS = RevertTrailers("8531", "inc-7", "dana", "failed (3) > limit (2)")
SKIPS = re.compile(
    r"\[(?:skip ci|ci skip|no ci|skip actions|actions skip|skip cd|cd skip|skip-ci|ci-skip|skip azurepipelines"
    r"|azurepipelines skip|skip azp|azp skip|skip travis|travis skip|skip netlify|vercel skip)\]|skip-checks\s*:"
    r"|\*\*\*NO_CI\*\*\*",
    re.IGNORECASE,
)
CLOSES = re.compile(
    r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+(?:[\w.-]+/[\w.-]+)?(?:#|gh-)\d", re.IGNORECASE
)
MENTIONS = re.compile(r"(?<![A-Za-z0-9])@[A-Za-z0-9]")


def test_the_whole_message():
    message = revert_message("Merge pull request #42 from acme/uploads", SHA, TRAILERS, "Bot <bot@x>", PARENT)
    assert message == (
        'Revert "Merge pull request #42 from acme/uploads"\n'
        "\n"
        f"This reverts commit {SHA}.\n"
        f"It was a merge; this reverses the changes it made to its parent {PARENT}.\n"
        "\n"
        "Rolled back because: failed (3) > limit (2)\n"
        "\n"
        "Rollback-Deploy: 8531\n"
        "Rollback-Incident: inc-7\n"
        "Rollback-Ordered-By: dana\n"
        "Signed-off-by: Bot <bot@x>\n"
    )


@pytest.mark.parametrize(
    ("subject", "first"),
    [
        ("Add uploads (#42)", 'Revert "Add uploads (#42)"'),
        ("[skip ci] Add uploads", 'Revert "… Add uploads"'),
        ("Add uploads [CI SKIP]", 'Revert "Add uploads …"'),
        ("Add uploads [ skip   ci ]", 'Revert "Add uploads …"'),
        ("docs [skip actions] x", 'Revert "docs … x"'),
        ("x ***NO_CI***", 'Revert "x …"'),
        ("do not skip ci here", 'Revert "do not … here"'),
        ("Let users skip the tour", 'Revert "Let users skip the tour"'),
        ("Fix the noise in CI", 'Revert "Fix the noise in CI"'),
        ("skip-checks: true", 'Revert "…: true"'),
        ("0SKIP-CHECKS: true", 'Revert "0…: true"'),
        ("Fixes #1", 'Revert "Fixes no. 1"'),
        ("closes: acme/app#12, resolves GH-3", 'Revert "closes: acme/app no. 12, resolves no. 3"'),
        ("fix https://github.com/a/b/issues/9 now", 'Revert "fix no. 9 now"'),
        ("Prefix #1 is kept", 'Revert "Prefix #1 is kept"'),
        ("Thanks @dana and @acme/ops, see a@b.example", 'Revert "Thanks dana and acme/ops, see a@b.example"'),
        ("# heading", 'Revert "# heading"'),
        ("", f'Revert "{SHA[:12]}"'),
        ("a\x00b\x1b[31m\u202e\u200bc", 'Revert "ab[31mc"'),
        ('Revert "Add uploads"', 'Reapply "Add uploads"'),
        ('Revert "Revert "Add""', 'Revert "Revert "Revert "Add"""'),
    ],
)
def test_subjects(subject: str, first: str):
    assert revert_subject(subject, SHA) == first


MEAN = st.lists(
    st.sampled_from(
        ["[", "]", "skip", " ", "ci", "CI", "-", "no", "actions", "@", "dana", "#", "1", "fixes", ":", "closes", "gh-",
         "***", "NO_CI", "skip-checks", "true", "\n", "\u200b", "\u202e", "\x00", "a/b", "resolve", "…", "\u0130"]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@given(st.one_of(st.text(max_size=300), MEAN))
@example("[skip [skip ci] ci]")
@example("[sk\u200bip ci]")
@example("@@dana @\u200bdana")
@example("fixes fixes #1 #2")
@example("skip-skip-ci-ci: @[no ci]dana")
def test_no_foreign_text_can_skip_close_or_notify(text: str):
    message = revert_message(text, SHA, RevertTrailers("1", "2", text, text), mainline=PARENT)
    assert not SKIPS.search(message)
    assert not CLOSES.search(message)
    assert not MENTIONS.search(message)
    assert "\x00" not in message and "\u202e" not in message
    assert rollback_deploy_of(message) == "1"
    assert reverts_claimed(message) == (SHA,)
    assert message.count("\nRollback-Deploy: ") == 1
    message.encode()


@given(st.text(max_size=60))
def test_one_line_is_one_line_and_stable(text: str):
    once = one_line(text)
    assert "\n" not in once and once == one_line(once) and len(once) <= 400


def test_long_hostile_text_is_cleaned_in_no_time():
    for text in (
        "[skip " * 5000,
        "@" * 50_000,
        "fixes " * 10_000,
        "no" * 30_000,
        "ci " * 20_000,
        "a/" * 30_000 + "#1",
    ):
        assert len(harmless(text)) <= 400


@given(st.text(max_size=80).filter(one_line))
def test_our_commit_is_known_by_any_deploy_id(deploy: str):
    message = revert_message("x", SHA, RevertTrailers(deploy, "i", "me"))
    assert is_rollback_of(message, deploy)
    assert not is_rollback_of(message, deploy + "0")


def test_trailers_are_those_at_the_end_only():
    assert trailers_of("Subject\n\nRollback-Deploy: 1\n\nMore words here") == {}
    assert trailers_of("Rollback-Deploy: 1") == {}
    assert trailers_of("S\n\nbody\n\nRollback-Deploy: 1\nOther: x\n") == {
        "Rollback-Deploy": "1",
        "Other": "x",
    }


def test_trailers_survive_a_squash_merge_with_co_authors():
    message = revert_message("x", SHA, TRAILERS) + "\n\nCo-authored-by: Dana <dana@example.com>\n"
    assert rollback_deploy_of(message) == "8531"


def test_git_reads_the_same_trailers():
    message = revert_message("Merge it", SHA, TRAILERS, "Bot <bot@x>")
    parsed = subprocess.run(
        ["git", "interpret-trailers", "--parse"], input=message.encode(), capture_output=True
    )
    assert dict(line.split(": ", 1) for line in parsed.stdout.decode().splitlines()) == trailers_of(message)


def test_a_claim_is_read_wherever_a_line_begins_with_it():
    text = f"Revert two\n\nThis reverts commit {SHA}.\nThis reverts commit {PARENT}, reversing\nchanges made to x."
    assert reverts_claimed(text) == (SHA, PARENT)
    assert reverts_claimed(f"I said: This reverts commit {SHA}") == ()
