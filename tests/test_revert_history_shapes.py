"""Every shape of history that a revert can meet, on real repositories, beside a plain git revert."""

from __future__ import annotations

import pytest

from tests.git_histories import History, git
from tests.revert_on_history import ALREADY, CONFLICT, REFUSED, REVERTED, TEN, as_plain, revert

# --- shapes of history ----------------------------------------------------------------------------


def test_a_rebase_merged_pull_request_is_its_commits_newest_first(history: History):
    good = history.head()
    first = history.commit("Step one", {"app.py": TEN.replace("line 1", "one")})
    second = history.commit("Step two", {"app.py": TEN.replace("line 1", "one").replace("line 2", "two")})
    done = revert(history, first, second, good=good)
    assert (done.outcome, done.tree, len(done.commits)) == (REVERTED, history.tree(good), 2)
    assert as_plain(history, second, first) == "clean"


def test_a_fast_forwarded_branch_is_its_commits_too(history: History):
    good = history.head()
    history.switch("feature", "develop")
    one, two = history.commit("A", {"a": "1\n"}), history.commit("B", {"b": "1\n"})
    history.switch("develop")
    git(history.work, "merge", "-q", "--ff-only", "feature")
    assert revert(history, one, two, good=good).tree == history.tree(good)


def test_an_octopus_is_allowed_and_reported(history: History):
    good = history.head()
    for name in ("left", "right"):
        history.switch(name, "develop")
        history.commit(name, {f"{name}.txt": "x\n"})
    history.switch("develop")
    octopus = history.merge("left", "right", message="Merge branches 'left' and 'right'")
    done = revert(history, octopus, good=good)
    assert (done.outcome, done.tree) == (REVERTED, history.tree(good))
    assert "merged 2 branches at once" in done.notes[0]
    assert as_plain(history, octopus) == "clean"


def foxtrot(history: History, message: str) -> tuple[str, str]:
    """Somebody's own work with the branch merged into it, then pushed as the branch: (old tip, merge)."""
    history.switch("mine", "develop")
    history.commit("My work", {"mine.txt": "x\n"})
    history.switch("develop")
    tip = history.commit("What production had", {"production.txt": "x\n"})
    history.switch("mine")
    merge = history.merge("develop", message=message)
    history.switch("develop")
    git(history.work, "merge", "-q", "--ff-only", "mine")
    return tip, merge


@pytest.mark.parametrize(
    "message",
    [
        "Merge branch 'develop' into mine",
        "Merge remote-tracking branch 'origin/develop'",
        "Merge branch 'develop' of https://github.com/acme/stagelog",
        "Merge branch 'develop'",
    ],
)
def test_a_foxtrot_merge_is_told_by_its_subject_and_left_to_a_person(history: History, message: str):
    _, merge = foxtrot(history, message)
    done = revert(history, merge)
    assert done.outcome is REFUSED
    assert "foxtrot" in done.reason and done.command == f"git revert -m 2 {merge}"


def test_a_foxtrot_merge_is_told_by_the_tip_that_was_seen_before(history: History):
    tip, merge = foxtrot(history, "Catch up")
    done = revert(history, merge, tips=(tip,))
    assert done.outcome is REFUSED and tip[:12] in done.reason
    assert revert(history, merge, good=tip).outcome is REFUSED


def test_a_forks_branch_of_the_same_name_is_no_foxtrot(history: History):
    merge = history.merged({"a": "x\n"}, "Merge branch 'develop' of https://github.com/somebody/stagelog")
    assert revert(history, merge).outcome is REVERTED


def test_a_tip_seen_before_outweighs_a_suspicious_subject(history: History):
    tip = history.head()
    merge = history.merged({"a": "x\n"}, "Merge branch 'develop' into develop-2")
    assert revert(history, merge, tips=(merge, tip)).outcome is REVERTED


def test_the_root_is_refused_with_the_command(history: History):
    root = git(history.work, "rev-list", "--max-parents=0", "HEAD").decode().strip()
    done = revert(history, root)
    assert done.outcome is REFUSED and "root of the history" in done.reason
    assert done.command == f"git revert {root}"


