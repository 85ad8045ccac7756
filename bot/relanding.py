"""Makes the branch that brings a rolled back change back: the revert of the revert, under our own message."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bot.failures import CannotReadRepository, CannotRevert
from bot.git_door import GitDoor, GitFailed
from bot.git_names import shown_path
from bot.mirror import Mirror
from bot.revert_on_mirror import PROPOSED_PREFIX, source_of
from bot.revert_push import PushEnd, push
from bot.revert_worktree import CommitIdentity, Scratch, StepEnd, scratch
from policies.revert_message import RELANDS_TRAILER, harmless, one_line, trailers_of

_TRIES = 3


@dataclass(frozen=True, slots=True)
class RelandBranch:
    """The branch that was pushed (or stood there from before), or why there is none."""

    branch: str | None
    relands: tuple[str, ...]
    reason: str = ""
    conflicts: tuple[str, ...] = ()
    command: str | None = None


def reland_branch(number: int) -> str:
    """The branch's name for a pull request."""
    return f"{PROPOSED_PREFIX}reland-{number}"


class Relander:
    """Works on one mirror, like `MirrorRevert`; nothing reaches the guarded branch."""

    def __init__(self, mirror: Mirror, door: GitDoor, scratch_root: Path, identity: CommitIdentity) -> None:
        self._mirror = mirror
        self._door = door
        self._scratch_root = scratch_root
        self._identity = identity

    def make(self, branch: str, number: int, title: str, undone: tuple[tuple[str, str], ...]) -> RelandBranch:
        """Push the branch of `number` with the reverts taken back. `undone`: (original sha, sha of its revert)
        pairs, in the order in which they were committed, oldest first.

        May be repeated: a branch that brings these back already is the answer, whatever was put on top of it.
        Raises CannotRevert when nothing could be tried."""
        try:
            with _as_cannot_revert():
                return self._make(branch, number, title, undone)
        except CannotReadRepository as failure:
            raise CannotRevert(failure.reason) from failure

    def _make(
        self, branch: str, number: int, title: str, undone: tuple[tuple[str, str], ...]
    ) -> RelandBranch:
        name, relands = reland_branch(number), tuple(original for original, _ in undone)
        head = self._mirror.refresh(branch)
        reverts = tuple(dict.fromkeys(by for _, by in reversed(undone)))
        with (
            self._mirror.reading() as descriptor,
            scratch(self._scratch_root, self._mirror.path / "objects", self._door, (descriptor,)) as place,
        ):
            source_of(self._door, self._mirror, branch)
            place.populate(head, None)
            parent = head
            for by in reverts:
                step = place.revert(by, self._identity)
                if step.end is StepEnd.EMPTY:
                    continue
                if step.end is not StepEnd.CLEAN:
                    return _stuck(step.end, by, step.conflicts, step.sentence, branch, name, reverts, relands)
                originals = tuple(original for original, revert in undone if revert == by)
                parent = place.commit(parent, self._message(title, by, originals), self._identity)
            if parent == head:
                return RelandBranch(
                    None, relands, f"Nothing is left to bring back: {branch} has the change already."
                )
            return self._push(place, parent, name, relands, descriptor)

    def _push(
        self, place: Scratch, sha: str, name: str, relands: tuple[str, ...], descriptor: int
    ) -> RelandBranch:
        for candidate in (name, *(f"{name}-{turn}" for turn in range(2, 2 + _TRIES))):
            pushed = push(
                self._door, place.git_dir, self._mirror.url, sha, candidate, None,
                self._mirror.credential(), (descriptor,),
            )  # fmt: skip
            if pushed.end is PushEnd.ACCEPTED:
                return RelandBranch(candidate, relands)
            if pushed.end is not PushEnd.RACED:
                return RelandBranch(None, relands, f"The branch {candidate} was refused: {pushed.sentence}")
            if self._brings_back(place, candidate, relands, descriptor):
                return RelandBranch(candidate, relands)
        return RelandBranch(
            None, relands, f"The branches {name}… are taken by other work; delete the oldest."
        )

    def _brings_back(self, place: Scratch, name: str, relands: tuple[str, ...], descriptor: int) -> bool:
        """Whether the branch that stands there is ours for the same commits."""
        self._door.run(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
            "--end-of-options", self._mirror.url, f"+refs/heads/{name}:refs/reland",
            git_dir=place.git_dir, credential=self._mirror.credential(), keep_open=(descriptor,),
        )  # fmt: skip
        records = place.source().log("refs/reland", at_most=50)
        named = {trailers_of(record.message).get(RELANDS_TRAILER) for record in records}
        return relands[-1] in named

    def _message(self, title: str, by: str, originals: tuple[str, ...]) -> str:
        subject = f'Reapply "{harmless(title, 160) or by[:12]}"'
        trailers = [f"{RELANDS_TRAILER}: {sha}" for sha in originals]
        if self._identity.sign_off:
            trailers.append(f"Signed-off-by: {one_line(f'{self._identity.name} <{self._identity.email}>')}")
        return "\n\n".join([subject, f"This reverts commit {by}.", "\n".join(trailers)]) + "\n"


def _stuck(
    end: StepEnd,
    by: str,
    conflicts: tuple[bytes, ...],
    sentence: str,
    branch: str,
    name: str,
    reverts: tuple[str, ...],
    relands: tuple[str, ...],
) -> RelandBranch:
    said = f" {sentence}" if sentence else ""
    if end is StepEnd.FAILED:
        raise CannotRevert(f"git could not take back {by[:12]}.{said}")
    switch = (
        f"git switch --create {shlex.quote(re.sub(r'^rollback-bot/', '', name))} origin/{shlex.quote(branch)}"
    )
    return RelandBranch(
        None,
        relands,
        f"Taking the revert {by[:12]} back conflicts with later changes on {branch}.{said}",
        tuple(shown_path(path) for path in conflicts),
        f"{switch} && git revert {' '.join(reverts)}",
    )


@contextlib.contextmanager
def _as_cannot_revert() -> Iterator[None]:
    try:
        yield
    except GitFailed as failure:
        raise CannotRevert(f"The change could not be brought back: {failure.reason}") from failure
