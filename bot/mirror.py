"""Kept bare mirrors, one a repository: fetched, locked across processes, mended by themselves, bounded in
size.

A mirror is a cache: whatever is wrong with one (cut off in the middle of a fetch, a failing `git fsck`, a
pack that cannot be read) ends in the same way, it is cloned again beside the old one and put in its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from bot.failures import BotFailure, CannotReadRepository
from bot.file_lock import file_lock
from bot.git_door import CLONE_S, NETWORK_S, Credential, GitDoor, GitFailed
from bot.git_names import branch_name, git_sentence, repository_name
from bot.mirror_progress import SUFFIX as PROGRESS_SUFFIX
from bot.mirror_progress import ProgressFile

log = structlog.get_logger(__name__)

DEFAULT_MAX_BYTES = 20 * 1024**3
_FETCHING = "rollback-bot-fetching"
_REFLOG_TAIL_BYTES = 64 * 1024
_PACKS_BEFORE_TIDYING = 40
_NO_BRANCH = re.compile(r"couldn't find remote ref|no such ref|Remote branch .* not found", re.IGNORECASE)
_DENIED = re.compile(
    r"Authentication failed|could not read Username|Repository not found|repository '.*' not found|"
    r"returned error: (?:401|403|404)|does not appear to be a git repository|Permission denied|"
    r"transport '.*' not allowed|unable to update url base",
    re.IGNORECASE,
)
_UNREACHABLE = re.compile(
    r"unable to access|Could not resolve|Failed to connect|Connection (?:reset|refused|timed out)|timed out|"
    r"returned error: (?:408|429|5\d\d)|RPC failed|early EOF|hung up|remote did not|GnuTLS|SSL|Empty reply|"
    r"bad pack header|expected flush|invalid index-pack output",
    re.IGNORECASE,
)
Credentials = Callable[[str], tuple[str, str] | None]


class _Unreachable(GitFailed):
    """The server did not answer properly; asking again is safe."""


class Mirror:
    """The kept clone of one repository. Methods may be repeated; they raise CannotReadRepository."""

    def __init__(
        self, root: Path, server_url: str, repository: str, door: GitDoor, credentials: Credentials
    ) -> None:
        self.repository = repository_name(repository)
        self._server_url = server_url.rstrip("/")
        self.url = f"{self._server_url}/{self.repository}.git"
        owner, name = self.repository.split("/")
        self._beside = root / _host_folder(self._server_url) / owner
        self.path = self._beside / f"{name}.git"
        self._lock = self._beside / f"{name}.lock"
        self._progress = self._beside / f"{name}{PROGRESS_SUFFIX}"
        self._door = door
        self._credentials = credentials

    @property
    def exists(self) -> bool:
        return (self.path / "HEAD").exists()

    def credential(self) -> Credential | None:
        """What to show the server now (installation tokens live an hour: asked anew each time)."""
        try:
            pair = self._credentials(self.repository)
        except BotFailure as failure:
            raise CannotReadRepository(f"No credentials for {self.repository}: {failure.reason}") from failure
        return Credential(self._server_url, *pair) if pair else None

    @contextlib.contextmanager
    def reading(self) -> Iterator[int]:
        """Hold the mirror where it is: nobody clones it again or throws it out meanwhile."""
        with self._locked(shared=True) as descriptor:
            os.utime(self._lock)  # when it was last used, for the size bound
            yield descriptor

    @contextlib.contextmanager
    def _locked(self, shared: bool = False) -> Iterator[int]:
        try:
            with file_lock(self._lock, shared, wait_s=CLONE_S) as descriptor:
                yield descriptor
        except BlockingIOError as busy:
            raise CannotReadRepository(
                f"The mirror of {self.repository} has been in use by another process for {CLONE_S:g} s. "
                "Look what it is doing."
            ) from busy

    def refresh(self, branch: str) -> str:
        """Fetch `branch`, cloning first where there is no usable mirror; the sha of its head."""
        branch_name(branch)
        with self._locked() as descriptor:
            os.utime(self._lock)
            if not self.exists:
                return self._clone(branch, descriptor, "it is not here yet")
            if (self.path / "shallow").exists():
                return self._clone(
                    branch, descriptor, "it is shallow, and a revert in it could delete everything"
                )
            if (self.path / _FETCHING).exists():
                log.warning("mirror_cut_off", repository=self.repository)
                self._sweep()
                if not self.is_sound(descriptor):
                    return self._clone(branch, descriptor, "it was cut off in the middle of a fetch")
            try:
                return self._fetch(self.path, branch, descriptor)
            except CannotReadRepository:
                raise
            except GitFailed as failure:
                self._sweep()
                return self._clone(branch, descriptor, f"it could not be fetched into: {failure.reason}")

    def heal(self, branch: str, because: str) -> bool:
        """After a read that failed without an explanation: clone again if `git fsck` finds the mirror broken.
        Whether it did."""
        with self._locked() as descriptor:
            if self.exists and self.is_sound(descriptor, thorough=True):
                return False
            self._clone(branch, descriptor, because)
            return True

    def is_sound(self, descriptor: int, thorough: bool = False) -> bool:
        """`git fsck`: of what the refs need, or with every object's content when `thorough`."""
        depth = ["--full"] if thorough else ["--connectivity-only"]
        answer = self._door.run(
            "fsck", *depth, "--no-dangling", "--no-reflogs", "--no-progress",
            git_dir=self.path, ok=(), timeout_s=CLONE_S, keep_open=(descriptor,),
        )  # fmt: skip
        if answer.code != 0:
            log.warning("mirror_broken", repository=self.repository, because=git_sentence(answer.err))
        return answer.code == 0

    def tips_seen(self, branch: str) -> tuple[str, ...]:
        """The tips `branch` was seen at, newest first, from the mirror's own record of its fetches."""
        return tips_in_reflog(self.path / "logs" / "refs" / "heads" / branch)

    def tidy(self) -> None:
        """Gather many small packs into few. For quiet times; harmless to readers; may be repeated."""
        if (
            not self.exists
            or len(list((self.path / "objects" / "pack").glob("*.pack"))) < _PACKS_BEFORE_TIDYING
        ):
            return
        with self.reading() as descriptor:
            self._door.run(
                "repack", "-d", "--geometric=2", "--quiet",
                git_dir=self.path, timeout_s=CLONE_S, keep_open=(descriptor,),
            )  # fmt: skip
            self._write_commit_graph(self.path, descriptor)

    def _fetch(self, path: Path, branch: str, descriptor: int, progress: ProgressFile | None = None) -> str:
        """Fetch one branch; the marker file stays behind exactly when this process dies in here."""
        marker = path / _FETCHING
        marker.touch()
        credential = self.credential()
        attempts = Retrying(
            retry=retry_if_exception_type(_Unreachable),
            stop=stop_after_attempt(3),
            wait=wait_random_exponential(multiplier=0.3, max=3),
            reraise=True,
        )
        try:
            attempts(self._fetch_once, path, branch, descriptor, credential, progress)
        except _Unreachable as failure:
            marker.unlink(missing_ok=True)
            raise CannotReadRepository(
                f"{self.repository} could not be fetched: {failure.reason}"
            ) from failure
        except CannotReadRepository:
            marker.unlink(missing_ok=True)
            raise
        marker.unlink(missing_ok=True)
        return self._door.run(
            "rev-parse", "--verify", "--end-of-options", f"refs/heads/{branch}^{{commit}}", git_dir=path
        ).text

    def _fetch_once(
        self,
        path: Path,
        branch: str,
        descriptor: int,
        credential: Credential | None,
        progress: ProgressFile | None,
    ) -> None:
        answer = self._door.run(
            "fetch", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules",
            "--progress" if progress else "--quiet",
            "--end-of-options", self.url, f"+refs/heads/{branch}:refs/heads/{branch}",
            git_dir=path, ok=(), credential=credential, keep_open=(descriptor,),
            timeout_s=CLONE_S if progress else NETWORK_S,
            on_progress=progress.take if progress else None,
        )  # fmt: skip
        if answer.code == 0:
            return
        sentence = git_sentence(answer.err)
        if _NO_BRANCH.search(answer.err):
            raise CannotReadRepository(f"{self.repository} has no branch {branch} (any more).")
        if _DENIED.search(answer.err):
            raise CannotReadRepository(
                f"{self.repository} may not be read from {self._server_url}: {sentence}. "
                "Check that the App is installed there, or what the token may read."
            )
        if _UNREACHABLE.search(answer.err):
            raise _Unreachable(sentence, answer.code, answer.err)
        raise GitFailed(sentence, answer.code, answer.err)

    def _clone(self, branch: str, descriptor: int, because: str) -> str:
        """Clone beside, then put in place; the record of the branch's seen tips moves along."""
        log.info("mirror_clone", repository=self.repository, because=because)
        fresh = self.path.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            fresh.mkdir(parents=True)
            self._door.run("init", "--bare", "--quiet", "--template=", git_dir=fresh, keep_open=(descriptor,))
            _configure(fresh)
            seen = Path("logs", "refs", "heads", branch)
            if (self.path / seen).is_file():
                (fresh / seen).parent.mkdir(parents=True)
                shutil.copyfile(self.path / seen, fresh / seen)
            with ProgressFile(self._progress, self.repository) as progress:
                head = self._fetch(fresh, branch, descriptor, progress)
            self._write_commit_graph(fresh, descriptor)
        except CannotReadRepository:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        except (GitFailed, OSError) as failure:
            shutil.rmtree(fresh, ignore_errors=True)
            reason = failure.reason if isinstance(failure, GitFailed) else str(failure)
            raise CannotReadRepository(f"{self.repository} could not be cloned: {reason}") from failure
        old = self.path.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        if self.path.exists():
            self.path.rename(old)
        fresh.rename(self.path)
        shutil.rmtree(old, ignore_errors=True)
        return head

    def _write_commit_graph(self, path: Path, descriptor: int) -> None:
        self._door.run(
            "commit-graph", "write", "--reachable", "--no-progress",
            git_dir=path, timeout_s=CLONE_S, ok=(), keep_open=(descriptor,),
        )  # fmt: skip

    def _sweep(self) -> None:
        """Remove what a killed git left: lock files and half packs. Only under the exclusive lock, which a
        git of a dead process still holds while it runs."""
        for pattern in (
            "*.lock",
            "refs/**/*.lock",
            "objects/**/*.lock",
            "objects/pack/tmp_*",
            "objects/??/tmp_obj_*",
        ):
            for left in self.path.glob(pattern):
                left.unlink(missing_ok=True)
        for left in self.path.glob("objects/tmp_objdir-*"):
            shutil.rmtree(left, ignore_errors=True)
        (self.path / _FETCHING).unlink(missing_ok=True)


