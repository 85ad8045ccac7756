"""The reverter on a history that a test makes, beside a plain git revert of the same commits."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.git_door import GitDoor
from bot.revert_checks import Prepared, RevertRequest
from bot.revert_history import Source
from bot.revert_worktree import scratch
from bot.reverting import prepare
from policies.facts import RevertOutcome
from tests.git_histories import History
from tests.random_histories import Case
from tests.revert_comparison import BOT, TRAILERS, compare

REVERTED, ALREADY = RevertOutcome.REVERTED, RevertOutcome.ALREADY_REVERTED
CONFLICT, REFUSED = RevertOutcome.CONFLICT, RevertOutcome.REFUSED
TEN = "".join(f"line {n}\n" for n in range(10))


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path / "server")
    made.commit("Start", {"app.py": TEN, "docs/guide.md": TEN, "README.md": "hello\n"})
    return made


def revert(history: History, *commits: str, good: str | None = None, tips: tuple[str, ...] = ()) -> Prepared:
    """Our revert on the pushed head of the branch."""
    head = history.push(force=True)
    root = history.root / "ours"
    door = GitDoor()
    with scratch(root, history.bare / "objects", door) as place:
        source = Source(door, history.bare, tips, history.name)
        return prepare(place, source, head, RevertRequest(history.branch, commits, TRAILERS, BOT, good))


def as_plain(history: History, *commits: str) -> str:
    """Our revert must be as a plain one in a full checkout; which outcome both have."""
    head = history.push(force=True)
    return compare(Case(history.bare, head, commits), history.root)
