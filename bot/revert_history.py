"""What git says of commits and of the branch since them: heads, ancestry, shapes, reverts that already
happened.

Everything is read from a git directory that is ours (a mirror, or a scratch repository over somebody's
objects), in as few commands as possible: this is the hot path between verdict and push.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bot.git_door import NO_INDEX, GitDoor, GitFailed
from policies.facts import CommitShape
from policies.mainline import Mainline, TipBefore, mainline_of
from policies.revert_message import is_rollback_of

_TIPS_ASKED = 3


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """One commit as `git log` gives it."""

    sha: str
    parents: tuple[str, ...]
    tree: str
    at_s: float
    message: str

    @property
    def subject(self) -> str:
        return " ".join(self.message.split("\n\n", 1)[0].split())


@dataclass(frozen=True, slots=True)
class ObjectFact:
    """What `cat-file --batch-check` says of one name."""

    sha: str
    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where history is read: a git directory, and where its branch tips were seen before (newest first)."""

    door: GitDoor
    git_dir: Path
    tips_seen: tuple[str, ...] = ()
    repository: str | None = None

    def objects(self, names: Iterable[str]) -> dict[str, ObjectFact | None]:
        """Type and hash of each name, None for what is not there. One command."""
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        answer = self.door.run(
            "cat-file", "--batch-check", "-z", git_dir=self.git_dir,
            stdin=b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in wanted),
            env={"GIT_INDEX_FILE": NO_INDEX},
        )  # fmt: skip
        found: dict[str, ObjectFact | None] = dict.fromkeys(wanted)
        # A missing name is echoed, newlines and all: read from the shape of an answer, not line by line.
        rest = answer.out
        for name in wanted:
            echoed = name.encode("utf-8", "surrogateescape")
            if any(rest.startswith(echoed + word) for word in (b" missing\n", b" ambiguous\n")):
                rest = rest[len(echoed) :].partition(b"\n")[2]
                continue
            line, _, rest = rest.partition(b"\n")
            parts = line.split(b" ")
            if len(parts) != 3:
                raise GitFailed(f"git cat-file answered what it should not about {name[:100]!r}")
            found[name] = ObjectFact(parts[0].decode(), parts[1].decode(), int(parts[2]))
        return found

    def log(
        self, *revisions: str, first_parent: bool = False, at_most: int | None = None
    ) -> list[CommitRecord]:
        """Commits as `git log` walks them, newest first, parents always after children."""
        limits = [f"--max-count={at_most}"] if at_most is not None else []
        answer = self.door.run(
            "log", "-z", "--topo-order", "--no-color", "--no-decorate", "--encoding=UTF-8", "--no-notes",
            "--no-mailmap", "--format=%H%x00%P%x00%T%x00%ct%x00%B", *limits,
            *(["--first-parent"] if first_parent else []), "--end-of-options", *revisions, "--",
            git_dir=self.git_dir,
        )  # fmt: skip
        parts = answer.out.split(b"\0")
        return [
            CommitRecord(
                parts[i].decode(),
                tuple(parts[i + 1].decode().split()),
                parts[i + 2].decode(),
                float(parts[i + 3]),
                decoded(parts[i + 4]),
            )
            for i in range(0, len(parts) - 4, 5)
        ]

    def paths_between(self, pairs: Iterable[tuple[str, str]]) -> list[tuple[bytes, ...]]:
        """For each (old, new) pair of trees or commits the paths that differ, renames as two paths."""
        return [tuple(path for path, _, _ in each) for each in self.changes_between(pairs)]

    def changes_between(
        self, pairs: Iterable[tuple[str, str]]
    ) -> list[tuple[tuple[bytes, bytes, bytes], ...]]:
        """For each (old, new) pair of commits the (path, old mode and blob, new mode and blob) that
        differ."""
        found = []
        for old, new in pairs:
            answer = self.door.run(
                "diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-ext-diff",
                "--no-textconv", "--end-of-options", old, new, "--",
                git_dir=self.git_dir, env={"GIT_INDEX_FILE": NO_INDEX},
            )  # fmt: skip
            found.append(raw_changes(answer.fields()))
        return found

    def is_ancestor(self, older: str, newer: str) -> bool:
        return (
            self.door.run("merge-base", "--is-ancestor", older, newer, git_dir=self.git_dir, ok=(0, 1)).code
            == 0
        )

    def patch_id(self, old: str, new: str) -> bytes:
        """git's stable patch id of a change; b"" for one without text."""
        patch = self.door.run(
            "diff-tree", "-p", "--no-renames", "--full-index", "--no-ext-diff", "--no-textconv", "--binary",
            "--end-of-options", old, new, "--",
            git_dir=self.git_dir, env={"GIT_INDEX_FILE": NO_INDEX},
        )  # fmt: skip
        answer = self.door.run("patch-id", "--verbatim", git_dir=self.git_dir, stdin=patch.out)
        return answer.out.split(b" ")[0]


