"""Our revert beside a plain one in a full checkout, on the same history."""

from __future__ import annotations

from pathlib import Path

from bot.git_door import GitDoor, GitFailed
from bot.revert_checks import Prepared, RevertRequest
from bot.revert_history import Source
from bot.revert_worktree import CommitIdentity, scratch
from bot.reverting import prepare
from policies.facts import RevertOutcome
from policies.revert_message import RevertTrailers
from tests.git_histories import plain_revert
from tests.random_histories import Case

BOT = CommitIdentity("bot", "bot@example.com")
TRAILERS = RevertTrailers("deploy-1", "incident-1", "bot")


def our_revert(case: Case, root: Path) -> Prepared:
    door = GitDoor()
    with scratch(root / "ours", case.bare / "objects", door) as place:
        request = RevertRequest("develop", case.commits, TRAILERS, BOT)
        return prepare(place, Source(door, case.bare), case.head, request)


def compare(case: Case, root: Path) -> str:
    """The outcome both ways agree on; an AssertionError where they do not."""
    plain = plain_revert(case.bare, case.head, case.commits, root / "plain")
    try:
        ours = our_revert(case, root)
    except GitFailed as failure:
        assert plain.outcome == "failed", (plain, failure)
        return "failed"
    if ours.outcome is RevertOutcome.ALREADY_REVERTED and ours.commits:
        return "proven undone"  # a later commit is its exact inverse: there plain git may even conflict
    if plain.outcome == "failed":
        # A plain checkout can be dirty the moment it is made (line endings, filters); ours is never asked.
        assert "would be overwritten" in plain.err or "local changes" in plain.err, plain
        return "plain checkout dirty"
    expected = {
        "clean": (RevertOutcome.REVERTED, plain.tree, ()),
        "empty": (RevertOutcome.ALREADY_REVERTED, plain.tree, ()),
        "conflict": (RevertOutcome.CONFLICT, None, plain.conflicts),
    }[plain.outcome]
    assert (ours.outcome, ours.tree, ours.conflicts) == expected
    return plain.outcome
