"""`rollback-bot revert` in a person's checkout: what it does there, and what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bot.checkout_revert import ByHand, revert_by_hand
from tests.git_histories import git, run_git
from tests.operator_checkouts import ALREADY, REFUSED, REVERTED, TEN, Person, head


def test_a_clean_checkout_is_brought_forward(person: Person):
    before = person.git_folder()
    done = person.revert()
    assert (done.outcome, done.tree) == (REVERTED, person.history.tree(person.good))
    assert head(person) == done.commits[-1]
    assert person.status() == ""
    assert (person.path / "app.py").read_text() == TEN and not (person.path / "new.py").exists()
    assert (person.path / "old.txt").read_text() == "old\n"
    assert person.history.remote_head() == person.merge
    assert person.git_folder() == before
    git(person.path, "fsck", "--strict")


def test_push_goes_to_the_remote_first_and_then_here(person: Person):
    done = person.revert(push=True)
    assert person.history.remote_head() == done.commits[-1] == head(person)
    assert git(person.path, "rev-parse", "origin/develop").decode().strip() == head(person)
    message = person.history.message("develop")
    assert f"This reverts commit {person.merge}." in message and "Rollback-Deploy: by-hand-" in message
    assert git(person.path, "log", "-1", "--format=%an", "develop").decode().strip() == "Person"


def test_a_dry_run_changes_nothing_at_all(person: Person):
    person.write("README.md", "mine\n")
    before, folder = person.state(), person.git_folder()
    done = person.revert(push=True, dry_run=True)
    assert (done.outcome, done.tree, done.commits) == (REVERTED, person.history.tree(person.good), ())
    assert "Dry run" in done.reason
    assert (person.state(), person.git_folder(), head(person)) == (before, folder, person.merge)
    assert person.history.remote_head() == person.merge


def test_uncommitted_work_elsewhere_is_not_even_touched(person: Person):
    person.stage("README.md", "staged\n")
    person.write("README.md", "staged and changed\n")
    person.write("docs/a.md", b"changed\r\nwith mixed\nends")
    person.write("notes.txt", "untracked\n")
    person.write(".gitignore", "*.log\n")
    person.write("debug.log", "ignored\n")
    (person.path / "link").symlink_to("nowhere")
    times = {
        name: (person.path / name).stat().st_mtime_ns for name in ("README.md", "docs/a.md", "notes.txt")
    }
    before = person.state()
    assert person.revert().outcome is REVERTED
    after = person.state()
    for name in (
        "README.md",
        "docs/a.md",
        "notes.txt",
        "debug.log",
        ".gitignore",
        "link",
        "<stashes>",
        "<status>",
    ):
        assert after[name] == before[name], name
    assert {name: (person.path / name).stat().st_mtime_ns for name in times} == times


def test_work_in_the_same_file_is_stashed_and_comes_back(person: Person):
    person.write("app.py", TEN.replace("line 2", "BROKEN").replace("line 8", "MINE"))
    person.write("docs/a.md", "unrelated\n")
    person.write("notes.txt", "untracked\n")
    assert person.revert().outcome is REVERTED
    assert (person.path / "app.py").read_text() == TEN.replace("line 8", "MINE")
    assert person.status() == " M app.py\n M docs/a.md\n?? notes.txt\n"
    assert git(person.path, "stash", "list") == b""


def test_staged_stays_staged_and_unstaged_unstaged_through_the_stash(person: Person):
    broken = TEN.replace("line 2", "BROKEN")
    person.stage("app.py", broken.replace("line 8", "STAGED"))
    person.write("app.py", broken.replace("line 8", "STAGED").replace("line 9", "UNSTAGED"))
    person.stage("README.md", "also staged\n")
    person.write("docs/a.md", b"mixed\r\nends\n")
    assert person.revert().outcome is REVERTED
    assert git(person.path, "show", ":app.py").decode() == TEN.replace("line 8", "STAGED")
    assert (person.path / "app.py").read_text() == TEN.replace("line 8", "STAGED").replace(
        "line 9", "UNSTAGED"
    )
    assert git(person.path, "show", ":README.md") == b"also staged\n"
    assert (person.path / "docs/a.md").read_bytes() == b"mixed\r\nends\n"
    assert sorted(person.status().splitlines()) == [" M docs/a.md", "M  README.md", "MM app.py"]


def test_line_endings_that_git_would_convert_survive_the_stash(person: Person):
    git(person.path, "config", "core.autocrlf", "input")
    person.stage("README.md", "staged\n")
    person.write("docs/a.md", b"mixed\r\nends\nhere\r\n")
    person.write("app.py", TEN.replace("line 2", "BROKEN").replace("line 8", "MINE"))
    assert person.revert().outcome is REVERTED
    assert (person.path / "docs/a.md").read_bytes() == b"mixed\r\nends\nhere\r\n"


def test_an_older_stash_of_the_person_is_not_touched(person: Person):
    person.write("README.md", "stashed earlier\n")
    git(person.path, "stash", "push", "-q", "-m", "mine")
    kept = git(person.path, "rev-parse", "refs/stash")
    person.write("app.py", TEN.replace("line 2", "BROKEN").replace("line 8", "MINE"))
    assert person.revert().outcome is REVERTED
    assert git(person.path, "rev-parse", "refs/stash") == kept
    assert len(git(person.path, "stash", "list").splitlines()) == 1


def test_work_that_conflicts_stays_in_the_stash_with_the_command(person: Person):
    mine = TEN.replace("line 2", "MINE INSTEAD")
    person.write("app.py", mine)
    done = person.revert()
    assert done.outcome is REVERTED
    (note,) = [note for note in done.notes if "stash" in note]
    sha = note.rsplit(" ", 1)[1]
    assert f"git stash apply --index {sha}" in note
    assert git(person.path, "show", f"{sha}:app.py").decode() == mine
    assert person.status() == ""
    assert (person.path / "app.py").read_text() == TEN


def test_staged_work_that_conflicts_is_brought_back_by_the_command_that_is_printed(person: Person):
    person.stage("app.py", TEN.replace("line 2", "MINE INSTEAD"))
    person.stage("README.md", "mine too\n")
    (note,) = [note for note in person.revert().notes if "stash" in note]
    assert note.startswith("Your uncommitted changes to app.py conflict with the revert.")
    assert "with those to README.md; bring them back with: git stash apply " in note
    assert run_git(person.path, *note.rpartition("git ")[2].split()).returncode == 1
    assert "MINE INSTEAD" in (person.path / "app.py").read_text()
    assert (person.path / "README.md").read_text() == "mine too\n"


def test_a_dry_run_says_what_it_would_do(person: Person):
    said = person.revert(dry_run=True).reason
    assert said.startswith(f"Dry run, nothing was changed. It would revert {person.merge[:12]} (")


def test_a_branch_that_is_not_checked_out_only_moves_its_ref(person: Person):
    git(person.path, "checkout", "-q", "-b", "elsewhere")
    person.write("app.py", "my own\n")
    before = person.state()
    done = person.revert()
    assert done.outcome is REVERTED and head(person) == done.commits[-1]
    assert person.state() == before


def test_a_bare_repository_only_moves_its_ref(person: Person):
    bare = person.history.bare
    done = revert_by_hand(ByHand(bare, "develop", (person.merge,)))
    assert done.outcome is REVERTED and person.history.remote_head() == done.commits[-1]


def test_a_linked_worktree_is_a_checkout_too(person: Person, tmp_path: Path):
    git(person.path, "checkout", "-q", "-b", "elsewhere")
    git(person.path, "worktree", "add", "-q", str(tmp_path / "linked"), "develop")
    (tmp_path / "linked" / "README.md").write_text("mine\n")
    done = revert_by_hand(ByHand(tmp_path / "linked", "develop", (person.merge,)))
    assert done.outcome is REVERTED
    assert (tmp_path / "linked" / "app.py").read_text() == TEN
    assert git(tmp_path / "linked", "status", "--porcelain") == b" M README.md\n"


def test_a_branch_checked_out_in_another_worktree_is_left_alone(person: Person, tmp_path: Path):
    git(person.path, "checkout", "-q", "-b", "elsewhere")
    git(person.path, "worktree", "add", "-q", str(tmp_path / "linked"), "develop")
    done = person.revert()
    assert done.outcome is REFUSED and str(tmp_path / "linked") in done.reason
    assert head(person) == person.merge


def test_a_local_branch_behind_the_remote_follows(person: Person):
    theirs = person.history.commit("Later", {"docs/b.md": "b\n"})
    person.history.push()
    git(person.path, "reset", "-q", "--hard", person.merge)
    done = person.revert(push=True)
    assert done.outcome is REVERTED
    assert person.history.count(theirs) == 1 and head(person) == person.history.remote_head()
    assert (person.path / "docs/b.md").exists() and person.status() == ""


def test_the_second_run_says_already_reverted(person: Person):
    first = person.revert(push=True)
    again = person.revert(push=True)
    assert (again.outcome, again.commits) == (ALREADY, first.commits)
    assert person.history.count(person.merge) == 1


def test_a_run_after_the_remote_has_it_brings_the_checkout_along(person: Person):
    person.revert(push=True)
    git(person.path, "reset", "-q", "--hard", person.merge)
    person.write("README.md", "mine\n")
    again = person.revert(push=True)
    assert again.outcome is ALREADY
    assert head(person) == person.history.remote_head() and person.status() == " M README.md\n"


def command(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bot.cli", "revert", *map(str, args)], capture_output=True, text=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip


def test_the_command_prints_its_json_and_exits_as_promised(person: Person):
    common = ("--path", person.path, "--branch", "develop", "--json")
    done = command(*common, "--commit", person.merge, "--push")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert list(answer) == ["outcome", "commits", "tree", "reason", "conflicts"]
    assert answer["outcome"] == "reverted" and answer["commits"] == [person.history.remote_head()]
    assert answer["tree"] == person.history.tree(person.good) and answer["conflicts"] == []
    again = command(*common, "--commit", person.merge)
    assert (again.returncode, json.loads(again.stdout)["outcome"]) == (0, "already_reverted")
    unknown = command(*common, "--commit", "f" * 40)
    assert (unknown.returncode, json.loads(unknown.stdout)["outcome"]) == (1, "refused")
    short = command(*common, "--commit", person.merge[:10])
    assert (short.returncode, json.loads(short.stdout)["outcome"]) == (2, "refused")
    assert "not a full commit hash" in short.stderr and "Traceback" not in short.stderr
    assert command("--path", person.path, "--branch", "develop").returncode == 2


def test_the_command_says_a_conflict_in_words(person: Person):
    person.history.commit("On top", {"app.py": TEN.replace("line 2", "OTHER")})
    done = command("--path", person.path, "--branch", "develop", "--commit", person.merge)
    assert done.returncode == 1
    assert "conflicts with later changes on develop in app.py" in done.stdout
    assert f"git revert -m 1 {person.merge}" in done.stdout
