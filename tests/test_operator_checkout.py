"""`rollback-bot revert` in a person's checkout: what it does there, what it refuses, and that nothing is lost."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bot.checkout_revert import ByHand, remote_url, revert_by_hand
from bot.git_names import BadName
from bot.operator_checkout import NotACheckout
from bot.revert_checks import Prepared
from policies.facts import RevertOutcome
from tests.git_histories import PROTECTED, History, git, run_git

REVERTED, ALREADY = RevertOutcome.REVERTED, RevertOutcome.ALREADY_REVERTED
CONFLICT, REFUSED = RevertOutcome.CONFLICT, RevertOutcome.REFUSED
TEN = "".join(f"line {n}\n" for n in range(10))


class Person:
    """A history with one bad merge on top, checked out where a person works."""

    def __init__(self, root: Path) -> None:
        self.history = History(root / "server")
        self.history.commit(
            "Start", {"app.py": TEN, "README.md": "hello\n", "docs/a.md": "a\n", "old.txt": "old\n"}
        )
        self.good = self.history.head()
        self.merge = self.history.merged(
            {"app.py": TEN.replace("line 2", "BROKEN"), "new.py": "x\n", "old.txt": None}
        )
        self.history.push()
        self.path = self.history.work
        git(self.path, "config", "user.name", "Person")
        git(self.path, "config", "user.email", "person@example.com")

    def revert(self, *commits: str, push: bool = False, dry_run: bool = False) -> Prepared:
        return revert_by_hand(ByHand(self.path, "develop", commits or (self.merge,), push, dry_run))

    def write(self, name: str, text: str | bytes) -> None:
        self.history.write({name: text})

    def stage(self, name: str, text: str | bytes) -> None:
        self.write(name, text)
        git(self.path, "add", name)

    def state(self) -> dict[str, str]:
        """Everything of the person's that must survive: index, work tree, stashes, ignored files."""
        files = {
            str(path.relative_to(self.path)): hashlib.sha256(
                str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            ).hexdigest()
            for path in sorted(self.path.rglob("*"))
            if ".git" not in path.relative_to(self.path).parts and (path.is_symlink() or path.is_file())
        }
        index = git(self.path, "ls-files", "-s").decode()
        stashes = git(self.path, "stash", "list").decode()
        return {**files, "<index>": index, "<stashes>": stashes, "<status>": self.status()}

    def status(self) -> str:
        return git(self.path, "status", "--porcelain", "--untracked-files=all").decode()

    def git_folder(self) -> set[str]:
        """Names below .git that a run could leave: locks, worktrees, our folder, refs."""
        root = self.path / ".git"
        names = {str(path.relative_to(root)) for path in root.rglob("*") if "objects" not in path.parts}
        return {name for name in names if not name.startswith(("logs", "hooks"))}


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


def head(person: Person) -> str:
    return git(person.path, "rev-parse", "develop").decode().strip()


# --- what it does ---------------------------------------------------------------------------------


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


# --- what it refuses, touching nothing ------------------------------------------------------------


def refused(person: Person, **options: bool) -> str:
    before, at = person.state(), head(person)
    done = person.revert(**options)
    assert done.outcome is REFUSED, done
    assert (person.state(), head(person)) == (before, at)
    assert person.history.remote_head() == person.merge
    return done.reason


def test_an_untracked_file_in_the_way_is_refused(person: Person):
    person.write("old.txt", "my own, never committed\n")
    assert refused(person).startswith("old.txt is not tracked here")


def test_an_ignored_file_in_the_way_is_refused_though_git_would_overwrite_it(person: Person):
    person.write(".git/info/exclude", "old.txt\n")
    person.write("old.txt", "secret settings\n")
    assert "is not tracked here" in refused(person)


def test_a_folder_in_the_way_of_a_file_is_refused(person: Person):
    person.write("old.txt/inside", "mine\n")
    assert "old.txt/inside" in refused(person)


def test_push_still_saves_production_when_only_this_checkout_is_in_the_way(person: Person):
    person.write("old.txt", "my own\n")
    before, at = person.state(), head(person)
    done = person.revert(push=True)
    assert done.outcome is REVERTED and person.history.remote_head() == done.commits[-1]
    assert (person.state(), head(person)) == (before, at)
    assert any("left where it was" in note for note in done.notes) and done.command


