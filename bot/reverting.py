"""Making the revert: check the commits against the branch, run `git revert -m 1` in isolation, prove the
result.

This is the one function behind the bot and behind `rollback-bot revert`; nothing in here reaches a network or
changes a branch. What comes out is a commit in a scratch repository, or the reason why there is none.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

import structlog

from bot.git_door import GitFailed
from bot.git_names import shown_path as shown_path
from bot.revert_checks import NotPossible, Prepared, RevertRequest, Todo, checked, listed, refused
from bot.revert_history import Source
from bot.revert_worktree import (
    Scratch,
    StepEnd,
    attribute_folders,
)
from policies.facts import RevertOutcome
from policies.revert_message import one_line, revert_message

log = structlog.get_logger(__name__)

_ROUNDS = 4
"""How often the sparse set may grow by folders that only the revert itself showed, before all is checked
out."""


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


def prepare(scratch: Scratch, source: Source, head: str, request: RevertRequest) -> Prepared:
    """Check and make the revert of `request` on `head`.

    `source` is where history is read. Repeating it makes the same decision on the same history. Raises
    GitFailed when history cannot be read, which says nothing about the request."""
    try:
        todo, notes, undone = checked(source, head, request)
        if not todo:
            return _already(source, head, undone, notes)
        done = _revert_all(scratch, source, head, request, todo)
        return _judged(scratch, request, head, todo, undone, notes, done)
    except NotPossible as answer:
        return answer.prepared


def _already(source: Source, head: str, undone: dict[str, str], notes: tuple[str, ...]) -> Prepared:
    by = tuple(dict.fromkeys(undone.values()))
    tree = source.objects([f"{head}^{{tree}}"])[f"{head}^{{tree}}"]
    return Prepared(
        RevertOutcome.ALREADY_REVERTED,
        f"Already reverted: {listed(f'{sha[:12]} by {other[:12]}' for sha, other in undone.items())}.",
        head,
        by,
        tree.sha if tree else None,
        notes=notes,
    )


# --- the revert itself ----------------------------------------------------------------------------


def _revert_all(
    scratch: Scratch, source: Source, head: str, request: RevertRequest, todo: tuple[Todo, ...]
) -> _Round:
    """`git revert` in the sparse worktree, grown by folders the revert turns out to need; in full if it
    must."""
    pairs = [(each.record.parents[each.mainline.parent - 1], each.record.sha) for each in todo]
    culprits = {path for paths in source.paths_between(pairs) for path in paths}
    known = set(culprits)
    folders, is_crowded = attribute_folders(source, head, known)
    because = "a folder that holds .gitattributes cannot be named in a sparse worktree"
    for _ in range(_ROUNDS):
        if folders is None:
            break
        scratch.populate(head, folders, narrow=is_crowded)
        done = _round(scratch, head, request, todo)
        if done.end is StepEnd.FAILED:
            because = f"git stopped in the sparse worktree: {done.sentence}"
            break
        more = {*done.conflicts, *done.merged, *done.touched} - known
        known |= more
        if not more:
            return replace(done, known=tuple(culprits))
        wanted, is_crowded = attribute_folders(source, head, known)
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
    scratch: Scratch, head: str, request: RevertRequest, todo: tuple[Todo, ...], *strategy: str
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
    scratch: Scratch, head: str, request: RevertRequest, todo: tuple[Todo, ...], done: _Round
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


def _message(request: RevertRequest, each: Todo) -> str:
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
    todo: tuple[Todo, ...],
    undone: dict[str, str],
    notes: tuple[str, ...],
    done: _Round,
) -> Prepared:
    names = [f"{each.record.sha[:12]} ({one_line(each.record.subject, 100)})" for each in todo]
    if done.end is StepEnd.CONFLICT:
        return _conflict(scratch, request, head, todo, notes, done)
    union = scratch.union_merged(done.merged)
    by_union = (
        f"{listed(shown_path(path) for path in union)}: merged by union (.gitattributes)" if union else ""
    )
    if done.end is StepEnd.EMPTY and union and set(done.known) <= set(union):
        raise refused(
            head,
            f"{by_union}, which keeps the lines of both sides, so git cannot take {listed(names)} back. "
            "Edit it by hand.",
            f"git show {todo[0].record.sha}",
        )
    if done.end is StepEnd.EMPTY:
        source = scratch.source()
        tree = source.objects([f"{head}^{{tree}}"])[f"{head}^{{tree}}"]
        return Prepared(
            RevertOutcome.ALREADY_REVERTED,
            f"Already reverted: nothing of {listed(names)} is left on {request.branch}.",
            head,
            tuple(dict.fromkeys(undone.values())),
            tree.sha if tree else None,
            notes=(*notes, f"{by_union}, so lines of both sides stay there. Look at it.") if union else notes,
        )
    if request.good_tree_of and head in request.commits and done.tree != done.good_tree:
        raise refused(
            head,
            f"After reverting {listed(names)} the files are not those of the last good deploy "
            f"{request.good_tree_of[:12]}; something else changed between. Nothing was pushed.",
            f"git diff {request.good_tree_of} {head}",
        )
    notes += tuple(f"There was nothing left of {sha[:12]} to revert." for sha in done.empty)
    if union:
        notes += (f"{by_union}, so lines of both sides were kept. Look at it.",)
    return Prepared(
        RevertOutcome.REVERTED,
        f"Reverted {listed(names)} on {request.branch}.",
        head,
        done.commits,
        done.tree,
        notes=notes,
        taken_back=tuple(each.record.sha for each in todo if each.record.sha not in done.empty),
    )


def _conflict(
    scratch: Scratch,
    request: RevertRequest,
    head: str,
    todo: tuple[Todo, ...],
    notes: tuple[str, ...],
    done: _Round,
) -> Prepared:
    order = [each.record.sha for each in todo]
    paths = tuple(sorted(done.conflicts))
    shas, on = " ".join(order), shlex.quote(request.branch)
    extra: tuple[str, ...] = ()
    named = [shown_path(path) for path in paths[:5]] + ([f"{len(paths) - 5} more"] if paths[5:] else [])
    where = f" in {listed(named)}" if named else ""
    # Line endings alone can conflict. Whether that is so is worth a second try; deciding it is a person's.
    scratch.start_over(head)
    again = _round(scratch, head, request, todo, "-Xrenormalize")
    option = "-Xrenormalize " if again.end is StepEnd.CLEAN else ""
    if option:
        extra = ("Only line endings are in the way: with -Xrenormalize it would revert cleanly.",)
    pull = "git pull --ff-only && " if request.has_upstream else ""
    return Prepared(
        RevertOutcome.CONFLICT,
        f"Reverting {done.at[:12]} conflicts with later changes on {request.branch}{where}."
        f"{f' {done.sentence}' if done.sentence else ''} Nothing was pushed.",
        head,
        conflicts=paths,
        notes=(*notes, *extra),
        command=f"git switch {on} && {pull}git revert -m 1 {option}{shas}",
    )