def test_a_merge_that_is_not_on_the_branch_is_refused(history: History):
    history.switch("other", "develop")
    elsewhere = history.merged({"x": "x\n"}, feature="far", start="other")
    history.switch("elsewhere-main", elsewhere)
    git(history.work, "branch", "-f", "develop", f"{elsewhere}^1")
    history.switch("develop")
    git(history.work, "push", "-q", "origin", "elsewhere-main")
    done = revert(history, elsewhere)
    assert done.outcome is REFUSED and "is not on develop" in done.reason
    assert done.command == f"git branch --all --contains {elsewhere}"


def test_a_branch_that_was_reset_away_from_the_merge_is_refused(history: History):
    merge = history.merged({"x": "x\n"})
    history.push()
    git(history.work, "reset", "-q", "--hard", "HEAD~1")
    history.commit("Another way", {"y": "y\n"})
    done = revert(history, merge)
    assert done.outcome is REFUSED and "the branch was reset" in done.reason


def test_a_tree_or_tag_is_no_commit(history: History):
    history.push()
    git(history.work, "tag", "-a", "-m", "v1", "v1")
    git(history.work, "push", "-q", "origin", "v1")
    tag = git(history.work, "rev-parse", "v1").decode().strip()
    assert "is a tag, not a commit" in revert(history, tag).reason
    assert "is a tree, not a commit" in revert(history, history.tree()).reason


# --- reverted before ------------------------------------------------------------------------------


def test_what_came_back_in_part_after_a_revert_is_told_with_the_commit_that_brought_it(history: History):
    history.switch("feature", "develop")
    bad = TEN.replace("line 1\n", "bad one\n").replace("line 8\n", "bad two\n")
    history.commit("Feature", {"new.txt": "1\n", "other.txt": "2\n", "app.py": bad})
    history.switch("develop")
    merge = history.merge("feature", message="Merge branch 'feature'")
    git(history.work, "revert", "-m", "1", "--no-edit", merge)
    assert revert(history, merge).notes == ()
    for path, text in (("new.txt", "1\n"), ("app.py", TEN.replace("line 8\n", "bad two\n"))):
        again = history.commit("Some of it is back", {path: text})
        history.commit("Something else", {"README.md": "more\n"})
        done = revert(history, merge)
        assert done.outcome is ALREADY
        assert done.notes == (
            f"But something of {merge[:12]} is on {done.head[:12]} again, in {path}: revert {again[:12]}, which "
            "brought it.",
        )
        git(history.work, "reset", "-q", "--hard", "HEAD~2")


def test_later_work_on_the_same_lines_does_not_undo_a_revert(history: History):
    history.switch("feature", "develop")
    history.commit("Feature", {"new.txt": "1\n", "app.py": TEN.replace("line 1\n", "bad one\n")})
    history.switch("develop")
    merge = history.merge("feature", message="Merge branch 'feature'")
    git(history.work, "revert", "-m", "1", "--no-edit", merge)
    history.commit(
        "Other work", {"new.txt": "something else\n", "app.py": TEN.replace("line 1\n", "better\n")}
    )
    done = revert(history, merge)
    assert (done.outcome, done.notes) == (ALREADY, ())


def test_a_persons_own_revert_counts_as_already_reverted(history: History):
    merge = history.merged({"app.py": TEN.replace("line 3", "three")})
    git(history.work, "revert", "-m", "1", "--no-edit", merge)
    theirs = history.head()
    history.commit("More", {"README.md": "more\n"})
    done = revert(history, merge)
    assert (done.outcome, done.commits) == (ALREADY, (theirs,))
    assert as_plain(history, merge) == "proven undone"


def test_a_revert_counts_by_what_it_does_not_by_what_it_says(history: History):
    merge = history.merged({"app.py": TEN.replace("line 3", "three")})
    history.commit("Put the old text back, for now", {"app.py": TEN})
    assert revert(history, merge).outcome is ALREADY


def test_a_message_that_only_claims_a_revert_changes_nothing(history: History):
    good = history.head()
    merge = history.merged({"app.py": TEN.replace("line 3", "three")})
    history.commit(f"Revert it?\n\nThis reverts commit {merge}.", {"README.md": "not really\n"})
    done = revert(history, merge)
    assert done.outcome is REVERTED
    assert git(history.work, "rev-parse", f"{good}:app.py") == git(
        history.bare, "rev-parse", f"{good}:app.py"
    )
    assert as_plain(history, merge) == "clean"


