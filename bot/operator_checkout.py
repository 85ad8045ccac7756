"""Somebody's checkout, looked at without trusting it: where it is, what it forbids, what is uncommitted in
it.

Its configuration is as foreign as its files: whatever in it names a program is overridden for our commands,
and no command of ours in it may reach a network. Nothing here changes the checkout.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bot.checkout_files import is_there, place
from bot.failures import BotFailure, CannotRevert
from bot.file_lock import file_lock
from bot.git_door import Answer, GitDoor, GitFailed, Observer
from bot.git_names import shown
from bot.mirror import tips_in_reflog

OWN_FOLDER = "rollback-bot"
LOOKING = "index.look"
_WAIT_S = 60.0
_ANY_OWNER = (("safe.directory", "*"),)
_UNDER_WAY = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisect",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase or `git am`",
    "sequencer": "a cherry-pick or revert of several commits",
}
_PROGRAMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"filter\..*\.(?:clean|smudge|process)"), ""),
    (re.compile(r"filter\..*\.required"), "false"),
    # A driver that does not run must not count as a merge that went well: `false` makes it a conflict.
    (re.compile(r"merge\..*\.driver"), "false"),
    (re.compile(r"diff\..*\.(?:command|textconv)"), "false"),
    (re.compile(r"diff\.external"), "false"),
    (re.compile(r"gpg(?:\..*)?\.program"), "false"),
    (re.compile(r"core\.(?:gitproxy|alternaterefscommand)"), "false"),
    (re.compile(r"status\.submodulesummary"), "false"),
)
"""Configuration of a checkout that names a program, and what our commands see in its place."""


class NotACheckout(BotFailure):
    """The path is no git checkout that we can use."""


@dataclass(frozen=True, slots=True)
class Uncommitted:
    """What a person has in the work tree: paths staged and changed, and what stash would not see."""

    staged: frozenset[bytes]
    changed: frozenset[bytes]
    unmerged: tuple[bytes, ...] = ()
    intended: tuple[bytes, ...] = ()
    hidden: tuple[bytes, ...] = ()

    @property
    def dirty(self) -> frozenset[bytes]:
        return self.staged | self.changed


@dataclass(frozen=True, slots=True)
class Checkout:
    """An opened checkout. `work_tree` is None for a bare repository; `config` is its own, without the
    user's."""

    door: GitDoor
    git_dir: Path
    common_dir: Path
    work_tree: Path | None
    config: tuple[tuple[str, str], ...]
    keep_open: tuple[int, ...] = ()

    @property
    def objects(self) -> Path:
        return self.common_dir / "objects"

    @property
    def own_folder(self) -> Path:
        return self.git_dir / OWN_FOLDER

    def git(
        self,
        *args: str,
        stdin: bytes = b"",
        ok: tuple[int, ...] = (0,),
        env: dict[str, str] | None = None,
    ) -> Answer:
        """Run git in the checkout, its programs overridden, its network shut."""
        return self.door.run(
            *args, git_dir=self.git_dir, work_tree=self.work_tree, stdin=stdin, ok=ok, env=env,
            config=overrides(self.config), keep_open=self.keep_open,
        )  # fmt: skip

    def value(self, key: str) -> str | None:
        """The last value of a key of the checkout's own configuration (section and name in lower case)."""
        return next((value for name, value in reversed(self.config) if name == key), None)

    def ref(self, name: str) -> str | None:
        """The commit a full ref name stands at."""
        answer = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", ok=())
        return answer.text if answer.code == 0 else None

    def checked_out(self) -> str | None:
        """The branch that HEAD is on in this very work tree; None when detached."""
        return _branch_of(self.git_dir / "HEAD")

    def checked_out_elsewhere(self, branch: str) -> Path | None:
        """Another work tree of the same repository that has `branch` checked out."""
        heads = {self.common_dir / "HEAD": self.common_dir.parent}
        for linked in (self.common_dir / "worktrees").glob("*"):
            with contextlib.suppress(OSError):
                heads[linked / "HEAD"] = Path((linked / "gitdir").read_text().strip()).parent
        for head, folder in heads.items():
            is_bare_root = head.parent == self.common_dir and self.value("core.bare") == "true"
            if head.parent != self.git_dir and not is_bare_root and _branch_of(head) == branch:
                return folder
        return None

    def remote_of(self, branch: str) -> str:
        """The remote that `branch` is pushed to; `origin` unless configured otherwise."""
        name = self.value(f"branch.{branch}.remote") or "origin"
        return name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", name) else "origin"

    def tips_seen(self, branch: str) -> tuple[str, ...]:
        """Tips the shared branch was seen at, newest first. The local branch's own record counts only where
        there is no remote: otherwise it tells of one person's work, not of what was deployed."""
        logs = self.common_dir / "logs" / "refs"
        if any(key.startswith("remote.") and key.endswith(".url") for key, _ in self.config):
            return tips_in_reflog(logs / "remotes" / self.remote_of(branch) / branch)
        return tips_in_reflog(logs / "heads" / branch)

    def looking(self) -> dict[str, str]:
        """An environment in which git looks through a copy of the index: refreshing and trying out lock and
        change the copy, so that even a kill in the middle leaves nothing in the person's way."""
        copy = self.own_folder / LOOKING
        copy.parent.mkdir(exist_ok=True)
        if (self.git_dir / "index").exists():
            shutil.copyfile(self.git_dir / "index", copy)
        env = {"GIT_INDEX_FILE": str(copy)}
        self.git("update-index", "-q", "--refresh", ok=(), env=env)
        return env

    def uncommitted(self, env: dict[str, str]) -> Uncommitted:
        """Everything of the person's in the work tree that git tracks and has not committed; `env` is that of
        `looking`."""
        names = ("-z", "--no-renames", "--no-ext-diff")
        staged = self.git("diff-index", "--cached", "--name-only", *names, "HEAD", "--", env=env)
        changed = self.git("diff-files", "--name-status", *names, "--", env=env).fields()
        pairs = [(changed[i + 1], changed[i]) for i in range(0, len(changed) - 1, 2)]
        return Uncommitted(
            staged=frozenset(staged.fields()),
            changed=frozenset(path for path, _ in pairs),
            unmerged=tuple(path for path, mark in pairs if mark == b"U"),
            intended=tuple(path for path, mark in pairs if mark == b"A"),
            hidden=self._hidden_edits(),
        )

    def _hidden_edits(self) -> tuple[bytes, ...]:
        """Edits of files marked assume-unchanged or skip-worktree: git would not report nor stash them."""
        listed = self.git("ls-files", "-v", "-z").fields()
        marked = [entry[2:] for entry in listed if entry[:1].islower() or entry[:1] == b"S"]
        if not marked or self.work_tree is None:
            return ()
        here = {path: at for path in marked if is_there(at := place(self.work_tree, path))}
        blobs = self._index_blobs(set(here))
        return tuple(path for path, at in here.items() if blobs.get(path) != blob_id(at))

    def _index_blobs(self, wanted: set[bytes]) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        if not wanted:
            return found
        for entry in self.git("ls-files", "-s", "-z").fields():
            facts, _, path = entry.partition(b"\t")
            if path in wanted:
                found[path] = facts.split(b" ")[1].decode()
        return found

    def obstacle(self) -> str | None:
        """Why nobody should touch this work tree now, as a sentence; None when nothing is under way."""
        for name, what in _UNDER_WAY.items():
            if (self.git_dir / name).exists():
                return f"{what[0].upper()}{what[1:]} is under way in this checkout. Finish or abort it first."
        if (self.git_dir / "index.lock").exists():
            return (
                "Another git command is running in this checkout (index.lock exists). Wait for it; if none "
                f"is, remove {self.git_dir / 'index.lock'}."
            )
        return None


