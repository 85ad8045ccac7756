"""Every shape of history and of file that a revert can meet, on real repositories, beside a plain git
revert."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from bot.git_door import GitDoor
from bot.revert_checks import Prepared, RevertRequest
from bot.revert_history import Source
from bot.revert_worktree import scratch
from bot.reverting import prepare
from policies.facts import RevertOutcome
from tests.git_histories import History, git
from tests.random_histories import Case
from tests.revert_comparison import BOT, TRAILERS, compare, our_revert

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
    assert as_plain(history, two, one) == "conflict"


# --- shapes of files: all as a plain revert -------------------------------------------------------

Build = Callable[[History], tuple[str, ...]]


def _later(history: History, before: dict, merged: dict, after: dict) -> tuple[str, ...]:
    history.commit("Before", before)
    merge = history.merged(merged)
    if after:
        history.commit("After", after)
    return (merge,)


TWO, ZWEI = TEN.replace("line 2", "two"), TEN.replace("line 2", "zwei")
UNION = "*.txt merge=union\n"


def union(history: History) -> tuple[str, ...]:
    return _later(history, {"log.txt": TEN, ".gitattributes": UNION}, {"log.txt": TWO}, {"log.txt": ZWEI})


def union_in_a_deep_folder(history: History) -> tuple[str, ...]:
    return _later(
        history, {"a/b/log.txt": TEN, "a/.gitattributes": UNION}, {"a/b/log.txt": TWO}, {"a/b/log.txt": ZWEI}
    )


def union_where_it_was_moved_to(history: History) -> tuple[str, ...]:
    merge = _later(history, {"old/log.txt": TEN, "new/.gitattributes": UNION}, {"old/log.txt": TWO}, {})
    git(history.work, "mv", "old/log.txt", "new/log.txt")
    history.commit("Moved", {"new/log.txt": ZWEI})
    return merge


def union_that_keeps_everything(history: History) -> tuple[str, ...]:
    return _later(
        history,
        {"log.txt": TEN, ".gitattributes": UNION, "app.py": TEN},
        {"log.txt": TEN + "mine\n", "app.py": TWO},
        {"log.txt": TEN + "mine\nlater\n", "app.py": TEN},
    )


def kept_by_attribute_where_it_was_moved_to(history: History) -> tuple[str, ...]:
    merge = _later(
        history,
        {"old/x.txt": TEN, "new/.gitattributes": "*.txt -merge\n"},
        {"old/x.txt": TEN.replace("line 2", "two")},
        {},
    )
    git(history.work, "mv", "old/x.txt", "new/x.txt")
    history.commit("Moved", {"new/x.txt": TEN.replace("line 8", "eight")})
    return merge


def custom_driver(history: History) -> tuple[str, ...]:
    return _later(
        history,
        {"x.txt": TEN, ".gitattributes": "*.txt merge=custom\n"},
        {"x.txt": TEN.replace("line 2", "two")},
        {"x.txt": TEN.replace("line 2", "zwei")},
    )


def ours_without_a_driver(history: History) -> tuple[str, ...]:
    return _later(
        history,
        {"x.txt": TEN, ".gitattributes": "x.txt merge=ours\n"},
        {"x.txt": TEN.replace("line 2", "two")},
        {"x.txt": TEN.replace("line 2", "zwei")},
    )


def crlf_with_text_auto(history: History) -> tuple[str, ...]:
    return _later(history, {".gitattributes": "* text=auto\n"}, {"x.txt": "a\nb\nc\n"}, {"y.txt": "later\n"})


def attributes_changed_by_the_merge(history: History) -> tuple[str, ...]:
    return _later(
        history,
        {"log.txt": TEN},
        {".gitattributes": "*.txt merge=union\n", "log.txt": TEN + "a\n"},
        {"log.txt": TEN + "a\nb\n"},
    )


def case_only_rename(history: History) -> tuple[str, ...]:
    return _later(history, {"Readme.txt": TEN}, {"Readme.txt": None, "README.txt": TEN}, {})


def rename_rename(history: History) -> tuple[str, ...]:
    return _later(history, {"x.txt": TEN}, {"x.txt": None, "y.txt": TEN}, {"y.txt": None, "z.txt": TEN})


def rename_delete(history: History) -> tuple[str, ...]:
    return _later(history, {"x.txt": TEN}, {"x.txt": None, "y.txt": TEN}, {"y.txt": None})


def directory_rename(history: History, change: dict[str, str] | None = None) -> tuple[str, ...]:
    old = {f"pkg/{n}.txt": f"{n}\n{TEN}" for n in range(4)}
    merge = _later(history, old, change or {"pkg/1.txt": f"1\n{TWO}"}, {})
    git(history.work, "mv", "pkg", "lib")
    history.commit("Moved as a whole")
    return merge


def directory_rename_around_an_addition(history: History) -> tuple[str, ...]:
    return directory_rename(history, {"pkg/new.txt": "new\n"})


def file_becomes_folder(history: History) -> tuple[str, ...]:
    history.commit("Before", {"thing": TEN})
    history.switch("feature", "develop")
    (history.work / "thing").unlink()
    history.commit("A folder now", {"thing/inside.txt": TEN})
    history.switch("develop")
    merge = history.merge("feature")
    history.commit("Later", {"thing/more.txt": "x\n"})
    return (merge,)


def mode_change(history: History) -> tuple[str, ...]:
    history.commit("Before", {"run.sh": TEN})
    history.switch("feature", "develop")
    (history.work / "run.sh").chmod(0o755)
    history.commit("Executable")
    history.switch("develop")
    merge = history.merge("feature")
    history.commit("Later", {"run.sh": TEN.replace("line 5", "five")})
    return (merge,)


def link_for_file(history: History) -> tuple[str, ...]:
    history.commit("Before", {"conf": TEN})
    history.switch("feature", "develop")
    (history.work / "conf").unlink()
    (history.work / "conf").symlink_to("../../../etc/passwd")
    history.commit("A link that leads outside")
    history.switch("develop")
    merge = history.merge("feature")
    history.commit("Later", {"README.md": "x\n"})
    return (merge,)


def link_for_folder(history: History) -> tuple[str, ...]:
    history.commit("Before", {"data/a.txt": TEN, "data/.gitattributes": "*.txt merge=union\n"})
    merge = history.merged({"data/a.txt": TEN + "mine\n"})
    (history.work / "data/a.txt").unlink()
    (history.work / "data/.gitattributes").unlink()
    (history.work / "data").rmdir()
    (history.work / "data").symlink_to("/tmp")
    history.commit("The folder is a link now")
    return (merge,)


def binary_conflict(history: History) -> tuple[str, ...]:
    return _later(
        history, {"logo.png": b"\x89PNG\0\1"}, {"logo.png": b"\x89PNG\0\2"}, {"logo.png": b"\x89PNG\0\3"}
    )


def lfs_pointers(history: History) -> tuple[str, ...]:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12\n"
    return _later(
        history,
        {
            "big.bin": pointer.format("a" * 64),
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        },
        {"big.bin": pointer.format("b" * 64)},
        {"README.md": "x\n"},
    )


def submodule(history: History, *, added: bool) -> tuple[str, ...]:
    first, second = "1" * 40, "2" * 40
    if not added:
        git(history.work, "update-index", "--add", "--cacheinfo", f"160000,{first},vendor")
        git(history.work, "commit", "-qm", "A module")
    history.switch("feature", "develop")
    git(history.work, "update-index", "--add", "--cacheinfo", f"160000,{second},vendor")
    git(history.work, "commit", "-qm", "Bump")
    git(history.work, "switch", "-q", "develop")
    merge = history.merge("feature")
    (history.work / "README.md").write_text("later\n")
    git(history.work, "commit", "-qam", "Later")
    return (merge,)


def submodule_bump(history: History) -> tuple[str, ...]:
    return submodule(history, added=False)


def submodule_addition(history: History) -> tuple[str, ...]:
    return submodule(history, added=True)


def odd_paths(history: History) -> tuple[str, ...]:
    names = [
        "new\nline.txt",
        'quo"te.txt',
        "-dash.txt",
        "emoji 🙂.txt",
        "trailing ",
        b"\xff\xfe.txt",
        "tab\t",
        "dir with\nnewline/x.txt",
        "[glob]*?/x.txt",
        " leading/x",
        "--help",
        "HEAD",
    ]
    return _later(
        history,
        dict.fromkeys(names, TEN),
        {name: TEN.replace("line 3", "three") for name in names},
        {name: TEN.replace("line 3", "three").replace("line 9", "nine") for name in names},
    )


def odd_paths_in_conflict(history: History) -> tuple[str, ...]:
    names = ["new\nline.txt", b"\xff\xfe.txt", "trailing ", "-dash"]
    return _later(
        history,
        dict.fromkeys(names, TEN),
        {name: TEN.replace("line 3", "three") for name in names},
        {name: TEN.replace("line 3", "drei") for name in names},
    )


def attributes_in_a_folder_with_a_newline(history: History) -> tuple[str, ...]:
    return _later(
        history,
        {"odd\nfolder/log.txt": TEN, "odd\nfolder/.gitattributes": UNION},
        {"odd\nfolder/log.txt": TWO},
        {"odd\nfolder/log.txt": ZWEI},
    )


def attributes_in_folders_that_look_like_patterns(history: History) -> tuple[str, ...]:
    folders = ["[ab]*?", "!not", "#hash", "back", "tr ", "a\tb", "**"]
    return _later(
        history,
        {f"{f}/{n}": c for f in folders for n, c in (("log.txt", TEN), (".gitattributes", UNION))},
        {f"{f}/log.txt": TWO for f in folders},
        {f"{f}/log.txt": ZWEI for f in folders},
    )


@pytest.mark.parametrize(
    ("build", "outcome"),
    [
        (union, "clean"),
        (union_in_a_deep_folder, "clean"),
        (union_where_it_was_moved_to, "clean"),
        (union_that_keeps_everything, "empty"),
        (kept_by_attribute_where_it_was_moved_to, "conflict"),
        (custom_driver, "conflict"),
        (ours_without_a_driver, "conflict"),
        (crlf_with_text_auto, "clean"),
        (attributes_changed_by_the_merge, "clean"),
        (case_only_rename, "clean"),
        (rename_rename, "conflict"),
        (rename_delete, "conflict"),
        (directory_rename, "clean"),
        (directory_rename_around_an_addition, "conflict"),
        (file_becomes_folder, "conflict"),
        (mode_change, "clean"),
        (link_for_file, "clean"),
        (link_for_folder, "conflict"),
        (binary_conflict, "conflict"),
        (lfs_pointers, "clean"),
        (submodule_bump, "clean"),
        (submodule_addition, "clean"),
        (odd_paths, "clean"),
        (odd_paths_in_conflict, "conflict"),
        (attributes_in_a_folder_with_a_newline, "clean"),
        (attributes_in_folders_that_look_like_patterns, "clean"),
    ],
)
def test_every_shape_of_file_comes_out_as_in_a_full_checkout(history: History, build: Build, outcome: str):
    assert as_plain(history, *build(history)) == outcome


def test_a_union_merge_is_pointed_out_to_a_person(history: History):
    done = revert(history, *union(history))
    assert any("merged by union" in note and "log.txt" in note for note in done.notes)


def test_a_union_merge_that_takes_nothing_back_is_not_called_reverted(history: History):
    merge = _later(
        history,
        {"log.txt": TEN, ".gitattributes": UNION},
        {"log.txt": TEN + "mine\n"},
        {"log.txt": TEN + "mine\nlater\n"},
    )
    done = revert(history, *merge)
    assert done.outcome is REFUSED and "merged by union" in done.reason and "log.txt" in done.reason
    done = revert(history, *union_that_keeps_everything(history))
    assert done.outcome is ALREADY and any("merged by union" in note for note in done.notes)


def test_a_conflict_of_line_endings_alone_is_labelled_and_left_to_a_person(history: History):
    history.commit("Before", {".gitattributes": "*.txt text\n"})
    blob = (
        git(history.work, "hash-object", "-w", "--stdin", stdin=TEN.replace("\n", "\r\n").encode())
        .decode()
        .strip()
    )
    git(history.work, "update-index", "--add", "--cacheinfo", f"100644,{blob},x.txt")
    git(history.work, "commit", "-qm", "CRLF in the repository")
    git(history.work, "rm", "-q", "--cached", "x.txt")
    history.switch("feature", "develop")
    changed = TEN.replace("line 3", "three").replace("\n", "\r\n").encode()
    blob = git(history.work, "hash-object", "-w", "--stdin", stdin=changed).decode().strip()
    git(history.work, "update-index", "--add", "--cacheinfo", f"100644,{blob},x.txt")
    git(history.work, "commit", "-qm", "Work")
    git(history.work, "update-ref", "refs/heads/develop", "refs/heads/feature")
    culprit = history.head("develop")
    git(history.work, "symbolic-ref", "HEAD", "refs/heads/develop")
    git(history.work, "reset", "-q", "--hard", ok="")
    history.commit("Normalised", {"x.txt": TEN.replace("line 3", "three")})
    done = revert(history, culprit)
    assert done.outcome is CONFLICT
    assert any("-Xrenormalize" in note for note in done.notes)
    assert done.command and f"git revert -m 1 -Xrenormalize {culprit}" in done.command


def test_a_full_checkout_is_chosen_by_itself_and_named_in_the_log(history: History):
    with structlog.testing.capture_logs() as logs:
        revert(history, *attributes_in_a_folder_with_a_newline(history))
    (chosen,) = [entry for entry in logs if entry["event"] == "revert_full_checkout"]
    assert "cannot be named" in chosen["because"]
    with structlog.testing.capture_logs() as logs:
        revert(history, *union(history))
    assert not [entry for entry in logs if entry["event"] == "revert_full_checkout"]


def test_a_crowded_root_is_not_checked_out(history: History, tmp_path: Path):
    crowd = {f"f{n:05d}.txt": f"{n}\n" for n in range(3500)}
    merge = _later(
        history,
        {**crowd, ".gitattributes": "log.txt merge=union\n", "log.txt": TEN},
        {"log.txt": TWO},
        {"log.txt": ZWEI},
    )
    head = history.push()
    door = GitDoor()
    with scratch(tmp_path / "ours", history.bare / "objects", door) as place:
        done = prepare(
            place, Source(door, history.bare), head, RevertRequest("develop", merge, TRAILERS, BOT)
        )
        assert done.outcome is REVERTED
        assert sorted(path.name for path in place.tree.iterdir()) == [".gitattributes"]
    assert as_plain(history, *merge) == "clean"


# --- messages and hostile repositories ------------------------------------------------------------


def test_a_latin_1_message_is_read_and_written_as_utf_8(history: History):
    git(history.work, "config", "i18n.commitEncoding", "latin-1")
    merge = history.merged({"a": "x\n"}, "Größe geändert".encode("latin-1"))
    done = revert(history, merge)
    assert done.outcome is REVERTED and "Größe geändert" in done.reason


def test_a_message_that_is_no_utf_8_and_claims_nothing_is_read_all_the_same(history: History):
    merge = history.merged({"a": "x\n"}, "Größe".encode("latin-1"))
    assert "Größe" in revert(history, merge).reason


def message_of(history: History, merge: str, root: Path) -> str:
    head = history.push(force=True)
    door = GitDoor()
    with scratch(root, history.bare / "objects", door) as place:
        done = prepare(
            place, Source(door, history.bare), head, RevertRequest("develop", (merge,), TRAILERS, BOT)
        )
        return place.source().log(done.commits[-1], at_most=1)[0].message


@pytest.mark.parametrize(
    "subject",
    [
        "# a heading, not a comment",
        "[skip ci] quick fix",
        "Fix @dana's bug, closes #1",
        "x\u202egnp.exe",
        "-m 2",
        "$(touch /tmp/x) `id` ; rm -rf /",
        "---",
        "Rollback-Deploy: other",
    ],
)
def test_hostile_subjects_do_no_harm(history: History, tmp_path: Path, subject: str):
    merge = history.merged({"a": "x\n"}, f"{subject}\n\nskip-checks: true\n")
    message = message_of(history, merge, tmp_path / "ours")
    first = message.splitlines()[0]
    assert first.startswith('Revert "') and f"This reverts commit {merge}." in message
    assert message.count("Rollback-Deploy: deploy-1") == 1 and message.rstrip().endswith("Ordered-By: bot")
    for bad in ("[skip ci]", "@dana", "#1", "skip-checks", "\u202e"):
        assert bad not in message


def test_replace_refs_and_grafts_do_not_change_what_is_reverted(history: History):
    good = history.head()
    merge = history.merged({"app.py": "broken\n"})
    head = history.push()
    git(history.bare, "replace", "--graft", merge, good)
    git(history.bare, "replace", good, git(history.work, "rev-parse", "feature").decode().strip())
    (history.bare / "info").mkdir(exist_ok=True)
    (history.bare / "info" / "grafts").write_text(f"{merge}\n")
    done = our_revert(Case(history.bare, head, (merge,)), history.root)
    # info/grafts of a mirror would be ours; that of somebody's repository is never read, through alternates.
    assert done.outcome in (REVERTED, REFUSED)
    (history.bare / "info" / "grafts").unlink()
    done = our_revert(Case(history.bare, head, (merge,)), history.root)
    assert (done.outcome, done.tree) == (REVERTED, history.tree(good))


def test_nothing_of_a_hostile_repository_runs_or_writes_outside(history: History, tmp_path: Path):
    proof = tmp_path / "ran"
    evil = f"touch {proof}; cat"
    history.commit(
        "Before",
        {
            "x.txt": TEN,
            ".gitattributes": "*.txt filter=evil merge=evil diff=evil\n",
            ".gitmodules": f'[submodule "m"]\n\tpath = m\n\turl = ext::sh -c "touch {proof}"\n',
            ".gitconfig": f"[core]\n\tfsmonitor = touch {proof}\n",
        },
    )
    merge = history.merged({"x.txt": TEN.replace("line 3", "three")})
    history.commit("After", {"x.txt": TEN.replace("line 3", "three").replace("line 7", "seven")})
    head = history.push()
    for key in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "filter.evil.smudge",
        "filter.evil.clean",
        "filter.evil.process",
        "merge.evil.driver",
        "diff.evil.command",
        "diff.evil.textconv",
        "diff.external",
        "core.editor",
        "sequence.editor",
        "gpg.program",
        "credential.helper",
    ):
        git(history.bare, "config", key, evil)
    for name in (
        "post-checkout",
        "post-commit",
        "prepare-commit-msg",
        "reference-transaction",
        "post-index-change",
        "pre-commit",
        "commit-msg",
    ):
        history.hook(name, evil)
    before = sorted(path for path in tmp_path.rglob("*") if "ours" not in path.parts)
    done = our_revert(Case(history.bare, head, (merge,)), history.root)
    assert done.outcome is REVERTED
    assert not proof.exists()
    after = sorted(path for path in tmp_path.rglob("*") if "ours" not in path.parts)
    assert after == before


def test_the_scratch_worktree_leaves_nothing_behind(history: History, tmp_path: Path):
    merge = history.merged({"app.py": "broken\n"})
    head = history.push()
    before = subprocess.run(["find", str(history.bare)], capture_output=True).stdout
    our_revert(Case(history.bare, head, (merge,)), tmp_path)
    assert list((tmp_path / "ours").iterdir()) == []
    assert subprocess.run(["find", str(history.bare)], capture_output=True).stdout == before


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