def test_a_revert_that_was_reverted_is_in_force_and_can_be_reverted_again(history: History):
    good = history.head()
    merge = history.merged({"app.py": TEN.replace("line 3", "three")})
    git(history.work, "revert", "-m", "1", "--no-edit", merge)
    git(history.work, "revert", "--no-edit", "HEAD")
    done = revert(history, merge)
    assert (done.outcome, done.tree) == (REVERTED, history.tree(good))
    assert as_plain(history, merge) == "clean"


def test_the_reland_itself_can_be_reverted(history: History):
    good = history.head()
    merge = history.merged({"app.py": TEN.replace("line 3", "three")})
    git(history.work, "revert", "-m", "1", "--no-edit", merge)
    git(history.work, "revert", "--no-edit", "HEAD")
    reland = history.head()
    assert revert(history, reland).tree == history.tree(good)
    assert as_plain(history, reland) == "clean"


def test_remerging_the_same_branch_after_a_revert_brings_only_its_new_commits(history: History):
    merge = history.merged({"app.py": TEN.replace("line 3", "three")})
    git(history.work, "revert", "-m", "1", "--no-edit", merge)
    between = history.tree()
    again = history.merged(
        {"fix.txt": "fixed\n"}, "Merge pull request #43 from acme/feature", start="feature"
    )
    assert revert(history, merge).outcome is ALREADY
    done = revert(history, again)
    assert (done.outcome, done.tree) == (REVERTED, between)


def test_a_relanded_branch_with_a_fix_is_reverted_as_the_merge_it_came_with(history: History):
    merge = history.merged({"app.py": TEN.replace("line 3", "three")})
    git(history.work, "revert", "-m", "1", "--no-edit", merge)
    between = history.tree()
    history.switch("again", "develop")
    git(history.work, "revert", "--no-edit", "develop")
    history.commit("And the fix", {"fix.txt": "x\n"})
    history.switch("develop")
    reland = history.merge("again", message="Merge pull request #44 from acme/again")
    assert revert(history, merge).outcome is ALREADY
    assert revert(history, reland).tree == between


def test_of_several_only_those_still_in_force_are_reverted(history: History):
    good = history.head()
    one = history.merged({"one.txt": "1\n"}, feature="one")
    two = history.merged({"two.txt": "2\n"}, feature="two")
    git(history.work, "revert", "-m", "1", "--no-edit", one)
    done = revert(history, one, two)
    assert (done.outcome, len(done.commits), done.tree) == (REVERTED, 1, history.tree(good))
    assert any(f"{one[:12]} was already reverted" in note for note in done.notes)


def test_a_culprit_whose_change_was_overwritten_leaves_nothing_to_revert(history: History):
    merge = history.merged({"gone.txt": "x\n"})
    history.commit("Remove it, and more", {"gone.txt": None, "README.md": "x\n"})
    done = revert(history, merge)
    assert done.outcome is ALREADY and "nothing of" in done.reason
    assert as_plain(history, merge) == "empty"


def test_a_conflict_between_several_pushes_nothing_of_any(history: History):
    one = history.merged({"app.py": TEN.replace("line 3", "three")}, feature="one")
    two = history.merged({"two.txt": "2\n"}, feature="two")
    history.commit("On top of one", {"app.py": TEN.replace("line 3", "drei")})
    done = revert(history, one, two)
    assert (done.outcome, done.conflicts, done.commits) == (CONFLICT, (b"app.py",), ())


def test_the_branch_merged_into_a_feature_is_not_reverted_as_if_it_were_the_feature(history: History):
    history.switch("mine", "develop")
    history.commit("My work", {"mine.txt": "x\n"})
    history.switch("develop")
    history.commit("What production had", {"production.txt": "x\n"})
    history.switch("mine")
    update = history.merge("develop", message="Keep up")
    history.switch("develop")
    history.commit("More of production", {"more.txt": "x\n"})
    merge = history.merge("mine")
    done = revert(history, update)
    assert done.outcome is REFUSED and "came in as its parent 2" in done.reason
    assert done.command == f"git revert -m 2 {update}"
    assert revert(history, merge).outcome is REVERTED


def test_a_merge_inside_a_feature_can_be_reverted(history: History):
    history.switch("part", "develop")
    history.commit("A part", {"part.txt": "x\n"})
    history.switch("whole", "develop")
    history.commit("The rest", {"rest.txt": "x\n"})
    inner = history.merge("part", message="Merge branch 'part' into whole")
    history.switch("develop")
    history.commit("Meanwhile", {"meanwhile.txt": "x\n"})
    history.merge("whole")
    assert as_plain(history, inner) == "clean"
