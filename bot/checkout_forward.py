"""Bringing a checked-out branch forward over a person's uncommitted work, and losing none of it.

Files that the revert does not touch stay where they are. Only what would be overwritten is stashed, under a
name that says whose it is, and applied again afterwards; when that conflicts, the stash stays and the
command is told.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from bot import checkout_journal as journals
from bot.checkout_files import is_as_kept, is_no_folder, is_there, place, put_back
from bot.checkout_journal import Journal, Touched
from bot.failures import CannotRevert
from bot.git_door import GitFailed
from bot.git_names import git_sentence, shown
from bot.operator_checkout import Checkout, Uncommitted
from bot.revert_history import raw_changes
from bot.revert_worktree import CommitIdentity

log = structlog.get_logger(__name__)

_MODULE = b"160000"
_NAMED_AT_MOST = 5


class InTheWay(Exception):
    """The branch cannot be brought forward here; the sentence says why and what to do."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Forward:
    """A planned move of `branch` from `old` to `new`: the paths between them, and those to stash
    (`everything` when the stash must take all tracked changes). `here`: the branch is checked out in this
    work tree."""

    branch: str
    old: str
    new: str
    here: bool
    touched: dict[bytes, Touched]
    stash: tuple[bytes, ...] = ()
    everything: bool = False


def plan(checkout: Checkout, branch: str, old: str, new: str, extra_objects: Path) -> Forward:
    """How to bring `branch` from `old` to `new`. Changes nothing in the checkout.

    `extra_objects` is where the new commit's objects are until they are adopted. Raises InTheWay."""
    env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(extra_objects)}
    elsewhere = checkout.checked_out_elsewhere(branch)
    if elsewhere:
        raise InTheWay(f"{branch} is checked out in {elsewhere}. Run the command there.")
    changes = raw_changes(
        checkout.git(
            "diff-tree",
            "-r",
            "-z",
            "--raw",
            "--no-abbrev",
            "--no-renames",
            "--no-ext-diff",
            old,
            new,
            "--",
            env=env,
        ).fields()
    )
    touched = {path: _touched(before, after) for path, before, after in changes}
    here = checkout.work_tree is not None and checkout.checked_out() == branch
    if not here or old == new:
        return Forward(branch, old, new, here, touched)
    if sentence := checkout.obstacle():
        raise InTheWay(sentence)
    looking = checkout.looking()
    theirs = checkout.uncommitted(looking)
    _refuse_what_stash_cannot_see(theirs)
    _refuse_untracked_in_the_way(checkout, touched, theirs)
    overlap = sorted(theirs.dirty & set(touched))
    if not overlap:
        answer = checkout.git("read-tree", "-m", "-u", "--dry-run", old, new, ok=(), env={**env, **looking})
        if answer.code != 0:
            raise InTheWay(
                f"Bringing {branch} forward here would overwrite something: {git_sentence(answer.err)}. "
                "Commit it or move it away first."
            )
        return Forward(branch, old, new, here, touched)
    # A stash of single paths keeps the whole index in it: with anything else staged, it could not be applied.
    everything = bool(theirs.staged - set(overlap))
    return Forward(
        branch,
        old,
        new,
        here,
        touched,
        tuple(sorted(theirs.dirty)) if everything else tuple(overlap),
        everything,
    )


def bring_forward(checkout: Checkout, move: Forward, label: str, identity: CommitIdentity) -> tuple[str, ...]:
    """Do what was planned; notes for the person. The new commit's objects are in the checkout by now.

    Raises CannotRevert when it did not go through; then everything is as it was before."""
    if move.old == move.new:
        return ()
    if not move.here:
        journals.move_ref(checkout, f"refs/heads/{move.branch}", move.new, move.old)
        return ()
    journal = journals.begin(checkout, move.branch, move.old, move.new, label, move.touched, move.stash)
    try:
        checkout.git("update-index", "-q", "--refresh", ok=())
        stashed = _stash(checkout, journal, move, identity) if move.stash else None
        answer = checkout.git("read-tree", "-m", "-u", move.old, move.new, ok=())
        if answer.code != 0:
            raise CannotRevert(f"The work tree could not be brought forward: {git_sentence(answer.err)}")
        journals.move_ref(checkout, f"refs/heads/{move.branch}", move.new, move.old)
    except (CannotRevert, GitFailed) as failure:
        log.warning("checkout_going_back", because=failure.reason)
        journals.go_back(checkout, journal)
        _drop(checkout, label)
        journals.end(checkout, journal)
        raise CannotRevert(failure.reason) from failure
    notes = _apply(checkout, journal, stashed, identity) if stashed else ()
    journals.end(checkout, journal)
    return notes


