"""Fills the role of the repository: reads history from kept mirrors, and reverts with `git revert -m 1`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from bot.failures import BadSettings, CannotReadRepository, CannotRevert
from bot.git_door import GitDoor, GitFailed, Observer
from bot.git_names import BadName, branch_name, full_sha, shown_path
from bot.mirror import DEFAULT_MAX_BYTES, Credentials, Mirror, keep_within
from bot.mirror_progress import CloneProgress, clones_in_progress
from bot.relanding import RelandBranch, Relander
from bot.revert_history import CommitRecord, Source, read_since, shape_on
from bot.revert_on_mirror import MirrorRevert, head_of, source_of
from bot.revert_undone import undone_by
from bot.revert_worktree import CommitIdentity, sweep
from policies.facts import CommitFacts, Reverted, RevertOutcome, RollbackOrder
from policies.revert_message import (
    RELANDS_TRAILER,
    reverts_claimed,
    rollback_deploy_of,
    trailers_of,
)

log = structlog.get_logger(__name__)

_MERGED_AT_MOST = 50
"""Commits of a merged branch whose messages are read; a reland's own commit is its oldest or nearly so."""


class GitRepositories:
    """Every repository this bot guards, as mirrors below `data_dir`.

    `credentials` gives (user, token) for `owner/name`, or None where none is needed; it may raise
    BotFailure. `allow_http` and `allow_file` permit those transports for `server_url` (stand-ins, tests);
    https always is. Safe to use from several threads and processes at once.
    Raises BadSettings (git missing or too old) and BadName (an address we do not clone from)."""

    def __init__(
        self,
        data_dir: Path,
        server_url: str,
        credentials: Credentials,
        identity: CommitIdentity | Callable[[], CommitIdentity],
        allow_http: bool = False,
        max_bytes: int = DEFAULT_MAX_BYTES,
        allow_file: bool = False,
        observe: Observer | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        kinds = ("https", *(["http"] if allow_http else []), *(["file"] if allow_file else []))
        scheme = urlsplit(server_url).scheme
        if scheme not in kinds:
            raise BadName(
                f"Repositories cannot be cloned over {scheme or 'nothing'!r}; use an https address."
            )
        self._data_dir = data_dir.absolute()
        self._server_url = server_url
        self._credentials = credentials
        self._identity = identity
        self._max_bytes = max_bytes
        self._door = GitDoor(kinds, observe)
        self._now = now
        self._scratch_root = self._data_dir / "worktrees"
        try:
            self._door.require_git()
        except GitFailed as failure:
            raise BadSettings(failure.reason) from failure
        sweep(self._scratch_root)

    # --- reading ----------------------------------------------------------------------------------

    def refresh(self, repository: str, branch: str) -> str:
        """Fetch `branch` (cloning first where needed); the sha of its head. May be repeated."""
        mirror = self._mirror(repository)
        is_new = not mirror.exists
        with _as_read_failure():
            head = mirror.refresh(branch)
            mirror.tidy()
        if is_new:
            keep_within(self._data_dir / "mirrors", self._max_bytes, keep=mirror.path)
        return head

    def commit(self, repository: str, branch: str, sha: str) -> CommitFacts:
        """What `sha` is, relative to `branch` as last refreshed."""
        with self._history(repository, branch, sha) as (source, head):
            return _facts(source, head, branch, sha)

    def between(
        self, repository: str, branch: str, good: str | None, sha: str, at_most: int
    ) -> tuple[CommitFacts, ...]:
        """First-parent walk from `sha` down to, without, `good`; newest first; stops at `at_most` + 1."""
        with self._history(repository, branch, sha) as (source, head):
            records = source.log(sha, first_parent=True, at_most=at_most + 1)
            line = [record.sha for record in records]
            if good is not None and full_sha(good) in line:
                line = line[: line.index(good)]
            elif good is not None and not _on_first_parent_line(source, good, sha):
                raise CannotReadRepository(
                    f"{good[:12]} is not on the first-parent line of {sha[:12]}: {branch} was reset, or work "
                    "was merged the wrong way round. Choose the commits to revert by hand."
                )
            return tuple(_facts(source, head, branch, each) for each in line)

    def read_file(self, repository: str, sha: str, path: str) -> bytes | None:
        """The regular file `path` as it stands in the tree of `sha`, None if there is none."""
        mirror = self._mirror(repository)
        with _as_read_failure(), self._reading(mirror):
            entry = self._door.run(
                "ls-tree", "-z", "--full-tree", full_sha(sha), "--", path, git_dir=mirror.path
            ).fields()
            if len(entry) != 1 or not entry[0].startswith(b"100"):
                return None
            blob = entry[0].split(b"\t", 1)[0].split(b" ")[2].decode()
            return self._door.run("cat-file", "blob", blob, git_dir=mirror.path).out

    def clones_in_progress(self) -> tuple[CloneProgress, ...]:
        """First clones running now, in any process on this data directory."""
        return clones_in_progress(self._data_dir)

    def tidy(self, repository: str) -> None:
        """Housekeeping of one mirror and of the size bound; for quiet times, may be repeated."""
        mirror = self._mirror(repository)
        with _as_read_failure():
            mirror.tidy()
        keep_within(self._data_dir / "mirrors", self._max_bytes, keep=mirror.path)

    def _who(self) -> CommitIdentity:
        return self._identity if isinstance(self._identity, CommitIdentity) else self._identity()

    def _mirror(self, repository: str) -> Mirror:
        try:
            return Mirror(
                self._data_dir / "mirrors", self._server_url, repository, self._door, self._credentials
            )
        except BadName as bad:
            raise CannotReadRepository(bad.reason) from bad

    @contextlib.contextmanager
    def _reading(self, mirror: Mirror) -> Iterator[int]:
        if not mirror.exists:
            raise CannotReadRepository(f"{mirror.repository} has not been fetched yet.")
        with mirror.reading() as descriptor:
            yield descriptor

    @contextlib.contextmanager
    def _history(self, repository: str, branch: str, sha: str) -> Iterator[tuple[Source, str]]:
        mirror = self._mirror(repository)
        with _as_read_failure():
            branch_name(branch)
            full_sha(sha)
            head = head_of(self._door, mirror, branch) or mirror.refresh(branch)
            with mirror.reading():
                yield source_of(self._door, mirror, branch), head

    # --- reverting --------------------------------------------------------------------------------

    def revert(self, order: RollbackOrder, stop: Callable[[], str | None] = lambda: None) -> Reverted:
        """Revert the commits of `order` on its branch and push, unless `stop`, asked right before, says why not.

        May be repeated: a commit of ours for this deploy that is on the branch already is the answer. Raises
        CannotRevert when nothing could be tried (network, disk, a broken git); every other end is a value."""
        try:
            branch_name(order.branch)
            commits = tuple(full_sha(sha) for sha in order.commits)
            mirror = self._mirror(order.repository)
        except (BadName, CannotReadRepository) as bad:
            return Reverted(RevertOutcome.REFUSED, bad.reason)
        hand = MirrorRevert(mirror, self._door, self._scratch_root, self._who(), self._now, stop)
        return hand.carry_out(replace(order, commits=commits))

    def rehearse(self, order: RollbackOrder) -> Reverted:
        """What `revert` would come to now, made and thrown away. May be repeated. Raises CannotRevert."""
        try:
            branch_name(order.branch)
            commits = tuple(full_sha(sha) for sha in order.commits)
            mirror = self._mirror(order.repository)
        except (BadName, CannotReadRepository) as bad:
            return Reverted(RevertOutcome.REFUSED, bad.reason)
        hand = MirrorRevert(mirror, self._door, self._scratch_root, self._who(), self._now)
        return hand.rehearse(replace(order, commits=commits))

    def reland(
        self, repository: str, branch: str, number: int, title: str, undone: tuple[tuple[str, str], ...]
    ) -> RelandBranch:
        """See `relanding.Relander.make`. May be repeated. Raises CannotRevert."""
        try:
            branch_name(branch)
            checked = tuple((full_sha(original), full_sha(by)) for original, by in undone)
            mirror = self._mirror(repository)
        except (BadName, CannotReadRepository) as bad:
            raise CannotRevert(bad.reason) from bad
        return Relander(mirror, self._door, self._scratch_root, self._who()).make(
            branch, number, title, checked
        )


def _on_first_parent_line(source: Source, older: str, newer: str) -> bool:
    fact = source.objects([older])[older]
    if fact is None or fact.kind != "commit":
        return False
    answer = source.door.run("rev-list", "--first-parent", newer, f"^{older}^@", git_dir=source.git_dir)
    return older in answer.text.split()


def _facts(source: Source, head: str, branch: str, sha: str) -> CommitFacts:
    fact = source.objects([sha])[sha]
    if fact is None or fact.kind != "commit":
        raise CannotReadRepository(f"{sha[:12]} is not a commit that {branch} has.")
    since = read_since(source, head, (sha,))
    on_branch = sha in since.by_sha
    record = since.by_sha[sha] if on_branch else source.log(sha, at_most=1)[0]
    mainline = shape_on(source, record, branch, since)
    base = record.parents[mainline.parent - 1] if record.parents else None
    paths = source.paths_between([(base, sha)])[0] if base else ()
    undone = undone_by(source, record, mainline, since) if on_branch else None
    return CommitFacts(
        sha=sha,
        parents=record.parents,
        subject=record.subject,
        shape=mainline.shape,
        on_branch=on_branch,
        paths=tuple(shown_path(path) for path in paths),
        already_reverted_by=undone,
        rollback_deploy=_rollback_deploy(source, record),
        relands=_relands(source, record),
        committed_at_s=record.at_s,
    )


def _rollback_deploy(source: Source, record: CommitRecord) -> str | None:
    """The deploy that this commit takes back: our own revert, or the merge of a pull request that ends in
    it."""
    merged = record.parents[1:2]
    tips = [tip for sha in merged for tip in source.log(sha, at_most=1)]
    found = (rollback_deploy_of(each.message) for each in (record, *tips))
    return next((deploy_id for deploy_id in found if deploy_id), None)


def _is_sha(text: str) -> bool:
    try:
        return bool(full_sha(text))
    except BadName:
        return False


def _has(source: Source, sha: str) -> bool:
    fact = source.objects([sha])[sha]
    return fact is not None and fact.kind == "commit"


def _relands(source: Source, record: CommitRecord) -> str | None:
    """The commit that this one brings back: named by our trailer (on it, or on a commit that it merged), or
    reverted by what this one reverts."""
    if named := trailers_of(record.message).get(RELANDS_TRAILER):
        return named
    if len(record.parents) > 1:
        before = record.parents[0]
        for each in source.log(f"^{before}", record.parents[1], at_most=_MERGED_AT_MOST):
            named = trailers_of(each.message).get(RELANDS_TRAILER)
            # A release that carries change, revert and reland together brings nothing back that was here.
            if named and _is_sha(named) and _has(source, named) and source.is_ancestor(named, before):
                return named
    for sha in reverts_claimed(record.message):
        fact = source.objects([sha])[sha]
        if fact and fact.kind == "commit":
            claimed = reverts_claimed(source.log(sha, at_most=1)[0].message)
            if claimed:
                return claimed[0]
    return None


@contextlib.contextmanager
def _as_read_failure() -> Iterator[None]:
    """git's failures, and names that must not reach it, as CannotReadRepository."""
    try:
        yield
    except (GitFailed, BadName) as failure:
        raise CannotReadRepository(failure.reason) from failure


__all__ = ["CommitIdentity", "GitRepositories"]