def open_checkout(path: Path, observe: Observer | None = None) -> Checkout:
    """The checkout that `path` is in. Raises NotACheckout with a sentence."""
    door = GitDoor((), observe)
    if not path.is_dir():
        raise NotACheckout(f"{shown(str(path))} is not a folder. Give the folder of a git checkout.")
    try:
        found = door.run(
            "rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir", "--is-bare-repository",
            git_dir=None, start_in=path, config=_ANY_OWNER,
        ).text.split("\n")  # fmt: skip
        if len(found) != 3:
            raise NotACheckout(
                f"{shown(str(path))} has a newline in its path; git commands could be misled by it."
            )
        git_dir, common_dir, bare = Path(found[0]), Path(found[1]), found[2] == "true"
        work_tree = None if bare else _work_tree(door, path, git_dir)
        listed = door.run(
            "config", "--list", "-z", "--show-scope", "--includes",
            git_dir=git_dir, start_in=path, config=_ANY_OWNER,
        ).fields()  # fmt: skip
    except GitFailed as failure:
        raise NotACheckout(f"{shown(str(path))} is not a git checkout: {failure.reason}") from failure
    config = []
    for scope, entry in zip(listed[::2], listed[1::2], strict=False):
        if scope in (b"local", b"worktree"):
            key, _, value = entry.decode("utf-8", "surrogateescape").partition("\n")
            config.append((key, value))
    if ("extensions.objectformat", "sha256") in config:
        raise NotACheckout("This repository uses SHA-256 hashes, which we do not speak. Revert by hand.")
    return Checkout(door, git_dir, common_dir, work_tree, tuple(config))


