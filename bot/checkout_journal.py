"""What a run is about to do to somebody's checkout, written down first, so that a killed run can be put
right.

The journal holds the branch's old and new commit, the paths between them, the index as it was, and byte
copies of every uncommitted file that has to make way. A later run finds it and either goes back (the branch
had not moved yet) or finishes (it had). Where the person has edited those files since, it touches nothing
and says what to run.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog

from bot.checkout_files import Kept, is_as_kept, is_there, keep, put_back, remove
from bot.failures import CannotRevert
from bot.git_door import GitFailed
from bot.git_names import BadName, branch_name
from bot.operator_checkout import Checkout, blob_id

log = structlog.get_logger(__name__)

_AUTO_MERGE = "AUTO_MERGE"
"""Left behind by every `git stash apply` that merged; git itself removes it only with the next commit."""
_MOVING = "moving"
"""Names the one ref that is being moved, for as long as git is at it."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A path that differs between the branch's old and new commit: blob ids, None where it does not exist."""

    old: str | None
    new: str | None
    is_module: bool = False


@dataclass(frozen=True, slots=True)
class Journal:
    """One move of a checked-out branch. `kept` are the person's files that make way, `label` names the
    stash."""

    branch: str
    old: str
    new: str
    label: str
    started_at_s: float
    had_auto_merge: bool = False
    touched: dict[str, Touched] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)


def begin(
    checkout: Checkout,
    branch: str,
    old: str,
    new: str,
    label: str,
    touched: dict[bytes, Touched],
    away: Iterable[bytes],
) -> Journal:
    """Write the journal, at once and whole, before anything changes. Raises CannotRevert when it cannot
    be."""
    root, final = _root(checkout), checkout.own_folder / "journal"
    fresh = checkout.own_folder / "journal.new"
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        store = fresh / "kept"
        store.mkdir(parents=True)
        kept = {os.fsdecode(path): keep(root, path, store, n) for n, path in enumerate(sorted(away))}
        if (checkout.git_dir / "index").exists():
            shutil.copyfile(checkout.git_dir / "index", fresh / "index")
        had_auto_merge = (checkout.git_dir / _AUTO_MERGE).exists()
        paths = {os.fsdecode(path): each for path, each in touched.items()}
        journal = Journal(branch, old, new, label, time.time(), had_auto_merge, paths, kept)
        with (fresh / "journal.json").open("w") as out:
            json.dump(asdict(journal), out)
            out.flush()
            os.fsync(out.fileno())
        fresh.rename(final)
    except OSError as failure:
        shutil.rmtree(fresh, ignore_errors=True)
        raise CannotRevert(
            f"Your uncommitted files could not be kept aside, so nothing was done: {failure}"
        ) from failure
    return journal


