"""Making the revert: check the commits against the branch, run `git revert -m 1` in isolation, prove the
result.

This is the one function behind the bot and behind `rollback-bot revert`; nothing in here reaches a network or
changes a branch. What comes out is a commit in a scratch repository, or the reason why there is none.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace

import structlog

from bot.git_door import GitFailed
from bot.revert_history import CommitRecord, Since, Source, own_revert, read_since, shape_on, undone_by
from bot.revert_worktree import (
    CommitIdentity,
    Scratch,
    StepEnd,
    attribute_folders,
    is_crowded,
)
from policies.facts import CommitShape, RevertOutcome
from policies.mainline import Mainline
from policies.revert_message import RevertTrailers, one_line, revert_message

log = structlog.get_logger(__name__)

_ROUNDS = 4
"""How often the sparse set may grow by folders that only the revert itself showed, before all is checked
out."""


@dataclass(frozen=True, slots=True)
class RevertRequest:
    """What to revert on which branch, in whose name; `commits` in any order, full hashes.

    `good_tree_of` is the last good commit: when the head is one of `commits`, the tree must come out as its
    tree. `known_tips` are (sha, how it is known) that were the branch's tip at some time before."""

    branch: str
    commits: tuple[str, ...]
    trailers: RevertTrailers
    identity: CommitIdentity
    good_tree_of: str | None = None
    known_tips: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A revert that is ready to push (`outcome` REVERTED, `commits` oldest first), or why there is none.

    `found` marks commits of ours that were on the branch already: there is nothing to push."""

    outcome: RevertOutcome
    reason: str
    head: str
    commits: tuple[str, ...] = ()
    tree: str | None = None
    conflicts: tuple[bytes, ...] = ()
    notes: tuple[str, ...] = ()
    command: str | None = None
    found: bool = False


@dataclass(frozen=True, slots=True)
class _Todo:
    record: CommitRecord
    mainline: Mainline


@dataclass(frozen=True, slots=True)
class _Round:
    """One pass of `git revert` over everything that is to be done."""

    end: StepEnd
    commits: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    at: str = ""
    conflicts: tuple[bytes, ...] = ()
    merged: tuple[bytes, ...] = ()
    touched: tuple[bytes, ...] = ()
    known: tuple[bytes, ...] = ()
    sentence: str = ""
    tree: str | None = None
    good_tree: str | None = None


class _NotPossible(Exception):
    """Carries the answer out of the checks."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(prepared.reason)
        self.prepared = prepared


def prepare(scratch: Scratch, source: Source, head: str, request: RevertRequest) -> Prepared:
    """Check and make the revert of `request` on `head`.

    `source` is where history is read. Repeating it makes the same decision on the same history. Raises
    GitFailed when history cannot be read, which says nothing about the request."""
    try:
        todo, notes, undone = _checked(source, head, request)
        if not todo:
            return _already(source, head, undone)
        done = _revert_all(scratch, source, head, request, todo)
        return _judged(scratch, request, head, todo, undone, notes, done)
    except _NotPossible as answer:
        return answer.prepared


# --- checks ---------------------------------------------------------------------------------------


