"""Every shape of file that a revert can meet, each as it comes out of a plain git revert in a full checkout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from bot.git_door import GitDoor
from bot.revert_checks import RevertRequest
from bot.revert_history import Source
from bot.revert_worktree import scratch
from bot.reverting import prepare
from tests.git_histories import History, git
from tests.revert_comparison import BOT, TRAILERS
from tests.revert_on_history import ALREADY, CONFLICT, REFUSED, REVERTED, TEN, as_plain, revert

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
