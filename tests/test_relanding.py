"""Bringing changes back on real repositories, and knowing a reland when it is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.relanding import reland_branch
from bot.repository import GitRepositories
from policies.facts import RevertOutcome
from policies.revert_message import RELANDS_TRAILER, trailers_of
from tests.git_histories import History, git
from tests.test_reverting import history, order, repositories

__all__ = ["history", "repositories"]


def rolled_back(history: History, repositories: GitRepositories) -> tuple[str, str]:
    """A merge on develop and its revert by us; (merge, revert)."""
    history.switch("feature", "develop")
    history.commit("Add uploads", {"uploads.py": "a\n", "config/settings.py": "STATIC_ROOT = 2\n"})
    history.switch("develop")
    merge = history.merge("feature")
    history.push()
    repositories.refresh(history.name, "develop")
    done = repositories.revert(order(history, merge))
    assert done.outcome is RevertOutcome.REVERTED and done.revert_sha is not None
    return merge, done.revert_sha


def catch_up(history: History) -> None:
    """The working clone knows what the bot pushed; its develop stands where the server's does."""
    git(history.work, "fetch", "-q", "origin")
    history.switch("develop")
    git(history.work, "merge", "-q", "--ff-only", "origin/develop")


def undone(history: History, repositories: GitRepositories, merge: str) -> tuple[tuple[str, str], ...]:
    repositories.refresh(history.name, "develop")
    by = repositories.commit(history.name, "develop", merge).already_reverted_by
    assert by is not None
    return ((merge, by),)


def test_the_branch_holds_the_change_again_and_says_what_it_relands(
    history: History, repositories: GitRepositories
) -> None:
    merge, revert = rolled_back(history, repositories)
    made = repositories.reland(history.name, "develop", 42, "Uploads", undone(history, repositories, merge))
    assert (made.branch, made.relands, made.reason) == ("rollback-bot/reland-42", (merge,), "")
    refs = history.remote_refs()
    tip = refs["refs/heads/rollback-bot/reland-42"]
    assert history.remote_tree("rollback-bot/reland-42") == history.tree(merge)
    assert history.remote_head("develop") == revert, "the guarded branch is as it was"
    message = history.message(tip)
    assert message.startswith('Reapply "Uploads"\n\nThis reverts commit ' + revert)
    assert trailers_of(message)[RELANDS_TRAILER] == merge


def test_again_it_finds_its_branch_also_with_a_fix_on_top(
    history: History, repositories: GitRepositories
) -> None:
    merge, _ = rolled_back(history, repositories)
    pairs = undone(history, repositories, merge)
    repositories.reland(history.name, "develop", 42, "Uploads", pairs)
    first = history.remote_refs()["refs/heads/rollback-bot/reland-42"]
    again = repositories.reland(history.name, "develop", 42, "Uploads", pairs)
    assert again.branch == "rollback-bot/reland-42"
    assert history.remote_refs()["refs/heads/rollback-bot/reland-42"] == first


def test_somebody_else_s_branch_of_that_name_is_left_alone(
    history: History, repositories: GitRepositories
) -> None:
    merge, _ = rolled_back(history, repositories)
    history.switch("mine", "develop")
    own = history.commit("My own", {"mine.py": "x\n"})
    history.push(branch="mine")
    theirs = history.remote_refs()["refs/heads/mine"]
    git(history.bare, "update-ref", f"refs/heads/{reland_branch(42)}", theirs)
    made = repositories.reland(history.name, "develop", 42, "Uploads", undone(history, repositories, merge))
    assert made.branch == "rollback-bot/reland-42-2" and own == theirs
    assert history.remote_refs()["refs/heads/rollback-bot/reland-42"] == theirs


def test_a_conflict_names_the_paths_and_pushes_nothing(
    history: History, repositories: GitRepositories
) -> None:
    merge, _ = rolled_back(history, repositories)
    catch_up(history)
    history.commit("Meanwhile", {"config/settings.py": "STATIC_ROOT = 99\n"})
    history.push()
    made = repositories.reland(history.name, "develop", 42, "Uploads", undone(history, repositories, merge))
    assert made.branch is None and made.conflicts == ("config/settings.py",)
    assert made.command is not None and made.command.startswith(
        "git switch --create reland-42 origin/develop && git revert "
    )
    assert "refs/heads/rollback-bot/reland-42" not in history.remote_refs()


def test_the_merge_of_a_reland_is_known_by_the_trailer_of_what_it_merged(
    history: History, repositories: GitRepositories
) -> None:
    merge, _ = rolled_back(history, repositories)
    repositories.reland(history.name, "develop", 42, "Uploads", undone(history, repositories, merge))
    catch_up(history)
    history.switch("reland", "origin/rollback-bot/reland-42")
    history.commit("The fix", {"uploads.py": "b\n"})
    history.switch("develop")
    again = history.merge("reland", message="Merge pull request #50")
    history.push()
    repositories.refresh(history.name, "develop")
    assert repositories.commit(history.name, "develop", again).relands == merge
    assert repositories.commit(history.name, "develop", merge).relands is None


def test_a_release_that_carries_all_of_it_brings_nothing_back(
    history: History, repositories: GitRepositories, tmp_path: Path
) -> None:
    history.switch("main", "develop")
    history.push(branch="main")
    merge, _ = rolled_back(history, repositories)
    repositories.reland(history.name, "develop", 42, "Uploads", undone(history, repositories, merge))
    catch_up(history)
    history.merge("origin/rollback-bot/reland-42", message="Merge pull request #50")
    history.push()
    history.switch("main")
    release = history.merge("develop", message="Release")
    history.push(branch="main")
    repositories.refresh(history.name, "main")
    assert repositories.commit(history.name, "main", release).relands is None


def test_a_rehearsal_tells_what_a_revert_would_do_and_leaves_no_trace(
    history: History, repositories: GitRepositories
) -> None:
    history.switch("feature", "develop")
    history.commit("Add uploads", {"uploads.py": "a\n"})
    history.switch("develop")
    merge = history.merge("feature")
    history.push()
    before = history.remote_refs()
    told = repositories.rehearse(order(history, merge))
    assert told.outcome is RevertOutcome.REVERTED and told.tree == history.tree(f"{merge}^1")
    assert history.remote_refs() == before
    history.commit("Meanwhile", {"uploads.py": "changed\n"})
    history.push()
    conflict = repositories.rehearse(order(history, merge))
    assert conflict.outcome is RevertOutcome.CONFLICT and conflict.conflicts == ("uploads.py",)


@pytest.mark.parametrize("number", [1, 42, 999_999])
def test_the_branch_is_named_after_the_pull_request(number: int) -> None:
    assert reland_branch(number) == f"rollback-bot/reland-{number}"
