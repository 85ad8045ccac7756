"""What is known before anything is reverted: is each commit on the branch, still in force, and which way round?

Answers that end the matter (refused, already done) travel as `NotPossible`, so that the checks read as a list.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from bot.git_door import GitFailed
from bot.git_names import shown_path
from bot.revert_history import CommitRecord, Since, Source, own_revert, read_since, shape_on
from bot.revert_undone import came_back, undone_by
from bot.revert_worktree import CommitIdentity
from policies.facts import CommitShape, RevertOutcome
from policies.mainline import Mainline
from policies.revert_message import RevertTrailers


@dataclass(frozen=True, slots=True)
class RevertRequest:
    """What to revert on which branch, in whose name; `commits` in any order, full hashes.

    `good_tree_of` is the last good commit: when the head is one of `commits`, the tree must come out as its
    tree. `known_tips` are (sha, how it is known) that were the branch's tip at some time before.
    `has_upstream`: a person who is told a command can pull the branch first."""

    branch: str
    commits: tuple[str, ...]
    trailers: RevertTrailers
    identity: CommitIdentity
    good_tree_of: str | None = None
    known_tips: tuple[tuple[str, str], ...] = ()
    has_upstream: bool = True


@dataclass(frozen=True, slots=True)
class Prepared:
    """A revert that is ready to push (`outcome` REVERTED, `commits` oldest first), or why there is none.

    `found` marks commits of ours that were on the branch already: there is nothing to push. `taken_back` are the
    commits that were reverted, in the order in which they were: newest first."""

    outcome: RevertOutcome
    reason: str
    head: str
    commits: tuple[str, ...] = ()
    tree: str | None = None
    conflicts: tuple[bytes, ...] = ()
    notes: tuple[str, ...] = ()
    command: str | None = None
    found: bool = False
    taken_back: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Todo:
    record: CommitRecord
    mainline: Mainline


class NotPossible(Exception):
    """Carries the answer out of the checks."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(prepared.reason)
        self.prepared = prepared


def checked(
    source: Source, head: str, request: RevertRequest
) -> tuple[tuple[Todo, ...], tuple[str, ...], dict[str, str]]:
    """What there is to revert, newest first; what a person should know; what others reverted already."""
    commits = tuple(dict.fromkeys(request.commits))
    if not commits:
        raise refused(head, "No commit was named, so there is nothing to revert.")
    try:
        since = read_since(source, head, commits)
    except GitFailed:
        _refuse_what_is_no_commit(source, head, request.branch, commits)
        raise
    missing = [sha for sha in commits if sha not in since.by_sha]
    if missing:
        _refuse_what_is_no_commit(source, head, request.branch, commits)
        raise refused(
            head,
            f"{missing[0][:12]} is not on {request.branch} (its head is {head[:12]}): the branch was reset, or "
            "the commit was never merged there. Nothing was reverted.",
            f"git branch --all --contains {missing[0]}",
        )
    ours = own_revert(since, request.trailers.deploy_id, commits)
    if ours:
        raise NotPossible(
            Prepared(
                RevertOutcome.REVERTED,
                f"This deploy was rolled back before: {ours[-1].sha[:12]} on {request.branch} says so.",
                head,
                tuple(record.sha for record in ours),
                ours[-1].tree,
                found=True,
            )
        )
    return _decided(source, since, request, commits)


def _refuse_what_is_no_commit(source: Source, head: str, branch: str, commits: tuple[str, ...]) -> None:
    """Only asked when something is wrong: the hot path reads history once, and that is proof enough."""
    for sha, fact in source.objects(commits).items():
        if fact is None or fact.kind != "commit":
            what = "is not known here" if fact is None else f"is a {fact.kind}, not a commit"
            raise refused(
                head,
                f"{sha[:12]} {what}; only a commit of {branch} can be reverted.",
                f"git log --oneline {shlex.quote(branch)}",
            )


def _decided(
    source: Source, since: Since, request: RevertRequest, commits: tuple[str, ...]
) -> tuple[tuple[Todo, ...], tuple[str, ...], dict[str, str]]:
    todo, notes, undone = [], [], {}
    good = ((request.good_tree_of, "the last good deploy"),) if request.good_tree_of else ()
    for sha in sorted(commits, key=since.position):
        record = since.by_sha[sha]
        mainline = shape_on(source, record, request.branch, since, (*request.known_tips, *good))
        if mainline.shape is CommitShape.ROOT:
            raise refused(
                since.head,
                f"{sha[:12]} is the root of the history: reverting it would delete every file it brought. "
                "If that is what you want, do it by hand.",
                f"git revert {sha}",
            )
        if mainline.shape is CommitShape.FOXTROT:
            raise refused(
                since.head,
                f"{sha[:12]} is a foxtrot merge: {mainline.why}. `git revert -m 1` would remove what "
                f"{request.branch} had before it. Look at it, then revert it with -m {mainline.parent}.",
                f"git revert -m {mainline.parent} {sha}",
            )
        if mainline.shape is CommitShape.OCTOPUS:
            notes.append(
                f"{sha[:12]} merged {len(record.parents) - 1} branches at once; all of them are reverted."
            )
        by = undone_by(source, record, mainline, since)
        if by:
            undone[sha] = by
            notes += _again(source, record, mainline, since, by)
        else:
            todo.append(Todo(record, mainline))
    if todo:
        notes += [f"{sha[:12]} was already reverted by {by[:12]}." for sha, by in undone.items()]
    return tuple(todo), tuple(notes), undone


def _again(
    source: Source, record: CommitRecord, mainline: Mainline, since: Since, by: str
) -> tuple[str, ...]:
    """What of a change that was taken back stands there again: it came with a commit of its own."""
    paths, came_with = came_back(source, record, mainline, since, by)
    if not paths:
        return ()
    where = listed(
        [shown_path(path) for path in paths[:5]] + ([f"{len(paths) - 5} more"] if paths[5:] else [])
    )
    ask = f": revert {came_with[:12]}, which brought it." if came_with else ", so look at it."
    return (f"But something of {record.sha[:12]} is on {since.head[:12]} again, in {where}{ask}",)


def refused(head: str, reason: str, command: str | None = None) -> NotPossible:
    return NotPossible(Prepared(RevertOutcome.REFUSED, reason, head, command=command))


def listed(parts: Iterable[str]) -> str:
    found = list(parts)
    return found[0] if len(found) == 1 else ", ".join(found[:-1]) + " and " + found[-1] if found else ""