@contextlib.contextmanager
def held(checkout: Checkout, wait_s: float = _WAIT_S) -> Iterator[Checkout]:
    """The checkout with our lock on it, for one run at a time; the lock leaves no file behind. A git of a run
    that was killed holds it until it ends, so a moment's wait is normal."""
    try:
        with file_lock(checkout.git_dir, wait_s=wait_s) as descriptor:
            for leftover in (LOOKING, f"{LOOKING}.lock"):
                (checkout.own_folder / leftover).unlink(missing_ok=True)
            try:
                yield replace(checkout, keep_open=(descriptor,))
            finally:
                (checkout.own_folder / LOOKING).unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    checkout.own_folder.rmdir()
    except BlockingIOError as busy:
        raise CannotRevert(
            "Another `rollback-bot revert` is running in this checkout. Wait for it, then try again."
        ) from busy


def overrides(config: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """For every key of `config` that names a program, the same key with something harmless."""
    found = {}
    for key, _ in config:
        for pattern, instead in _PROGRAMS:
            if pattern.fullmatch(key):
                found[key] = instead
    return tuple(found.items())


def blob_id(at: Path) -> str | None:
    """git's (SHA-1) blob id of a file or link as it lies there; None for anything else."""
    try:
        if not at.is_symlink() and not at.is_file():
            return None
        data = os.fsencode(at.readlink()) if at.is_symlink() else at.read_bytes()
    except OSError:
        return None
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _work_tree(door: GitDoor, path: Path, git_dir: Path) -> Path:
    top = Path(
        door.run("rev-parse", "--path-format=absolute", "--show-toplevel", git_dir=None, start_in=path,
                 config=_ANY_OWNER).text
    )  # fmt: skip
    link = top / ".git"
    if link.is_file():
        target = Path(link.read_text().removeprefix("gitdir:").strip())
        link = (top / target).resolve()
    if link.resolve() != git_dir.resolve():
        raise NotACheckout(
            f"The configuration of this checkout says that its files lie in {shown(str(top))} "
            "(core.worktree), which does not belong to it. Remove that setting."
        )
    return top


def _branch_of(head: Path) -> str | None:
    try:
        text = head.read_text().strip()
    except OSError:
        return None
    return text.removeprefix("ref: refs/heads/") if text.startswith("ref: refs/heads/") else None