def _host_folder(server_url: str) -> str:
    """A folder name for a server, so that two servers' repositories of one name never meet."""
    parts = urlsplit(server_url)
    name = (
        re.sub(r"[^A-Za-z0-9.-]", "_", f"{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}")
        or "local"
    )
    digest = hashlib.sha256(server_url.encode()).hexdigest()[:16]
    return name if len(name) <= 100 else f"{name[:80]}_{digest}"


def _configure(path: Path) -> None:
    (path / "config").write_text(
        "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tlogAllRefUpdates = always\n"
        "[gc]\n\tauto = 0\n[transfer]\n\tfsckObjects = false\n[fetch]\n\tunpackLimit = 1\n"
    )


def tips_in_reflog(path: Path) -> tuple[str, ...]:
    """The commits a reflog file went through, newest first, without repeats."""
    try:
        with path.open("rb") as log_file:
            log_file.seek(max(0, path.stat().st_size - _REFLOG_TAIL_BYTES))
            lines = log_file.read().splitlines()
    except OSError:
        return ()
    shas = [
        part.decode()
        for line in reversed(lines)
        if re.match(rb"[0-9a-f]{40,64} [0-9a-f]{40,64} ", line)
        for part in reversed(line.split(b" ", 2)[:2])
        if part.strip(b"0")
    ]
    return tuple(dict.fromkeys(shas))


