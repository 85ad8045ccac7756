"""The isolated, nearly empty worktree in which `git revert -m 1` runs.

A scratch repository borrows the objects of a mirror or a checkout and owns nothing else: no hooks, filters,
drivers or settings of anybody, no refs to clean up, new objects in quarantine until they are pushed. Its
sparse worktree holds the root's files and those folders whose `.gitattributes` can change how the paths at
hand are merged; that is all merge-ort reads from a worktree. Where that cannot be shown to suffice it
checks out in full.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog

from bot.failures import CannotRevert
from bot.git_door import Answer, GitDoor
from bot.git_names import git_sentence, shown
from bot.revert_history import Source

log = structlog.get_logger(__name__)

_PREFIX = "revert-"
_ROOT_ONLY = "/*\n!/*/\n"
_GLOB = re.compile(r"([*?\[\\])")
_AUTO_MERGED = re.compile(rb"^Auto-merging (.*)$", re.MULTILINE)
_CONFLICT = re.compile(rb"^CONFLICT .*$", re.MULTILINE)
_FOLDERS_AT_MOST = 200
_BYTES_AN_ENTRY = 40
_FILES_AT_MOST = 3000
"""Files directly in the sparse set's folders; more make the sparse worktree slower than marking paths one
by one."""


@dataclass(frozen=True, slots=True)
class CommitIdentity:
    """Who commits reverts, and how they are signed: `sign_format` is git's `gpg.format` (`ssh`,
    `openpgp`)."""

    name: str
    email: str
    signing_key: str | None = None
    sign_format: str | None = None
    sign_off: bool = False

    def env(self) -> dict[str, str]:
        return {
            "GIT_AUTHOR_NAME": self.name,
            "GIT_AUTHOR_EMAIL": self.email,
            "GIT_COMMITTER_NAME": self.name,
            "GIT_COMMITTER_EMAIL": self.email,
        }


class StepEnd(StrEnum):
    """How `git revert` of one commit ended, by exit code and index alone."""

    CLEAN = "clean"
    EMPTY = "empty"
    CONFLICT = "conflict"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One `git revert`: its end, the unmerged paths of a conflict, the paths git merged by content."""

    end: StepEnd
    conflicts: tuple[bytes, ...] = ()
    merged: tuple[bytes, ...] = ()
    sentence: str = ""


