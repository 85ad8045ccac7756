"""Tells whether a change was taken back since, and whether something of it has come back."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.git_door import NO_INDEX
from bot.revert_history import CommitRecord, Since, Source, raw_changes
from policies.facts import CommitShape
from policies.mainline import Mainline
from policies.revert_message import reverts_claimed

_COMPARED_AT_MOST = 2000
"""Commits since the culprit whose diffs are compared with it; beyond that only claims in messages are."""
FILES: Final = (b"100644", b"100755")


@dataclass(frozen=True, slots=True)
class Inverse:
    """A commit that takes another's change back exactly (`off`) or brings it in again."""

    sha: str
    off: bool


def undone_by(source: Source, record: CommitRecord, mainline: Mainline, since: Since) -> str | None:
    """The commit that took `record`'s change back and was not itself undone since; None while it is in force.

    Proven by content, in the order things happened: a commit whose change is the exact inverse switches it
    off, one whose change is the same switches it on again (a reland). Messages only point at where to
    look."""
    later = [each for each in since.line() if each.sha != record.sha and each.parents]
    if record.sha in {each.sha for each in since.line()}:
        later = later[: [each.sha for each in since.line()].index(record.sha)]
    claimed = {each.sha for each in since.commits if record.sha in reverts_claimed(each.message)}
    if len(later) > _COMPARED_AT_MOST:
        later = [each for each in later if each.sha in claimed]
    if not later or mainline.shape is CommitShape.ROOT:
        return None
    base = record.parents[max(mainline.parent, 1) - 1]
    state: str | None = None
    for each in _toggles(source, base, record.sha, tuple(reversed(later))):
        state = each.sha if each.off else None
    return state


def _toggles(source: Source, base: str, sha: str, later: tuple[CommitRecord, ...]) -> list[Inverse]:
    (change,) = source.changes_between([(base, sha)])
    touched = {path for path, _, _ in change}
    if not touched:
        return []
    same, inverse = set(change), {(path, new, old) for path, old, new in change}
    ids: dict[str, bytes] = {}
    found = []
    for each, theirs in zip(later, _changes_of(source, later), strict=True):
        if {path for path, _, _ in theirs} != touched:
            continue
        if set(theirs) in (same, inverse):
            found.append(Inverse(each.sha, set(theirs) == inverse))
            continue
        if not ids:
            ids = {"same": source.patch_id(base, sha), "inverse": source.patch_id(sha, base)}
        patch = source.patch_id(each.parents[0], each.sha)
        if patch and patch in ids.values():
            found.append(Inverse(each.sha, patch == ids["inverse"]))
    return found


def _changes_of(
    source: Source, records: tuple[CommitRecord, ...]
) -> list[tuple[tuple[bytes, bytes, bytes], ...]]:
    """The change of each commit against its first parent, all in one command."""
    lines = "".join(f"{each.sha} {each.parents[0]}\n" for each in records)
    answer = source.door.run(
        "diff-tree", "--stdin", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-ext-diff",
        "--no-textconv", "--always", git_dir=source.git_dir, stdin=lines.encode(),
        env={"GIT_INDEX_FILE": NO_INDEX},
    )  # fmt: skip
    groups: dict[str, list[bytes]] = {}
    current: list[bytes] = []
    fields = answer.fields()
    i = 0
    while i < len(fields):
        if fields[i].startswith(b":"):
            current += fields[i : i + 2]
            i += 2
        else:
            current = groups.setdefault(fields[i].strip().decode(), [])
            i += 1
    return [raw_changes(groups.get(each.sha, [])) for each in records]


def came_back(
    source: Source, record: CommitRecord, mainline: Mainline, since: Since, undone: str
) -> tuple[tuple[bytes, ...], str | None]:
    """The paths on which something of `record`'s change stands again although `undone` took it back, and the
    newest commit of the branch that changed one of them.

    A path counts if it stands as the change left it, or if merging the inverse of the change into it, three-way
    as git reverts, succeeds and changes it; what conflicts proves nothing. Raises GitFailed."""
    base = record.parents[max(mainline.parent, 1) - 1]
    change, stands = source.changes_between([(base, record.sha), (record.sha, since.head)])
    now = {path: entry for path, _left, entry in stands}
    found = tuple(
        path for path, before, after in change if _stands_again(source, before, after, now.get(path, after))
    )
    if not found:
        return (), None
    line = since.line()
    later = line[: next((n for n, each in enumerate(line) if each.sha == undone), 0)]
    by = (
        each.sha
        for each, theirs in zip(later, _changes_of(source, later), strict=True)
        if any(path in found for path, _, _ in theirs)
    )
    return found, next(by, None)


def _stands_again(source: Source, before: bytes, after: bytes, now: bytes) -> bool:
    if now in (before, after):
        return now == after
    return _inverse_changes(source, before, after, now)


def _inverse_changes(source: Source, before: bytes, after: bytes, now: bytes) -> bool:
    sides = [entry.split(b" ") for entry in (now, after, before)]
    if any(mode not in FILES for mode, _blob in sides):
        return False  # a link, a submodule, or no file at all: it is something else by now
    with tempfile.TemporaryDirectory(prefix="rollback-bot-") as folder:
        names = [Path(folder) / which for which in ("now", "after", "before")]
        for name, (_mode, blob) in zip(names, sides, strict=True):
            name.write_bytes(_content(source, blob.decode()))
        merged = source.door.run(
            "merge-file", "-p", "-q", "--", *map(str, names), git_dir=source.git_dir, ok=(),
        )  # fmt: skip
        return merged.code == 0 and merged.out != names[0].read_bytes()


def _content(source: Source, blob: str) -> bytes:
    return source.door.run(
        "cat-file", "blob", blob, git_dir=source.git_dir, env={"GIT_INDEX_FILE": NO_INDEX}
    ).out
