"""Carrying out one `RollbackOrder` on a kept mirror: revert, push, and settle every way a push can end.

Optimistic: what was fetched while the guard watched is reverted at once, and the server's compare-and-swap
says whether that was still the head. Losing that race means: fetch, check everything again, revert again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from bot.failures import BotFailure, CannotReadRepository, CannotRevert
from bot.git_door import GitDoor, GitFailed
from bot.git_names import BadName, full_sha, shown, shown_path
from bot.mirror import Mirror
from bot.revert_checks import Prepared, RevertRequest
from bot.revert_history import Source
from bot.revert_push import Pushed, PushEnd, push
from bot.revert_worktree import CommitIdentity, Scratch, scratch
from bot.reverting import prepare
from policies.facts import Reverted, RevertOutcome, RollbackOrder
from policies.revert_message import RevertTrailers, is_rollback_of

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

    scratch: Scratch
    prepared: Prepared
    order: RollbackOrder
    descriptor: int


class MirrorRevert:
    """Reverts on one mirror. `scratch_root` is where worktrees may be made; `stop` is asked right before each
    push, and says why there may be none any more."""

    def __init__(
        self,
        mirror: Mirror,
        door: GitDoor,
        scratch_root: Path,
        identity: CommitIdentity,
        now: Callable[[], float],
        stop: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._mirror = mirror
        self._door = door
        self._scratch_root = scratch_root
        self._identity = identity
        self._now = now
        self._stop = stop

    def carry_out(self, order: RollbackOrder) -> Reverted:
        """Revert and push; names in `order` are checked already. May be repeated: looks for its own trace.

        Raises CannotRevert when nothing could be tried."""
        try:
            return self._until_settled(order)
        except CannotReadRepository as failure:
            raise CannotRevert(failure.reason) from failure
        except GitFailed as failure:
            raise CannotRevert(f"{order.repository} could not be reverted: {failure.reason}") from failure

    def rehearse(self, order: RollbackOrder) -> Reverted:
        """Revert on the branch's present head and throw the result away; no push, no trace. May be repeated.
        Raises CannotRevert."""
        mirror, branch = self._mirror, order.branch
        try:
            head = mirror.refresh(branch)
            with (
                mirror.reading() as descriptor,
                scratch(self._scratch_root, mirror.path / "objects", self._door, (descriptor,)) as place,
            ):
                source = source_of(self._door, mirror, branch)
                return self._reverted(prepare(place, source, head, self._request(order)), order)
        except CannotReadRepository as failure:
            raise CannotRevert(failure.reason) from failure
        except GitFailed as failure:
            raise CannotRevert(f"{order.repository} could not be reverted: {failure.reason}") from failure

    def _until_settled(self, order: RollbackOrder) -> Reverted:
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
                    return self._attempt_or_heal(order, fresh)
        except RetryError as exhausted:
            moved = exhausted.last_attempt.exception()
            if isinstance(moved, _BranchMoved) and moved.stopped_by_network:
                raise CannotRevert(
                    f"The push to {order.repository} did not go through: {moved.sentence}"
                ) from moved
        return Reverted(
            RevertOutcome.REFUSED,
            f"{order.branch} moved {_TRIES} times while the revert was being pushed. Nothing was pushed; "
            "try again.",
            at_s=self._now(),
        )

    def _attempt_or_heal(self, order: RollbackOrder, fresh: bool) -> Reverted:
        try:
            return self._attempt(order, fresh)
        except GitFailed as failure:
            log.warning("revert_failed_to_read", repository=order.repository, because=failure.reason)
            if not self._mirror.heal(order.branch, f"git could not read it: {failure.reason}"):
                return Reverted(RevertOutcome.REFUSED, f"git refused: {failure.reason}", at_s=self._now())
            return self._attempt(order, fresh=True)

    def _attempt(self, order: RollbackOrder, fresh: bool) -> Reverted:
        """One try. Optimistic at first: what the mirror knows is used as it is, and only the server's
        refusal, or an answer other than a revert, makes us fetch; the push cannot succeed on stale
        knowledge."""
        mirror, branch = self._mirror, order.branch
        head = None if fresh else head_of(self._door, mirror, branch)
        if head is None or head != order.expected_head:
            head, fresh = mirror.refresh(branch), True
        request = self._request(order)
        with (
            mirror.reading() as descriptor,
            scratch(self._scratch_root, mirror.path / "objects", self._door, (descriptor,)) as place,
        ):
            prepared = prepare(place, source_of(self._door, mirror, branch), head, request)
            if prepared.outcome is RevertOutcome.REVERTED and not prepared.found:
                reverted = self._push(_Pushing(place, prepared, order, descriptor))
            elif fresh or prepared.found:
                return self._reverted(prepared, order)
            else:
                reverted = None
        if reverted is None:
            return self._attempt(order, fresh=True)
        is_pushed = reverted.outcome is RevertOutcome.REVERTED
        return self._read_again(branch, reverted) if is_pushed else reverted

    def _request(self, order: RollbackOrder) -> RevertRequest:
        return RevertRequest(
            order.branch,
            order.commits,
            RevertTrailers(order.deploy_id, order.incident_id, order.ordered_by, order.reason),
            self._identity,
            order.good_tree_of,
        )

    def _push(self, at: _Pushing) -> Reverted:
        sha = at.prepared.commits[-1]
        if (why := self._stop()) is not None:
            return Reverted(RevertOutcome.STOPPED, why, at_s=self._now())
        if at.order.method == "pull_request":
            return self._propose(at, "This environment rolls back by pull request.")
        pushed = push(
            self._door, at.scratch.git_dir, self._mirror.url, sha, at.order.branch, at.prepared.head,
            self._mirror.credential(), (at.descriptor,),
        )  # fmt: skip
        log.info(
            "revert_pushed", repository=at.order.repository, branch=at.order.branch, sha=sha, end=pushed.end
        )
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
                    reason=f"{reverted.reason} A branch for a pull request was refused too: "
                    f"{pushed.sentence}",
                )
            if found := self._proposed_before(at, branch):
                return replace(reverted, revert_sha=found, commits=(found,), proposed_branch=branch)
        return replace(
            reverted, reason=f"{reverted.reason} The branch {name} is taken by somebody else's commits."
        )

    def _push_new(self, at: _Pushing, branch: str) -> Pushed:
        return push(
            self._door, at.scratch.git_dir, self._mirror.url, at.prepared.commits[-1], branch, None,
            self._mirror.credential(), (at.descriptor,),
        )  # fmt: skip

    def _proposed_before(self, at: _Pushing, branch: str) -> str | None:
        """The tip of our branch from an earlier try of the same rollback, None if it is anything else."""
        self._door.run(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
            "--end-of-options", self._mirror.url, f"+refs/heads/{branch}:refs/proposed",
            git_dir=at.scratch.git_dir, credential=self._mirror.credential(), keep_open=(at.descriptor,),
        )  # fmt: skip
        (record,) = at.scratch.source().log("refs/proposed", at_most=1)
        return record.sha if is_rollback_of(record.message, at.order.deploy_id) else None

    def _read_again(self, branch: str, reverted: Reverted) -> Reverted:
        """Read the head after the push: what we say is then what stands there, and the mirror knows it
        too."""
        try:
            head = self._mirror.refresh(branch)
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
                f"{order.branch} was at {order.expected_head[:12]} when this was decided and at "
                f"{prepared.head[:12]} when it was done; everything was checked again.",
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


def head_of(door: GitDoor, mirror: Mirror, branch: str) -> str | None:
    """The branch's head as last fetched; None where there is no mirror of it."""
    if not mirror.exists:
        return None
    # A fetch leaves the ref as a file of its own; asking git would cost a process on the hot path.
    with contextlib.suppress(OSError, BadName):
        return full_sha((mirror.path / "refs" / "heads" / branch).read_text().strip())
    answer = door.run(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/heads/{branch}", git_dir=mirror.path, ok=()
    )  # fmt: skip
    return answer.text if answer.code == 0 else None


def source_of(door: GitDoor, mirror: Mirror, branch: str) -> Source:
    """The mirror as a place to read the history of `branch` from."""
    return Source(door, mirror.path, mirror.tips_seen(branch), mirror.repository)