def _checked(
    source: Source, head: str, request: RevertRequest
) -> tuple[tuple[_Todo, ...], tuple[str, ...], dict[str, str]]:
    """What there is to revert, newest first; what a person should know; what others reverted already."""
    commits = tuple(dict.fromkeys(request.commits))
    if not commits:
        raise _refused(head, "No commit was named, so there is nothing to revert.")
    for sha, fact in source.objects(commits).items():
        if fact is None or fact.kind != "commit":
            what = "is not known here" if fact is None else f"is a {fact.kind}, not a commit"
            raise _refused(
                head,
                f"{sha[:12]} {what}; only a commit of {request.branch} can be reverted.",
                f"git log --oneline {shlex.quote(request.branch)}",
            )
    since = read_since(source, head, commits)
    for sha in commits:
        if sha not in since.by_sha:
            raise _refused(
                head,
                f"{sha[:12]} is not on {request.branch} (its head is {head[:12]}): the branch was reset, or "
                "the commit was never merged there. Nothing was reverted.",
                f"git branch --all --contains {sha}",
            )
    ours = own_revert(since, request.trailers.deploy_id, commits)
    if ours:
        raise _NotPossible(
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


def _decided(
    source: Source, since: Since, request: RevertRequest, commits: tuple[str, ...]
) -> tuple[tuple[_Todo, ...], tuple[str, ...], dict[str, str]]:
    todo, notes, undone = [], [], {}
    good = ((request.good_tree_of, "the last good deploy"),) if request.good_tree_of else ()
    for sha in sorted(commits, key=since.position):
        record = since.by_sha[sha]
        mainline = shape_on(source, record, request.branch, since, (*request.known_tips, *good))
        if mainline.shape is CommitShape.ROOT:
            raise _refused(
                since.head,
                f"{sha[:12]} is the root of the history: reverting it would delete every file it brought. "
                "If that is what you want, do it by hand.",
                f"git revert {sha}",
            )
        if mainline.shape is CommitShape.FOXTROT:
            raise _refused(
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
            notes.append(f"{sha[:12]} was already reverted by {by[:12]}.")
        else:
            todo.append(_Todo(record, mainline))
    return tuple(todo), tuple(notes), undone


def _refused(head: str, reason: str, command: str | None = None) -> _NotPossible:
    return _NotPossible(Prepared(RevertOutcome.REFUSED, reason, head, command=command))


def _already(source: Source, head: str, undone: dict[str, str]) -> Prepared:
    by = tuple(dict.fromkeys(undone.values()))
    tree = source.objects([f"{head}^{{tree}}"])[f"{head}^{{tree}}"]
    return Prepared(
        RevertOutcome.ALREADY_REVERTED,
        f"Already reverted: {_and(f'{sha[:12]} by {other[:12]}' for sha, other in undone.items())}.",
        head,
        by,
        tree.sha if tree else None,
    )


# --- the revert itself ----------------------------------------------------------------------------


def _revert_all(
    scratch: Scratch, source: Source, head: str, request: RevertRequest, todo: tuple[_Todo, ...]
) -> _Round:
    """`git revert` in the sparse worktree, grown by folders the revert turns out to need; in full if it
    must."""
    pairs = [(each.record.parents[each.mainline.parent - 1], each.record.sha) for each in todo]
    culprits = {path for paths in source.paths_between(pairs) for path in paths}
    known = set(culprits)
    folders = attribute_folders(source, head, known)
    because = "a folder that holds .gitattributes cannot be named in a sparse worktree"
    for _ in range(_ROUNDS):
        if folders is None:
            break
        scratch.populate(head, folders, narrow=is_crowded(source, head, folders))
        done = _round(scratch, head, request, todo)
        if done.end is StepEnd.FAILED:
            because = f"git stopped in the sparse worktree: {done.sentence}"
            break
        more = {*done.conflicts, *done.merged, *done.touched} - known
        known |= more
        wanted = attribute_folders(source, head, known) if more else folders
        if wanted is not None and set(wanted) <= set(folders):
            return replace(done, known=tuple(culprits))
        folders = wanted
    else:
        because = f"its set of folders kept growing for {_ROUNDS} rounds"
    log.warning("revert_full_checkout", head=head, because=because)
    scratch.populate(head, None)
    done = _round(scratch, head, request, todo)
    if done.end is StepEnd.FAILED:
        raise GitFailed(f"git revert failed: {done.sentence}")
    return replace(done, known=tuple(culprits))


def _round(
    scratch: Scratch, head: str, request: RevertRequest, todo: tuple[_Todo, ...], *strategy: str
) -> _Round:
    commits: list[str] = []
    empty: list[str] = []
    merged: list[bytes] = []
    parent = head
    for each in todo:
        step = scratch.revert(each.record.sha, request.identity, *strategy)
        merged += step.merged
        if step.end is StepEnd.CLEAN:
            parent = scratch.commit(parent, _message(request, each), request.identity)
            commits.append(parent)
        elif step.end is StepEnd.EMPTY:
            empty.append(each.record.sha)
        else:
            return _Round(step.end, at=each.record.sha, conflicts=step.conflicts, merged=tuple(merged),
                          sentence=step.sentence)  # fmt: skip
    end = StepEnd.CLEAN if commits else StepEnd.EMPTY
    done = _Round(end, tuple(commits), tuple(empty), merged=tuple(merged))
    return _with_trees(scratch, head, request, todo, done) if commits else done


def _with_trees(
    scratch: Scratch, head: str, request: RevertRequest, todo: tuple[_Todo, ...], done: _Round
) -> _Round:
    """The resulting tree beside those it is compared with, and the paths that changed."""
    source = scratch.source()
    before = todo[-1].record.parents[todo[-1].mainline.parent - 1]
    names = [f"{done.commits[-1]}^{{tree}}", f"{before}^{{tree}}"]
    if request.good_tree_of:
        names.append(f"{request.good_tree_of}^{{tree}}")
    facts = source.objects(names)
    trees = [fact.sha if (fact := facts[name]) else None for name in names]
    # Back at the tree from before the commits: the paths are exactly theirs, there is nothing to look for.
    same = trees[0] == trees[1]
    touched = () if same else source.paths_between([(head, done.commits[-1])])[0]
    return replace(done, tree=trees[0], touched=touched, good_tree=trees[2] if len(trees) > 2 else None)


def _message(request: RevertRequest, each: _Todo) -> str:
    identity = request.identity
    sign_off = f"{identity.name} <{identity.email}>" if identity.sign_off else None
    parents = each.record.parents
    mainline = parents[each.mainline.parent - 1] if len(parents) > 1 else None
    return revert_message(each.record.subject, each.record.sha, request.trailers, sign_off, mainline)


# --- what came of it ------------------------------------------------------------------------------


def _judged(
    scratch: Scratch,
    request: RevertRequest,
    head: str,
    todo: tuple[_Todo, ...],
    undone: dict[str, str],
    notes: tuple[str, ...],
    done: _Round,
) -> Prepared:
    names = [f"{each.record.sha[:12]} ({one_line(each.record.subject, 100)})" for each in todo]
    if done.end is StepEnd.CONFLICT:
        return _conflict(scratch, request, head, todo, notes, done)
    union = scratch.union_merged(done.merged)
    by_union = (
        f"{_and(shown_path(path) for path in union)}: merged by union (.gitattributes)" if union else ""
    )
    if done.end is StepEnd.EMPTY and union and set(done.known) <= set(union):
        raise _refused(
            head,
            f"{by_union}, which keeps the lines of both sides, so git cannot take {_and(names)} back. "
            "Edit it by hand.",
            f"git show {todo[0].record.sha}",
        )
    if done.end is StepEnd.EMPTY:
        source = scratch.source()
        tree = source.objects([f"{head}^{{tree}}"])[f"{head}^{{tree}}"]
        return Prepared(
            RevertOutcome.ALREADY_REVERTED,
            f"Already reverted: nothing of {_and(names)} is left on {request.branch}.",
            head,
            tuple(dict.fromkeys(undone.values())),
            tree.sha if tree else None,
            notes=(*notes, f"{by_union}, so lines of both sides stay there. Look at it.") if union else notes,
        )
    if request.good_tree_of and head in request.commits and done.tree != done.good_tree:
        raise _refused(
            head,
            f"After reverting {_and(names)} the files are not those of the last good deploy "
            f"{request.good_tree_of[:12]}; something else changed between. Nothing was pushed.",
            f"git diff {request.good_tree_of} {head}",
        )
    notes += tuple(f"There was nothing left of {sha[:12]} to revert." for sha in done.empty)
    if union:
        notes += (f"{by_union}, so lines of both sides were kept. Look at it.",)
    return Prepared(
        RevertOutcome.REVERTED,
        f"Reverted {_and(names)} on {request.branch}.",
        head,
        done.commits,
        done.tree,
        notes=notes,
    )


def _conflict(
    scratch: Scratch,
    request: RevertRequest,
    head: str,
    todo: tuple[_Todo, ...],
    notes: tuple[str, ...],
    done: _Round,
) -> Prepared:
    order = [each.record.sha for each in todo]
    paths = tuple(sorted(done.conflicts))
    shas, on = " ".join(order), shlex.quote(request.branch)
    extra: tuple[str, ...] = ()
    named = [shown_path(path) for path in paths[:5]] + ([f"{len(paths) - 5} more"] if paths[5:] else [])
    where = f" in {_and(named)}" if named else ""
    # Line endings alone can conflict. Whether that is so is worth a second try; deciding it is a person's.
    scratch.start_over(head)
    again = _round(scratch, head, request, todo, "-Xrenormalize")
    option = "-Xrenormalize " if again.end is StepEnd.CLEAN else ""
    if option:
        extra = ("Only line endings are in the way: with -Xrenormalize it would revert cleanly.",)
    return Prepared(
        RevertOutcome.CONFLICT,
        f"Reverting {done.at[:12]} conflicts with later changes on {request.branch}{where}."
        f"{f' {done.sentence}' if done.sentence else ''} Nothing was pushed.",
        head,
        conflicts=paths,
        notes=(*notes, *extra),
        command=f"git switch {on} && git pull --ff-only && git revert -m 1 {option}{shas}",
    )


def shown_path(path: bytes) -> str:
    """A path of any bytes as text fit for sentences and storage: what is no UTF-8 appears escaped."""
    return path.decode("utf-8", "backslashreplace")


def _and(parts: Iterable[str]) -> str:
    found = list(parts)
    return found[0] if len(found) == 1 else ", ".join(found[:-1]) + " and " + found[-1] if found else ""
