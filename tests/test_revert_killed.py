"""SIGKILL at every git command, then a new start: exactly one revert, nothing left, nothing of a person's lost."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from pathlib import Path

import pytest

from bot.checkout_revert import ByHand, revert_by_hand
from bot.git_door import Observer
from bot.repository import GitRepositories
from policies.facts import RevertOutcome
from tests.git_histories import PROTECTED, History, git
from tests.killed_runs import WHENS, When, commands_of, killed_at
from tests.operator_checkouts import TEN, Person
from tests.patience import PATIENCE_S
from tests.test_reverting import order, repositories_on

SHORT: tuple[When, ...] = ("with git",)


class Bot:
    """A bot whose mirror knows the bad merge, and the copy of its world to start each run from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.history = History(root / "server")
        self.history.commit("Start", {"app.py": TEN})
        self.good = self.history.push()
        self.merge = self.history.merged({"app.py": TEN.replace("line 2", "BROKEN")})
        self.history.push()
        self.data = root / "data"

    def repositories(self, observe: Observer | None = None) -> GitRepositories:
        return repositories_on(self.data, self.history, observe=observe)

    def revert(self, observe: Observer | None = None) -> object:
        return self.repositories(observe).revert(order(self.history, self.merge, head=self.merge))

    def start_over(self, mirrored: bool) -> None:
        """The branch at the bad merge again; the mirror as fetched then, or none."""
        git(self.history.bare, "update-ref", "refs/heads/develop", self.merge)
        for ref in self.history.remote_refs():
            if ref != "refs/heads/develop":
                git(self.history.bare, "update-ref", "-d", ref)
        shutil.rmtree(self.data, ignore_errors=True)
        if mirrored:
            shutil.copytree(self.root / "mirrored", self.data)

    def prepare_mirror(self) -> None:
        self.repositories().refresh(self.history.name, "develop")
        shutil.copytree(self.data, self.root / "mirrored")

    def left(self) -> list[str]:
        """Locks, half files and worktrees below the data directory."""
        marks = ("tmp_", "rollback-bot-fetching", "REVERT_HEAD", "index", "revert-")
        endings = (".new", ".old", ".progress.json")
        found = []
        for path in self.data.rglob("*"):
            is_lock = path.suffix == ".lock" and any(parent.suffix == ".git" for parent in path.parents)
            if is_lock or path.name.startswith(marks) or path.name.endswith(endings):
                found.append(str(path.relative_to(self.data)))
        return found


def settled(bot: Bot) -> list[str]:
    """What is left once no git of the killed bot runs any more (each start sweeps what such a one held)."""
    deadline = time.monotonic() + PATIENCE_S
    while (left := bot.left()) and time.monotonic() < deadline:
        time.sleep(0.1)
        bot.repositories()
    return left


def kill_everywhere(bot: Bot, whens: tuple[When, ...], mirrored: bool) -> int:
    kills = 0
    for when in whens:
        for at in itertools.count(1):
            bot.start_over(mirrored)
            if not killed_at(at, when, bot.revert):
                break
            kills += 1
            done = bot.revert()
            said = f"killed {when} command {at}"
            assert done.outcome is RevertOutcome.REVERTED, (said, done)
            assert bot.history.remote_head() == done.revert_sha, said
            assert bot.history.count(bot.merge) == 1, said
            assert bot.history.remote_tree() == bot.history.tree(bot.good), said
            assert list(bot.history.remote_refs()) == ["refs/heads/develop"], said
            assert settled(bot) == [], said
    return kills


def test_a_bot_killed_at_any_git_command_reverts_exactly_once(tmp_path: Path):
    bot = Bot(tmp_path)
    bot.prepare_mirror()
    assert kill_everywhere(bot, SHORT, mirrored=True) >= 10


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mirrored", [True, False])
def test_a_bot_killed_around_any_git_command_reverts_exactly_once(tmp_path: Path, mirrored: bool):
    bot = Bot(tmp_path)
    bot.prepare_mirror()
    assert kill_everywhere(bot, WHENS, mirrored) >= 40


def test_a_bot_killed_while_it_proposes_finds_its_branch_again(tmp_path: Path):
    bot = Bot(tmp_path)
    bot.prepare_mirror()
    bot.history.hook("pre-receive", PROTECTED)
    for at in itertools.count(1):
        bot.start_over(mirrored=True)
        if not killed_at(at, "after", bot.revert):
            break
        done = bot.revert()
        assert (done.outcome, done.proposed_branch) == (RevertOutcome.PUSH_REJECTED, "rollback-bot/inc-1"), at
        assert bot.history.remote_head("rollback-bot/inc-1") == done.revert_sha, at
        refs = ["refs/heads/develop", "refs/heads/rollback-bot/inc-1"]
        assert sorted(bot.history.remote_refs()) == refs, at


# --- a person's checkout --------------------------------------------------------------------------