class Scratch:
    """A throw-away repository over borrowed objects; made by `scratch`, removed with its block."""

    def __init__(self, folder: Path, door: GitDoor, descriptors: tuple[int, ...]) -> None:
        self.folder = folder
        self.git_dir = folder / "git"
        self.tree = folder / "tree"
        self.full = False
        self._narrow = False
        self._folders: tuple[bytes, ...] | None = ()
        self._door = door
        self._descriptors = descriptors

    def source(self, tips_seen: tuple[str, ...] = (), repository: str | None = None) -> Source:
        """This scratch repository as a place to read history from (it sees borrowed and new objects)."""
        return Source(self._door, self.git_dir, tips_seen, repository)

    def populate(self, head: str, folders: Iterable[bytes] | None, narrow: bool = False) -> None:
        """A worktree of `head` holding the root's files and those directly in `folders`; all for None.

        `narrow` takes only the `.gitattributes` themselves: slower for git to work out, but right where one
        of these folders holds thousands of files."""
        self._folders = None if folders is None else tuple(folders)
        self.full, self._narrow = folders is None, narrow
        self._place(head)

    def start_over(self, head: str) -> None:
        """The same worktree as it was before the first revert in it."""
        self._place(head)

    def _place(self, head: str) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)
        self.tree.mkdir()
        for left in ("index", "index.lock", "REVERT_HEAD", "AUTO_MERGE", "MERGE_MSG"):
            (self.git_dir / left).unlink(missing_ok=True)
        self.move_head(head)
        if self._folders is not None:
            patterns = file_patterns(self._folders) if self._narrow else cone_patterns(self._folders)
            (self.git_dir / "info" / "sparse-checkout").write_bytes(patterns)
        self._run("read-tree", "-m", "-u", "HEAD")

    def move_head(self, sha: str) -> None:
        """Detach HEAD at a commit of the tree that is checked out."""
        (self.git_dir / "HEAD").write_text(f"{sha}\n")

    def revert(self, sha: str, identity: CommitIdentity, *strategy: str) -> Step:
        """`git revert -m 1` of one commit on HEAD (also right for a commit with one parent)."""
        answer = self._run("revert", "-m", "1", "--no-edit", *strategy, sha, ok=(), env=identity.env())
        merged = tuple(match.strip() for match in _AUTO_MERGED.findall(answer.out))
        if answer.code == 0:
            return Step(StepEnd.CLEAN, merged=merged)
        if answer.code == 1:
            unmerged = self._run("ls-files", "-u", "-z").fields()
            if unmerged:
                paths = tuple(dict.fromkeys(entry.partition(b"\t")[2] for entry in unmerged))
                return Step(StepEnd.CONFLICT, paths, merged)
            if self._run("diff-index", "--cached", "--quiet", "HEAD", "--", ok=(0, 1)).code == 0:
                self._run("revert", "--quit")
                return Step(StepEnd.EMPTY, merged=merged)
            # Some conflicts (of renamed folders) leave no entry unmerged: only git's words name the paths.
            said = " ".join(line.decode("utf-8", "replace") for line in _CONFLICT.findall(answer.out))
            return Step(StepEnd.CONFLICT, merged=merged, sentence=shown(said, limit=500))
        return Step(StepEnd.FAILED, merged=merged, sentence=git_sentence(answer.err))

    def commit(self, parent: str, message: str, identity: CommitIdentity) -> str:
        """A commit of HEAD's tree on `parent` with our own message; HEAD moves to it."""
        key: tuple[str, ...] = (f"-S{identity.signing_key}",) if identity.signing_key else ()
        config = (("gpg.format", identity.sign_format),) if identity.sign_format else ()
        home = (
            {"HOME": os.environ.get("HOME", "")} if identity.signing_key else {}
        )  # gpg keeps its keys there
        answer = self._run(
            "commit-tree", *key, "-p", parent, "-F", "-", "HEAD^{tree}",
            stdin=message.encode("utf-8", "replace"), env={**identity.env(), **home}, config=config,
        )  # fmt: skip
        self.move_head(answer.text)
        return answer.text

    def union_merged(self, paths: Iterable[bytes]) -> tuple[bytes, ...]:
        """Those of `paths` that `merge=union` merges: both versions' lines stay, which reverts nothing."""
        wanted = list(dict.fromkeys(paths))
        if not wanted:
            return ()
        fields = self._run(
            "check-attr", "-z", "--stdin", "merge", stdin=b"".join(path + b"\0" for path in wanted)
        ).fields()
        return tuple(fields[i] for i in range(0, len(fields), 3) if fields[i + 2] == b"union")

    def _run(
        self,
        *args: str,
        stdin: bytes = b"",
        ok: tuple[int, ...] = (0,),
        env: dict[str, str] | None = None,
        config: Iterable[tuple[str, str]] = (),
    ) -> Answer:
        cone = str(not self._narrow).lower()
        sparse = (
            ()
            if self.full
            else (("core.sparseCheckout", "true"), ("core.sparseCheckoutCone", cone), ("index.sparse", cone))
        )
        return self._door.run(
            *args, git_dir=self.git_dir, work_tree=self.tree, stdin=stdin, ok=ok, env=env,
            config=(*sparse, *config), keep_open=self._descriptors,
        )  # fmt: skip


