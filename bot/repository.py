"""Fills the role of the repository: reads history from kept mirrors, and reverts with `git revert -m 1`."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from bot.failures import BotFailure, CannotReadRepository, CannotRevert
from bot.git_door import BadName, GitDoor, GitFailed, Observer, branch_name, full_sha, shown
from bot.mirror import DEFAULT_MAX_BYTES, Credentials, Mirror, keep_within
from bot.mirror_progress import CloneProgress, clones_in_progress
from bot.revert_history import Source, read_since, shape_on, undone_by
from bot.revert_push import Pushed, PushEnd, push
from bot.revert_worktree import CommitIdentity, Scratch, scratch, sweep
from bot.reverting import Prepared, RevertRequest, prepare, shown_path
from policies.facts import CommitFacts, CommitShape, Reverted, RevertOutcome, RollbackOrder
from policies.mainline import Mainline
from policies.revert_message import (
    RELANDS_TRAILER,
    RevertTrailers,
    is_rollback_of,
    reverts_claimed,
    rollback_deploy_of,
    trailers_of,
)

log = structlog.get_logger(__name__)

_TRIES = 4
"""One push, and three more after losing a race."""
PROPOSED_PREFIX = "rollback-bot/"


class _BranchMoved(Exception):
    """Somebody else pushed first, or nobody knows whether we did: fetch and look again."""

    def __init__(self, sentence: str, stopped_by_network: bool) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.stopped_by_network = stopped_by_network


@dataclass(frozen=True, slots=True)
class _Pushing:
    """What one attempt works with."""

    mirror: Mirror
    scratch: Scratch
    prepared: Prepared
    branch: str
    order: RollbackOrder
    descriptor: int


class GitRepositories:
    """Every repository this bot guards, as mirrors below `data_dir`.

    `credentials` gives (user, token) for `owner/name`, or None where none is needed; it may raise BotFailure.
    `allow_http` and `allow_file` permit those transports for `server_url` (stand-ins, tests); https always is.
    Safe to use from several threads and processes at once."""

    def __init__(
        self,
        data_dir: Path,
        server_url: str,
        credentials: Credentials,
        identity: CommitIdentity,
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
        sweep(self._scratch_root)

    # --- reading ----------------------------------------------------------------------------------

    def refresh(self, repository: str, branch: str) -> str:
        """Fetch `branch` (cloning first where needed); the sha of its head. May be repeated."""
        mirror = self._mirror(repository)
        is_new = not mirror.exists
        with _as_read_failure():
            head = mirror.refresh(branch)
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
                    f"{good[:12]} is not on the first-parent line of {sha[:12]}: {branch} was reset, or work was "
                    "merged the wrong way round. Choose the commits to revert by hand."
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
            head = _head(self._door, mirror, branch) or mirror.refresh(branch)
            with mirror.reading():
                yield _source(self._door, mirror, branch), head

    # --- reverting --------------------------------------------------------------------------------

    def revert(self, order: RollbackOrder) -> Reverted:
        """Revert the commits of `order` on its branch and push.

        May be repeated: a commit of ours for this deploy that is on the branch already is the answer. Raises
        CannotRevert when nothing could be tried (network, disk, a broken git); every other end is a value."""
        try:
            branch = branch_name(order.branch)
            commits = tuple(full_sha(sha) for sha in order.commits)
        except BadName as bad:
            return Reverted(RevertOutcome.REFUSED, bad.reason)
        mirror = self._mirror(order.repository)
        try:
            return self._until_settled(mirror, branch, replace(order, commits=commits))
        except CannotReadRepository as failure:
            raise CannotRevert(failure.reason) from failure
        except GitFailed as failure:
            raise CannotRevert(f"{order.repository} could not be reverted: {failure.reason}") from failure

    def _until_settled(self, mirror: Mirror, branch: str, order: RollbackOrder) -> Reverted:
        attempts = Retrying(
            retry=retry_if_exception_type(_BranchMoved),
            stop=stop_after_attempt(_TRIES),
            wait=wait_random(0, 0.2),
        )
        fresh = False
        try:
            for attempt in attempts:
                with attempt:
                    fresh = fresh or attempt.retry_state.attempt_number > 1
                    return self._attempt_or_heal(mirror, branch, order, fresh)
        except RetryError as exhausted:
            moved = exhausted.last_attempt.exception()
            if isinstance(moved, _BranchMoved) and moved.stopped_by_network:
                raise CannotRevert(
                    f"The push to {order.repository} did not go through: {moved.sentence}"
                ) from moved
        return Reverted(
            RevertOutcome.REFUSED,
            f"{branch} moved {_TRIES} times while the revert was being pushed. Nothing was pushed; try again.",
            at_s=self._now(),
        )

    def _attempt_or_heal(self, mirror: Mirror, branch: str, order: RollbackOrder, fresh: bool) -> Reverted:
        try:
            return self._attempt(mirror, branch, order, fresh)
        except GitFailed as failure:
            log.warning("revert_failed_to_read", repository=order.repository, because=failure.reason)
            if not mirror.heal(branch, f"git could not read it: {failure.reason}"):
                return Reverted(RevertOutcome.REFUSED, f"git refused: {failure.reason}", at_s=self._now())
            return self._attempt(mirror, branch, order, fresh=True)

    def _attempt(self, mirror: Mirror, branch: str, order: RollbackOrder, fresh: bool) -> Reverted:
        """One try. Optimistic at first: what the mirror knows is used as it is, and only the server's refusal,
        or an answer other than a revert, makes us fetch; the push cannot succeed on stale knowledge."""
        head = None if fresh else _head(self._door, mirror, branch)
        if head is None or head != order.expected_head:
            head, fresh = mirror.refresh(branch), True
        request = RevertRequest(
            branch,
            order.commits,
            RevertTrailers(order.deploy_id, order.incident_id, order.ordered_by, order.reason),
            self._identity,
            order.good_tree_of,
        )
        with (
            mirror.reading() as descriptor,
            scratch(self._scratch_root, mirror.path / "objects", self._door, (descriptor,)) as place,
        ):
            prepared = prepare(place, _source(self._door, mirror, branch), head, request)
            if prepared.outcome is RevertOutcome.REVERTED and not prepared.found:
                reverted = self._push(_Pushing(mirror, place, prepared, branch, order, descriptor))
            elif fresh or prepared.found:
                return self._reverted(prepared, order)
            else:
                reverted = None
        if reverted is None:
            return self._attempt(mirror, branch, order, fresh=True)
        return (
            self._read_again(mirror, branch, reverted)
            if reverted.outcome is RevertOutcome.REVERTED
            else reverted
        )

    def _push(self, at: _Pushing) -> Reverted:
        sha = at.prepared.commits[-1]
        if at.order.method == "pull_request":
            return self._propose(at, "This environment rolls back by pull request.")
        pushed = push(
            self._door, at.scratch.git_dir, at.mirror.url, sha, at.branch, at.prepared.head,
            at.mirror.credential(), (at.descriptor,),
        )  # fmt: skip
        log.info("revert_pushed", repository=at.order.repository, branch=at.branch, sha=sha, end=pushed.end)
        if pushed.end is PushEnd.ACCEPTED:
            return self._reverted(at.prepared, at.order)
        if pushed.end in (PushEnd.RACED, PushEnd.BROKEN):
            raise _BranchMoved(pushed.sentence, pushed.end is PushEnd.BROKEN)
        if pushed.end is PushEnd.DENIED:
            return Reverted(
                RevertOutcome.REFUSED,
                f"{at.order.repository} does not accept our pushes: {pushed.sentence}. "
                "Give the App (or token) write access to contents.",
                at_s=self._now(),
            )
        return self._propose(at, pushed.sentence)

    def _propose(self, at: _Pushing, why: str) -> Reverted:
        """Push the same commit to a branch of ours, for a pull request; or find it there from before."""
        name = PROPOSED_PREFIX + (
            re.sub(r"[^A-Za-z0-9_-]+", "-", at.order.incident_id).strip("-")[:80] or "revert"
        )
        reverted = replace(
            self._reverted(at.prepared, at.order),
            outcome=RevertOutcome.PUSH_REJECTED,
            reason=shown(why, limit=500),
        )
        for branch in (name, f"{name}-{at.prepared.head[:7]}"):
            pushed = self._push_new(at, branch)
            if pushed.end is PushEnd.ACCEPTED:
                return replace(reverted, proposed_branch=branch, at_s=self._now())
            if pushed.end is PushEnd.BROKEN:
                raise _BranchMoved(pushed.sentence, True)
            if pushed.end is not PushEnd.RACED:
                return replace(
                    reverted,
                    reason=f"{reverted.reason} A branch for a pull request was refused too: {pushed.sentence}",
                )
            if found := self._proposed_before(at, branch):
                return replace(reverted, revert_sha=found, commits=(found,), proposed_branch=branch)
        return replace(
            reverted, reason=f"{reverted.reason} The branch {name} is taken by somebody else's commits."
        )

    def _push_new(self, at: _Pushing, branch: str) -> Pushed:
        return push(
            self._door, at.scratch.git_dir, at.mirror.url, at.prepared.commits[-1], branch, None,
            at.mirror.credential(), (at.descriptor,),
        )  # fmt: skip

    def _proposed_before(self, at: _Pushing, branch: str) -> str | None:
        """The tip of our branch from an earlier try of the same rollback, None if it is anything else."""
        self._door.run(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
            "--end-of-options", at.mirror.url, f"+refs/heads/{branch}:refs/proposed",
            git_dir=at.scratch.git_dir, credential=at.mirror.credential(), keep_open=(at.descriptor,),
        )  # fmt: skip
        (record,) = at.scratch.source().log("refs/proposed", at_most=1)
        return record.sha if is_rollback_of(record.message, at.order.deploy_id) else None

    def _read_again(self, mirror: Mirror, branch: str, reverted: Reverted) -> Reverted:
        """Read the head after the push: what we say is then what stands there, and the mirror knows it too."""
        try:
            head = mirror.refresh(branch)
        except BotFailure as failure:
            note = f"The push was accepted; reading {branch} again failed: {failure.reason}"
        else:
            if head == reverted.revert_sha:
                return reverted
            note = f"{branch} moved on to {head[:12]} right after the push."
        return replace(reverted, notes=(*reverted.notes, note))

    def _reverted(self, prepared: Prepared, order: RollbackOrder) -> Reverted:
        notes = prepared.notes
        if prepared.head != order.expected_head and not prepared.found:
            notes = (
                *notes,
                f"{order.branch} was at {order.expected_head[:12]} when this was decided and at {prepared.head[:12]} "
                "when it was done; everything was checked again.",
            )
        made = prepared.outcome is RevertOutcome.REVERTED
        return Reverted(
            prepared.outcome,
            prepared.reason,
            commits=prepared.commits,
            revert_sha=prepared.commits[-1] if made and prepared.commits else None,
            tree=prepared.tree,
            conflicts=tuple(shown_path(path) for path in prepared.conflicts),
            notes=notes,
            command=prepared.command,
            at_s=self._now(),
        )


def _head(door: GitDoor, mirror: Mirror, branch: str) -> str | None:
    """The branch's head as last fetched; None where there is no mirror of it."""
    if not mirror.exists:
        return None
    answer = door.run(
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"refs/heads/{branch}",
        git_dir=mirror.path,
        ok=(),
    )
    return answer.text if answer.code == 0 else None


def _source(door: GitDoor, mirror: Mirror, branch: str) -> Source:
    return Source(door, mirror.path, mirror.tips_seen(branch), mirror.repository)


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
        rollback_deploy=rollback_deploy_of(record.message),
        relands=_relands(source, record.message),
        committed_at_s=record.at_s,
    )


def _relands(source: Source, message: str) -> str | None:
    """The commit that this one brings back: named by our trailer, or reverted by what this one reverts."""
    named = trailers_of(message).get(RELANDS_TRAILER)
    if named:
        return named
    for sha in reverts_claimed(message):
        fact = source.objects([sha])[sha]
        if fact and fact.kind == "commit":
            before = reverts_claimed(source.log(sha, at_most=1)[0].message)
            if before:
                return before[0]
    return None


@contextlib.contextmanager
def _as_read_failure() -> Iterator[None]:
    """git's failures, and names that must not reach it, as CannotReadRepository."""
    try:
        yield
    except (GitFailed, BadName) as failure:
        raise CannotReadRepository(failure.reason) from failure


__all__ = ["CommitIdentity", "CommitShape", "GitRepositories", "Mainline"]
