"""The work-tree files of a checkout as bytes on disk: kept aside, compared, and put back exactly."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Kept:
    """How one path was: `absent`, a `file` (its bytes in `copy`, executable or not) or a `link` to
    `target`."""

    kind: str
    copy: str = ""
    executable: bool = False
    target: str = ""


def keep(root: Path, path: bytes, store: Path, number: int) -> Kept:
    """Copy the file at `path` below `root` into `store`; what is no file, link or nothing raises OSError."""
    at = place(root, path)
    try:
        facts = at.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Kept("absent")
    if stat.S_ISLNK(facts.st_mode):
        return Kept("link", target=str(at.readlink()))
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(f"{at} is neither a file nor a link")
    copy = store / f"{number:06d}"
    shutil.copyfile(at, copy, follow_symlinks=False)
    with copy.open("rb") as copied:
        os.fsync(copied.fileno())
    return Kept("file", copy.name, bool(facts.st_mode & stat.S_IXUSR))


def is_as_kept(root: Path, path: bytes, kept: Kept, store: Path) -> bool:
    """Whether the path is byte for byte as it was kept."""
    at = place(root, path)
    if kept.kind == "absent":
        return not is_there(at)
    if kept.kind == "link":
        return at.is_symlink() and str(at.readlink()) == kept.target
    return (
        at.is_file()
        and not at.is_symlink()
        and filecmp.cmp(at, store / kept.copy, shallow=False)
        and bool(at.stat().st_mode & stat.S_IXUSR) == kept.executable
    )


def put_back(root: Path, path: bytes, kept: Kept, store: Path) -> None:
    """Make the path as it was kept; through a rename, so that a kill in the middle leaves old or new."""
    if is_as_kept(root, path, kept, store):
        return
    if kept.kind == "absent":
        remove(root, path)
        return
    at, fresh = place(root, path), store / "fresh"
    at.parent.mkdir(parents=True, exist_ok=True)
    fresh.unlink(missing_ok=True)
    if kept.kind == "link":
        fresh.symlink_to(kept.target)
    else:
        mode = stat.S_IMODE(at.lstat().st_mode) if at.is_file() else 0o666 & ~_umask()
        shutil.copyfile(store / kept.copy, fresh)
        fresh.chmod((mode | ((mode & 0o444) >> 2)) if kept.executable else (mode & ~0o111))
    try:
        fresh.replace(at)
    except OSError:  # another file system: not atomic, but the copy stays until the journal goes
        shutil.copy(fresh, at, follow_symlinks=False)
        fresh.unlink()


def remove(root: Path, path: bytes) -> None:
    """Remove a file or link, and the folders that it leaves empty."""
    at = place(root, path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        at.unlink()
    for folder in at.parents:
        if folder == root:
            return
        try:
            folder.rmdir()
        except OSError:
            return


def place(root: Path, path: bytes) -> Path:
    """Where a path that git names by bytes lies below `root`."""
    return root / os.fsdecode(path)


def is_there(at: Path) -> bool:
    """Whether anything has that name, a broken link included."""
    return at.exists() or at.is_symlink()


def is_no_folder(at: Path) -> bool:
    """Whether a file or link (even one to a folder) has that name."""
    return at.is_symlink() or (at.exists() and not at.is_dir())


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