class Desk:
    """A person's checkout with uncommitted work of every kind, copied afresh for each run."""

    def __init__(self, root: Path, overlapping: bool) -> None:
        self.root = root
        person = Person(root / "original")
        person.stage("README.md", "staged\n")
        person.write("README.md", "staged, then changed\n")
        person.write("docs/a.md", b"mixed\r\nends\n")
        person.write("notes.txt", "untracked\n")
        person.write(".git/info/exclude", "*.log\n")
        person.write("debug.log", "ignored\n")
        (person.path / "notes.txt").chmod(0o755)
        if overlapping:
            person.write("app.py", TEN.replace("line 2", "BROKEN").replace("line 8", "MINE"))
        self.person = person
        shutil.copytree(root / "original", root / "kept", symlinks=True)

    def start_over(self) -> None:
        shutil.rmtree(self.root / "original")
        shutil.copytree(self.root / "kept", self.root / "original", symlinks=True)
        # Copied files have other inodes: an index that does not know them would make every file look touched.
        git(self.person.path, "update-index", "-q", "--refresh", check=False)

    def revert(self, push: bool, observe: Observer | None = None) -> object:
        return revert_by_hand(
            ByHand(self.person.path, "develop", (self.person.merge,), push), observe=observe
        )

    def outcome(self) -> dict[str, object]:
        """All that must come out the same whether a run was killed or not."""
        person = self.person
        return {
            **person.state(),
            "commits": git(person.path, "rev-list", "--count", f"{person.merge}..develop").decode().strip(),
            "tree": git(person.path, "rev-parse", "develop^{tree}"),
            "remote": person.history.remote_tree(),
            "remote commits": person.history.count(person.merge),
            "git folder": sorted(person.git_folder() - {"ORIG_HEAD", "index", "COMMIT_EDITMSG"}),
            "mode": (person.path / "notes.txt").stat().st_mode,
        }


CHANGING = (
    "push",
    "unpack-objects",
    "update-ref",
    "stash push",
    "stash apply",
    "stash drop",
    "read-tree -m",
    "revert",
)


def kill_at_the_desk(desk: Desk, whens: tuple[When, ...], push: bool, only: tuple[str, ...] = ("",)) -> int:
    """Kill at every git command whose words begin with one of `only`; how many kills that made."""
    desk.start_over()
    heard = commands_of(lambda observe: desk.revert(push, observe))
    expected, kills = desk.outcome(), 0
    assert expected["commits"] == "1"
    places = [at for at, words in enumerate(heard, start=1) if words.startswith(only)]
    for when, at in itertools.product(whens, places):
        desk.start_over()
        kills += killed_at(at, when, lambda observe: desk.revert(push, observe))
        done = desk.revert(push)
        said = (when, at, heard[at - 1])
        assert done.outcome in (RevertOutcome.REVERTED, RevertOutcome.ALREADY_REVERTED), (said, done)
        assert desk.outcome() == expected, said
    return kills


@pytest.mark.parametrize("overlapping", [False, True], ids=["elsewhere", "same file"])
def test_a_person_loses_nothing_when_the_run_is_killed_at_any_git_command(tmp_path: Path, overlapping: bool):
    assert kill_at_the_desk(Desk(tmp_path, overlapping), SHORT, push=overlapping, only=CHANGING) >= 4


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("push", [False, True])
@pytest.mark.parametrize("overlapping", [False, True], ids=["elsewhere", "same file"])
def test_a_person_loses_nothing_when_killed_around_any_git_command(
    tmp_path: Path, overlapping: bool, push: bool
):
    assert kill_at_the_desk(Desk(tmp_path, overlapping), WHENS, push) >= 60


MOVING, LOCK = ".git/rollback-bot/moving", ".git/refs/remotes/origin/develop.lock"


@pytest.mark.parametrize(
    ("mark", "lock", "lock_is_older", "stays"),
    [
        ("refs/remotes/origin/develop", LOCK, False, False),
        ("refs/remotes/origin/develop", LOCK, True, True),
        ("", LOCK, False, True),
        ("refs/remotes/../../../outside", "outside.lock", False, True),
        ("../outside", "outside.lock", False, True),
    ],
    ids=["ours", "there before us", "killed before git began", "hostile ref", "hostile path"],
)
def test_only_the_lock_of_a_ref_that_was_being_moved_is_removed(
    tmp_path: Path, mark: str, lock: str, lock_is_older: bool, stays: bool
):
    person = Person(tmp_path)
    person.write(MOVING, mark)
    person.write(lock, "")
    if lock_is_older:
        os.utime(person.path / lock, (0, 0))
    revert_by_hand(ByHand(person.path, "develop", (person.merge,)))
    assert (person.path / lock).exists() is stays
    assert not (person.path / MOVING).exists()


def test_what_a_git_killed_in_its_stash_leaves_is_swept(tmp_path: Path):
    desk = Desk(tmp_path, overlapping=True)
    desk.start_over()
    heard = commands_of(lambda observe: desk.revert(False, observe))
    expected = desk.outcome()
    desk.start_over()
    killed_at(heard.index("stash push") + 1, "before", lambda observe: desk.revert(False, observe))
    for name in ("index.stash.4711", "index.stash.4711.lock", "logs/refs/stash.lock", "packed-refs.lock"):
        desk.person.write(f".git/{name}", "")
    desk.person.write(".git/index.stash.1", "somebody's, from long before")
    os.utime(desk.person.path / ".git/index.stash.1", (0, 0))
    desk.revert(False)
    assert (desk.person.path / ".git/index.stash.1").exists()
    (desk.person.path / ".git/index.stash.1").unlink()
    assert desk.outcome() == expected
    assert not list((desk.person.path / ".git").rglob("*.lock"))