def size_of(path: Path) -> int:
    """Bytes on disk below `path`; files that go meanwhile count nothing."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                total += (Path(folder) / name).stat().st_blocks * 512
    return total


def keep_within(root: Path, max_bytes: int, keep: Path | None = None) -> tuple[Path, ...]:
    """Throw out the least recently used mirrors until all of them are within `max_bytes`; those thrown out.

    A mirror in use (its lock is held) and `keep` stay whatever their size."""
    mirrors = [path for path in root.glob("*/*/*.git") if path.is_dir()]
    sizes = {path: size_of(path) for path in mirrors}
    total, gone = sum(sizes.values()), []
    for path in sorted(mirrors, key=_last_used):
        if total <= max_bytes:
            break
        if path == keep:
            continue
        with contextlib.suppress(BlockingIOError), file_lock(path.with_suffix(".lock"), wait_s=0):
            old = path.with_suffix(".old")
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)  # at once: half a mirror must never look like one
            shutil.rmtree(old, ignore_errors=True)
            total -= sizes[path]
            gone.append(path)
            log.info("mirror_evicted", mirror=path.stem, bytes=sizes[path])
    return tuple(gone)


def _last_used(path: Path) -> float:
    try:
        return path.with_suffix(".lock").stat().st_mtime
    except OSError:
        return 0.0