def raw_changes(fields: list[bytes]) -> tuple[tuple[bytes, bytes, bytes], ...]:
    """The fields of `diff-tree --raw -z` as (path, old mode+blob, new mode+blob)."""
    changes = []
    for i in range(0, len(fields) - 1, 2):
        old_mode, new_mode, old_blob, new_blob, _ = fields[i].lstrip(b":").split(b" ")
        changes.append((fields[i + 1], old_mode + b" " + old_blob, new_mode + b" " + new_blob))
    return tuple(changes)


def decoded(raw: bytes) -> str:
    """A commit message as text: UTF-8, and Latin-1 for the old ones that claim nothing and are not."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


@dataclass(frozen=True, slots=True)
class Since:
    """The branch since some commits: every commit that its head has and their parents do not."""

    head: str
    commits: tuple[CommitRecord, ...]
    by_sha: dict[str, CommitRecord] = field(default_factory=dict)

    def line(self) -> tuple[CommitRecord, ...]:
        """The first-parent line from the head down, as far as it was read; newest first."""
        found, at = [], self.head
        while (record := self.by_sha.get(at)) is not None:
            found.append(record)
            if not record.parents:
                break
            at = record.parents[0]
        return tuple(found)

    def position(self, sha: str) -> int:
        """Place of a commit in the order newest first."""
        return next(i for i, record in enumerate(self.commits) if record.sha == sha)


def read_since(source: Source, head: str, shas: tuple[str, ...]) -> Since:
    """The commits of `head` that are no ancestors of all of `shas`' parents; `shas` are among them exactly
    when they are ancestors of (or are) the head."""
    if len(shas) == 1:
        floor = [f"^{sha}^@" for sha in shas]
    else:
        base = source.door.run("merge-base", "--octopus", *shas, git_dir=source.git_dir, ok=(0, 1))
        floor = [f"^{base.text}^@"] if base.code == 0 and base.text else []
    records = source.log(head, *floor)
    return Since(head, tuple(records), {record.sha: record for record in records})


def own_revert(since: Since, deploy_id: str, of: tuple[str, ...]) -> tuple[CommitRecord, ...]:
    """Our commits for this deploy already on the branch, oldest first; none for a first attempt."""
    mine = [
        record
        for record in reversed(since.commits)
        if record.sha not in of and is_rollback_of(record.message, deploy_id)
    ]
    return tuple(mine)


def shape_on(
    source: Source,
    record: CommitRecord,
    branch: str,
    since: Since,
    also_tips: tuple[tuple[str, str], ...] = (),
) -> Mainline:
    """Which parent of `record` is the branch, by the tips seen before it arrived, else by its subject.

    `also_tips` are (sha, how it is known) of further commits known to have been the branch's tip."""
    if len(record.parents) < 2:
        return mainline_of(record.parents, record.subject, branch)
    on_line = _parent_on_the_line(record, since)
    if on_line > 1:
        why = f"{branch} itself came in as its parent {on_line}"
        return Mainline(CommitShape.FOXTROT, on_line, why)
    before = [sha for sha in source.tips_seen if sha not in since.by_sha][:_TIPS_ASKED]
    tips = [(sha, "seen by fetching") for sha in before]
    tips += [(sha, how) for sha, how in also_tips if sha not in since.by_sha]
    # A tip that is a parent itself settles it for nothing; only else git is asked, newest tip first.
    for sha, how in (*(tip for tip in tips if tip[0] in record.parents), *tips):
        sides = _sides(source, record.parents, sha)
        if sides:
            tip = TipBefore(sha, sides, how)
            return mainline_of(record.parents, record.subject, branch, (tip,), source.repository)
    return mainline_of(record.parents, record.subject, branch, (), source.repository)


def _parent_on_the_line(record: CommitRecord, since: Since) -> int:
    """For a merge that is no step of the branch itself: its parent that is one, 0 where none is."""
    line = since.line()
    if not line or record.sha in {each.sha for each in line} or not line[-1].parents:
        return 0
    below = line[-1].parents[0]
    return record.parents.index(below) + 1 if below in record.parents else 0


def _sides(source: Source, parents: tuple[str, ...], tip: str) -> tuple[int, ...]:
    if tip in parents:
        return (parents.index(tip) + 1,)
    return tuple(number for number, parent in enumerate(parents, start=1) if source.is_ancestor(tip, parent))