@pytest.mark.parametrize("name", ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG"])
def test_an_operation_under_way_is_refused(person: Person, name: str):
    (person.path / ".git" / name).write_text(person.good + "\n")
    assert "is under way" in refused(person)


def test_a_rebase_under_way_is_refused(person: Person):
    (person.path / ".git" / "rebase-merge").mkdir()
    assert "A rebase is under way" in refused(person)


def test_unmerged_entries_are_refused(person: Person):
    blob = git(person.path, "rev-parse", "HEAD:README.md").decode().strip()
    entries = "".join(f"100644 {blob} {stage}\tREADME.md\n" for stage in (1, 2, 3))
    git(person.path, "update-index", "--force-remove", "README.md")
    git(person.path, "update-index", "--index-info", stdin=entries.encode())
    assert "unmerged" in refused(person)


def test_intent_to_add_is_refused(person: Person):
    person.write("planned.py", "x\n")
    git(person.path, "add", "-N", "planned.py")
    assert "--intent-to-add" in refused(person)


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_edits_that_git_was_told_not_to_see_are_refused(person: Person, flag: str):
    git(person.path, "update-index", flag, "app.py")
    person.write("app.py", "hidden edit\n")
    assert refused(person).startswith("app.py is edited but marked")


def test_a_running_git_is_waited_for_by_the_person(person: Person):
    (person.path / ".git" / "index.lock").touch()
    assert "index.lock" in refused(person)


def test_a_shallow_checkout_is_refused(person: Person, tmp_path: Path):
    subprocess.run(
        ["git", "clone", "-q", "--depth=1", f"file://{person.history.bare}", str(tmp_path / "s")], check=True
    )
    done = revert_by_hand(ByHand(tmp_path / "s", "develop", (person.merge,)))
    assert done.outcome is REFUSED and "shallow" in done.reason
    assert done.command == "git fetch --unshallow"


def test_unpushed_commits_are_never_published(person: Person):
    person.history.commit("Private work", {"private.txt": "x\n"})
    before = head(person)
    done = person.revert(push=True)
    assert done.outcome is REFUSED and "commits that origin does not have" in done.reason
    assert (head(person), person.history.remote_head()) == (before, person.merge)


def test_a_protected_branch_says_so_and_changes_nothing(person: Person):
    person.history.hook("pre-receive", PROTECTED)
    assert "GH006" in refused(person, push=True)


def test_a_conflict_names_the_paths(person: Person):
    person.history.commit("On top", {"app.py": TEN.replace("line 2", "OTHER")})
    person.history.push()
    before = person.state()
    done = person.revert()
    assert (done.outcome, done.conflicts) == (CONFLICT, (b"app.py",))
    assert person.state() == before


def test_two_runs_at_once_do_not_meet(person: Person):
    from bot.failures import CannotRevert
    from bot.operator_checkout import held, open_checkout

    opened = open_checkout(person.path)
    with (
        held(opened),
        pytest.raises(CannotRevert, match="Another `rollback-bot revert`"),
        held(opened, wait_s=0),
    ):
        pass


def test_a_foxtrot_is_told_by_where_the_remote_stands(person: Person):
    git(person.path, "checkout", "-q", "-b", "mine", person.good)
    person.history.commit("Mine", {"mine.txt": "x\n"})
    git(person.path, "merge", "-q", "--no-edit", "-m", "Catch up", "develop")
    git(person.path, "branch", "-q", "-f", "develop", "HEAD")
    foxtrot = git(person.path, "rev-parse", "HEAD").decode().strip()
    done = person.revert(foxtrot)
    assert done.outcome is REFUSED and done.command == f"git revert -m 2 {foxtrot}"


# --- hostile checkouts and input ------------------------------------------------------------------


HOSTILE = [
    "core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "core.gitProxy",
    "core.alternateRefsCommand", "sequence.editor", "diff.external", "diff.evil.command", "diff.evil.textconv",
    "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "merge.evil.driver", "gpg.program",
    "gpg.ssh.program", "credential.helper", "remote.origin.uploadpack", "remote.origin.receivepack",
    "uploadpack.packObjectsHook", "interactive.diffFilter", "alias.stash", "alias.read-tree", "status.submoduleSummary",
]  # fmt: skip


@pytest.mark.parametrize("push", [False, True])
def test_nothing_of_a_hostile_checkout_runs(person: Person, tmp_path: Path, push: bool):
    proof = tmp_path / "ran"
    person.history.commit(
        "Attributes", {".gitattributes": "*.py filter=evil merge=evil diff=evil\n* diff=evil\n"}
    )
    person.history.push()
    script = f"touch {proof}; cat"
    for key in HOSTILE:
        git(person.path, "config", key, script)
    for name in ("post-checkout", "post-merge", "pre-push", "reference-transaction", "post-index-change", "pre-commit",
                 "post-commit", "prepare-commit-msg", "post-rewrite", "fsmonitor-watchman"):  # fmt: skip
        hook = person.path / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\n{script}\n")
        hook.chmod(0o755)
    mine = TEN.replace("line 2", "BROKEN").replace("line 8", "MINE")
    (person.path / "app.py").write_text(mine)
    done = person.revert(push=push)
    assert done.outcome is REVERTED, done
    assert not proof.exists()
    here = (person.path / "app.py").read_text()
    stash = run_git(person.path, "show", "stash@{0}:app.py").stdout.decode()
    assert here == TEN.replace("line 8", "MINE") or stash == mine


def test_a_work_tree_somewhere_else_is_refused(person: Person, tmp_path: Path):
    (tmp_path / "home").mkdir()
    git(person.path, "config", "core.worktree", str(tmp_path / "home"))
    with pytest.raises(NotACheckout, match=r"core\.worktree"):
        person.revert()


@pytest.mark.parametrize(
    "url", ["ext::sh -c 'touch /tmp/never'", "fd::17", "-oProxyCommand=x", "evil://x/y", "a\nb"]
)
def test_a_hostile_remote_is_refused_in_a_sentence(person: Person, url: str):
    git(person.path, "config", "remote.origin.url", url)
    with pytest.raises(BadName, match="is not an address to push to"):
        person.revert(push=True)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("https://github.com/a/b.git", "https://github.com/a/b.git"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("ssh://git@host:22/a", "ssh://git@host:22/a"),
        ("../b.git", "/srv/b.git"),
        ("/srv/x.git", "/srv/x.git"),
    ],
)
def test_addresses_that_are_spoken_to(url: str, meant: str):
    assert remote_url(url, Path("/srv/work")) == meant


def test_no_folder_no_checkout_no_branch(person: Person, tmp_path: Path):
    with pytest.raises(NotACheckout, match="is not a folder"):
        revert_by_hand(ByHand(tmp_path / "nowhere", "develop", (person.merge,)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotACheckout, match="is not a git checkout"):
        revert_by_hand(ByHand(tmp_path / "empty", "develop", (person.merge,)))
    with pytest.raises(BadName, match="There is no branch nope"):
        revert_by_hand(ByHand(person.path, "nope", (person.merge,)))


# --- the command ----------------------------------------------------------------------------------


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