def recover(checkout: Checkout, identity: CommitIdentity) -> tuple[str, ...]:
    """Put right what a killed run left: back if the branch had not moved, else on to the end. Notes for the
    person; CannotRevert when they changed things since."""
    journals.sweep_moving(checkout)
    journal = journals.unfinished(checkout)
    if journal is None:
        return ()
    log.warning("checkout_recovering", branch=journal.branch)
    journals.sweep_locks(checkout, journal)
    at = checkout.ref(f"refs/heads/{journal.branch}")
    if checkout.checked_out() != journal.branch or at not in (journal.old, journal.new):
        if not journal.kept:
            journals.end(checkout, journal)
            return ()
        raise CannotRevert(
            f"An earlier run was killed here and {journal.branch} was moved since. Your uncommitted files "
            f"of then are in {checkout.own_folder / 'journal' / 'kept'}; take what you need, then remove "
            f"{checkout.own_folder}."
        )
    if at == journal.old:
        journals.go_back(checkout, journal)
        _drop(checkout, journal.label)
        journals.end(checkout, journal)
        return ("An earlier run was killed here; your files were put back as they were.",)
    notes: tuple[str, ...] = ()
    stashed = _stash_entry(checkout, journal.label)
    if stashed:
        journals.reset_kept(checkout, journal, _merged(checkout, journal))
        notes = _apply(checkout, journal, stashed, identity)
    journals.end(checkout, journal)
    return ("An earlier run was killed here after the branch had moved; it was finished.", *notes)


def _touched(before: bytes, after: bytes) -> Touched:
    sides = [side.split(b" ") for side in (before, after)]
    old, new = (None if mode == b"000000" else blob.decode() for mode, blob in sides)
    return Touched(old, new, any(mode == _MODULE for mode, _ in sides))


def _refuse_what_stash_cannot_see(theirs: Uncommitted) -> None:
    for paths, what in (
        (theirs.unmerged, "has unmerged changes"),
        (theirs.intended, "was added with --intent-to-add, which a stash cannot hold"),
        (
            theirs.hidden,
            "is edited but marked assume-unchanged or skip-worktree, so git would not see the edit",
        ),
    ):
        if paths:
            raise InTheWay(f"{named(paths)} {what}. Commit it or undo that first; nothing was touched.")


def _refuse_untracked_in_the_way(
    checkout: Checkout, touched: dict[bytes, Touched], theirs: Uncommitted
) -> None:
    """git would refuse for untracked files, and overwrite ignored ones without a word."""
    root = checkout.work_tree or Path()
    ours = {path for path, each in touched.items() if each.old is not None}
    found = []
    for path, each in touched.items():
        if each.old is not None or each.new is None or each.is_module or path in theirs.dirty:
            continue
        parts = path.split(b"/")
        above = [b"/".join(parts[: depth + 1]) for depth in range(len(parts) - 1)]
        blocking = [one for one in above if one not in ours and is_no_folder(place(root, one))]
        at = place(root, path)
        if blocking:
            found.append(blocking[0])
        elif at.is_dir() and not at.is_symlink():
            found += [one for one in _files_below(root, at) if one not in ours]
        elif is_there(at) and not any(one in ours for one in above):
            found.append(path)
    if found:
        raise InTheWay(
            f"{named(found)} is not tracked here, and the revert brings a file of that name back. "
            "Move yours away first; nothing was touched."
        )


def _files_below(root: Path, folder: Path) -> list[bytes]:
    return [os.fsencode(at.relative_to(root)) for at in folder.rglob("*") if is_no_folder(at)]