@contextlib.contextmanager
def scratch(root: Path, objects: Path, door: GitDoor, keep_open: tuple[int, ...] = ()) -> Iterator[Scratch]:
    """A scratch repository below `root` that borrows `objects`; first sweeps what a crash left there.

    Raises CannotRevert when the disk does not take it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone_in(root):
            _sweep(root)
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as failure:
        raise CannotRevert(f"No scratch worktree could be made below {root}: {failure}") from failure
    try:
        git_dir = folder / "git"
        for part in ("objects/info", "objects/pack", "refs", "info"):
            (git_dir / part).mkdir(parents=True)
        (git_dir / "objects" / "info" / "alternates").write_bytes(_alternate(objects))
        (git_dir / "HEAD").write_text("ref: refs/heads/none\n")
        (git_dir / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = false\n")
        (git_dir / "info" / "sparse-checkout").write_text(_ROOT_ONLY)
        (folder / "tree").mkdir()
        yield Scratch(folder, door, (lock, *keep_open))
    except OSError as failure:
        raise CannotRevert(f"The scratch worktree {folder} could not be used: {failure}") from failure
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        sweep(root)  # a git that outlived its killed bot may have held its folder until now


def sweep(root: Path) -> int:
    """Remove the scratch worktrees that dead processes left below `root`; how many. A live one is locked, by
    its process or by a git of its process that has not ended yet."""
    try:
        with _alone_in(root):
            return _sweep(root)
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _alone_in(root: Path) -> Iterator[None]:
    """Nobody sweeps here while a folder is made that is not locked yet. Held by the folder itself: no file is left."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sweep(root: Path) -> int:
    swept = 0
    for folder in root.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            # Its maker died before it was locked, or is taking it down.
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
            log.info("scratch_swept", folder=folder.name)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
    return swept


def _alternate(objects: Path) -> bytes:
    path = os.fsencode(objects.resolve())
    if b"\n" in path or path.startswith((b'"', b"#")):
        raise CannotRevert(
            f"The folder {os.fsdecode(path)!r} has a newline in its name; git cannot borrow from it."
        )
    return path + b"\n"


def cone_patterns(folders: Iterable[bytes]) -> bytes:
    """The sparse-checkout patterns, in cone form, for the root's files and those directly in `folders`.

    Written here because the folders on the way must hold their direct files only, never whole subtrees."""
    wanted: set[str] = set()
    for folder in folders:
        parts = folder.decode("utf-8", "surrogateescape").split("/")
        wanted.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
    lines = [_ROOT_ONLY]
    for folder_name in sorted(wanted):
        escaped = _GLOB.sub(r"\\\1", folder_name)
        lines.append(f"/{escaped}/\n!/{escaped}/*/\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


def file_patterns(folders: Iterable[bytes]) -> bytes:
    """The sparse-checkout patterns for the `.gitattributes` of the root and of `folders`, and nothing
    else."""
    lines = [b"/.gitattributes\n"]
    for folder in folders:
        escaped = _GLOB.sub(r"\\\1", folder.decode("utf-8", "surrogateescape"))
        lines.append(b"/" + escaped.encode("utf-8", "surrogateescape") + b"/.gitattributes\n")
    return b"".join(lines)


def ancestor_folders(paths: Iterable[bytes]) -> tuple[bytes, ...]:
    """Every folder above the paths, without the root."""
    found: dict[bytes, None] = {}
    for path in paths:
        parts = path.split(b"/")[:-1]
        for depth in range(len(parts)):
            found[b"/".join(parts[: depth + 1])] = None
    return tuple(found)


def attribute_folders(
    source: Source, tip: str, paths: Iterable[bytes]
) -> tuple[tuple[bytes, ...] | None, bool]:
    """The folders above `paths` that hold a `.gitattributes` in `tip`, and whether the root or one of them
    directly holds so many entries that checking them out would cost more than the revert (told from the size of
    its tree object). None for the folders when a sparse worktree cannot hold them: a name that a pattern file
    cannot say, or too many; then a full checkout is needed. One command."""
    folders = ancestor_folders(paths)
    root = f"{tip}^{{tree}}"
    names = {folder: f"{tip}:{os.fsdecode(folder)}" for folder in folders}
    facts = source.objects([root, *names.values(), *(f"{name}/.gitattributes" for name in names.values())])
    holding = tuple(folder for folder, name in names.items() if facts[f"{name}/.gitattributes"] is not None)
    sizes = [facts[name] for name in (root, *(names[folder] for folder in holding))]
    is_crowded = any(fact is not None and fact.size > _FILES_AT_MOST * _BYTES_AN_ENTRY for fact in sizes)
    unsayable = [
        folder for folder in holding if b"\n" in folder or b"\r" in folder or folder != folder.strip()
    ]
    return (None if unsayable or len(holding) > _FOLDERS_AT_MOST else holding), is_crowded