def end(checkout: Checkout, journal: Journal) -> None:
    """Everything is in place: forget the journal. Renamed first, so that half a journal never counts."""
    if not journal.had_auto_merge:
        (checkout.git_dir / _AUTO_MERGE).unlink(missing_ok=True)
    done = checkout.own_folder / "journal.done"
    shutil.rmtree(done, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        (checkout.own_folder / "journal").rename(done)
    shutil.rmtree(done, ignore_errors=True)


def unfinished(checkout: Checkout) -> Journal | None:
    """The journal of a run that was killed, if there is one."""
    for leftover in ("journal.new", "journal.done"):
        shutil.rmtree(checkout.own_folder / leftover, ignore_errors=True)
    try:
        raw = json.loads((checkout.own_folder / "journal" / "journal.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as failure:
        raise CannotRevert(
            f"An earlier run was killed here and its journal cannot be read ({failure}). Look into "
            f"{checkout.own_folder}, then remove that folder."
        ) from failure
    return Journal(
        raw["branch"], raw["old"], raw["new"], raw["label"], raw["started_at_s"], raw["had_auto_merge"],
        {path: Touched(**each) for path, each in raw["touched"].items()},
        {path: Kept(**each) for path, each in raw["kept"].items()},
    )  # fmt: skip


def move_ref(checkout: Checkout, name: str, new: str, old: str | None = None) -> None:
    """Move one ref, having said so first: a git that is killed in it leaves a lock, which is then known for ours.
    May be repeated. Raises GitFailed."""
    mark = checkout.own_folder / _MOVING
    mark.parent.mkdir(exist_ok=True)
    mark.write_text(name)
    try:
        said = ("-m", "rollback-bot revert: brought forward")
        checkout.git("update-ref", *said, name, new, *((old,) if old else ()))
    finally:
        mark.unlink(missing_ok=True)


def sweep_moving(checkout: Checkout) -> None:
    """Remove the lock of a ref that a killed run was moving; one that was there before it is somebody else's."""
    mark = checkout.own_folder / _MOVING
    with contextlib.suppress(FileNotFoundError, BadName):
        name = mark.read_text()
        folder = checkout.common_dir.resolve()
        lock = (folder / f"{_ref(name)}.lock").resolve(strict=True)
        if lock.is_relative_to(folder):
            _sweep(lock, mark.stat().st_mtime)
    mark.unlink(missing_ok=True)


def _ref(name: str) -> str:
    """The name again, if it is a branch's or a remote branch's. Raises BadName."""
    for folder in ("refs/heads/", "refs/remotes/"):
        if name.startswith(folder):
            return folder + branch_name(name.removeprefix(folder))
    raise BadName("not a branch")


def sweep_locks(checkout: Checkout, journal: Journal) -> None:
    """Remove the lock files a killed git of ours left; younger than the journal, so not somebody's before
    us."""
    names = (
        "index.lock",
        "index.stash.*",  # `git stash push` builds its trees in an index of its own
        "HEAD.lock",
        f"refs/heads/{glob.escape(journal.branch)}.lock",
        "refs/stash.lock",
        "logs/refs/stash.lock",
        "packed-refs.lock",
        "ORIG_HEAD.lock",
        "AUTO_MERGE.lock",
    )
    for folder, name in itertools.product({checkout.git_dir, checkout.common_dir}, names):
        for left in folder.glob(name):
            _sweep(left, journal.started_at_s)


def _sweep(left: Path, since_s: float) -> None:
    """Remove the file if it is no older than `since_s` (epoch), to the second."""
    with contextlib.suppress(FileNotFoundError):
        if left.stat().st_mtime >= since_s - 1:
            left.unlink()
            log.info("checkout_lock_swept", lock=left.name)


def go_back(checkout: Checkout, journal: Journal) -> None:
    """The work tree and index as they were when the journal began. Raises CannotRevert, touching nothing,
    when a file was edited since."""
    root, store = _root(checkout), checkout.own_folder / "journal" / "kept"
    _not_edited_since(checkout, journal, merged={})
    saved_index = checkout.own_folder / "journal" / "index"
    if saved_index.exists():
        copy = checkout.own_folder / "index.back"
        shutil.copyfile(saved_index, copy)
        copy.replace(checkout.git_dir / "index")
    for name, each in journal.touched.items():
        path = os.fsencode(name)
        if name in journal.kept or each.is_module:
            continue
        if each.old is None:
            remove(root, path)
    again = [
        os.fsencode(name)
        for name, each in journal.touched.items()
        if name not in journal.kept and each.old is not None and not each.is_module
        and blob_id(root / name) != each.old
    ]  # fmt: skip
    if again:
        checkout.git(
            "checkout-index", "-f", "-q", "-z", "--stdin", stdin=b"".join(path + b"\0" for path in again)
        )
    for name, kept in sorted(journal.kept.items(), key=lambda pair: pair[1].kind != "absent"):
        put_back(root, os.fsencode(name), kept, store)
    checkout.git("update-index", "-q", "--refresh", ok=())


def reset_kept(checkout: Checkout, journal: Journal, merged: dict[str, bytes]) -> None:
    """The files that make way, and the index, as the branch's new commit has them, ready for the stash."""
    _not_edited_since(checkout, journal, merged)
    reset_to_new(checkout, journal)


def reset_to_new(checkout: Checkout, journal: Journal) -> None:
    """As `reset_kept`, without looking whether somebody edited a file: right after our own failed apply."""
    root = _root(checkout)
    checkout.git("read-tree", "--reset", journal.new)
    tracked = set(checkout.git("ls-files", "-z").fields())
    names = [os.fsencode(name) for name in journal.kept]
    for path in names:
        if path not in tracked:
            remove(root, path)
    present = [path for path in names if path in tracked]
    if present:
        checkout.git(
            "checkout-index", "-f", "-q", "-z", "--stdin", stdin=b"".join(path + b"\0" for path in present)
        )
    checkout.git("update-index", "-q", "--refresh", ok=())


def _not_edited_since(checkout: Checkout, journal: Journal, merged: dict[str, bytes]) -> None:
    """Every file is in one of the states our own steps leave it in; else somebody has been here since."""
    root, store = _root(checkout), checkout.own_folder / "journal" / "kept"
    for name in {*journal.touched, *journal.kept}:
        path = os.fsencode(name)
        at = root / name
        each = journal.touched.get(name)
        if each is not None and each.is_module:
            continue
        if name in journal.kept and is_as_kept(root, path, journal.kept[name], store):
            continue
        if not is_there(at):
            continue
        known = {each.old, each.new} if each else _committed(checkout, journal, name)
        here = blob_id(at)
        if here in known or _as_git_stores_it(checkout, path) in known:
            continue
        whole = [checkout.git("cat-file", "blob", blob).out for blob in known if blob]
        whole += [merged[name]] if name in merged else []
        if name in journal.kept and journal.kept[name].copy:
            whole.append((store / journal.kept[name].copy).read_bytes())
        # A git that is killed while it writes a file leaves the beginning of what it would have written.
        if at.is_file() and any(version.startswith(at.read_bytes()) for version in whole):
            continue
        raise CannotRevert(
            f"An earlier run was killed here, and {name!r} was edited since. Your files of then are kept in "
            f"{checkout.own_folder / 'journal' / 'kept'} and perhaps in `git stash list` as "
            f"{journal.label!r}. Take from there what you need, then remove {checkout.own_folder}."
        )


def _committed(checkout: Checkout, journal: Journal, name: str) -> set[str | None]:
    answer = checkout.git("rev-parse", "--verify", "--quiet", f"{journal.old}:{name}", ok=())
    return {answer.text} if answer.code == 0 else set()


def _as_git_stores_it(checkout: Checkout, path: bytes) -> str | None:
    """The blob id after line-ending conversion; None for what cannot be asked."""
    with contextlib.suppress(GitFailed):
        return checkout.git("hash-object", "--", os.fsdecode(path)).text
    return None


def _root(checkout: Checkout) -> Path:
    if checkout.work_tree is None:
        raise CannotRevert("A bare repository has no work tree to bring forward.")
    return checkout.work_tree