def _stash(checkout: Checkout, journal: Journal, move: Forward, identity: CommitIdentity) -> str:
    """Stash what makes way; the stash commit. On a clean tree git makes none and exits 0: so compare."""
    before = checkout.ref("refs/stash")
    paths = () if move.everything else ("--pathspec-from-file=-", "--pathspec-file-nul")
    checkout.git(
        "stash", "push", "--quiet", "-m", journal.label, *paths,
        stdin=b"".join(path + b"\0" for path in move.stash), env=identity.env(),
    )  # fmt: skip
    after = checkout.ref("refs/stash")
    if after is None or after == before:
        raise CannotRevert("Your changes could not be stashed, so nothing was done.")
    return after


def _apply(checkout: Checkout, journal: Journal, stashed: str, identity: CommitIdentity) -> tuple[str, ...]:
    """Bring the stashed work back onto the new commit and drop the stash; on a conflict leave it there."""
    answer = checkout.git("stash", "apply", "--index", "--quiet", stashed, ok=(), env=identity.env())
    if answer.code != 0:
        journals.reset_to_new(checkout, journal)
        # What was staged cannot conflict in the index; without --index git leaves markers in the files.
        option = "" if "--index" in answer.err else "--index "
        both = [name for name in journal.kept if name in journal.touched] or list(journal.kept)
        others = [name for name in journal.kept if name not in both]
        also = f", with those to {named(others)}" if others else ""
        return (
            f"Your uncommitted changes to {named(both)} conflict with the revert. They are safe in "
            f"the stash {journal.label!r}{also}; bring them back with: git stash apply {option}{stashed}",
        )
    root, store = checkout.work_tree, checkout.own_folder / "journal" / "kept"
    for name, kept in journal.kept.items():
        # Line-ending conversion on the way through the stash may not change what the person had.
        if root and name not in journal.touched and not is_as_kept(root, os.fsencode(name), kept, store):
            put_back(root, os.fsencode(name), kept, store)
    _drop(checkout, journal.label)
    return ()


def _stashes(checkout: Checkout) -> list[tuple[str, str]]:
    """(sha, message) of every stash, newest first."""
    if checkout.ref("refs/stash") is None:
        return []
    answer = checkout.git("log", "-g", "-z", "--format=%H%x00%gs", "refs/stash", "--").fields()
    return [
        (answer[i].decode(), answer[i + 1].decode("utf-8", "replace")) for i in range(0, len(answer) - 1, 2)
    ]


def _stash_entry(checkout: Checkout, label: str) -> str | None:
    return next((sha for sha, message in _stashes(checkout) if message.endswith(f": {label}")), None)


def _drop(checkout: Checkout, label: str) -> None:
    """Drop our stash and no other, found by its label; nothing if there is none."""
    for number, (_, message) in enumerate(_stashes(checkout)):
        if message.endswith(f": {label}"):
            checkout.git("stash", "drop", "--quiet", f"stash@{{{number}}}")
            return


def _merged(checkout: Checkout, journal: Journal) -> dict[str, bytes]:
    """What a finished `stash apply` would have left in each text file that both sides changed."""
    found = {}
    for name, kept in journal.kept.items():
        each = journal.touched.get(name)
        if not each or not each.old or not each.new or kept.kind != "file":
            continue
        folder = checkout.own_folder / "merge"
        folder.mkdir(exist_ok=True)
        for which, blob in (("old", each.old), ("new", each.new)):
            (folder / which).write_bytes(checkout.git("cat-file", "blob", blob).out)
        mine = checkout.own_folder / "journal" / "kept" / kept.copy
        answer = checkout.git(
            "merge-file", "-p", "-q", str(folder / "new"), str(folder / "old"), str(mine), ok=()
        )
        if answer.code == 0:
            found[name] = answer.out
        for which in ("old", "new"):
            (folder / which).unlink()
        folder.rmdir()
    return found


def named(paths: Iterable[bytes | str]) -> str:
    """A few paths for a sentence."""
    listed = [shlex.quote(shown(os.fsdecode(path))) for path in paths]
    more = len(listed) - _NAMED_AT_MOST
    return ", ".join(listed[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
