"""A person's checkout of a repository whose newest merge must go, with all that its state is made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bot.checkout_revert import ByHand, revert_by_hand
from bot.revert_checks import Prepared
from policies.facts import RevertOutcome
from tests.git_histories import History, git

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
