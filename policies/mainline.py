"""Which parent of a merge is the branch it landed on, and so what `git revert -m` must be told.

Normally that is the first parent. In a *foxtrot* merge (the branch merged into somebody's work, and that
pushed as the branch) it is not, and `-m 1` would silently remove what everybody else had deployed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from policies.facts import CommitShape

_MERGED = re.compile(
    r"Merge (?:(?P<tracking>remote-tracking )?branch )'(?P<name>[^']{1,255})'"
    r"(?: of (?P<url>\S{1,500}))?(?: into (?P<into>\S{1,255}))?\s*"
)
_UPSTREAMS = ("origin", "upstream")
_UNNAMED_DESTINATIONS = ("main", "master")


@dataclass(frozen=True, slots=True)
class TipBefore:
    """A commit known to have been the branch's tip before the merge arrived.

    `sides` are the 1-based parents from which it can be reached, `how` says where we know it from."""

    sha: str
    sides: tuple[int, ...]
    how: str


@dataclass(frozen=True, slots=True)
class Mainline:
    """The shape of a commit and the 1-based parent that is the mainline (0: it has none), and why."""

    shape: CommitShape
    parent: int
    why: str = ""


def mainline_of(
    parents: tuple[str, ...],
    subject: str,
    branch: str,
    tips_before: tuple[TipBefore, ...] = (),
    repository: str | None = None,
) -> Mainline:
    """Decide the mainline of a commit on `branch`.

    What was seen counts before what is said: a tip that only one parent contains settles it; without one,
    git's own default subject (`Merge branch 'develop' of … `) tells that the branch itself was merged into
    something. `repository` (`owner/name`, or just `name`) tells its own address from a fork's."""
    if not parents:
        return Mainline(CommitShape.ROOT, 0)
    if len(parents) == 1:
        return Mainline(CommitShape.PLAIN, 1)
    usual = CommitShape.MERGE if len(parents) == 2 else CommitShape.OCTOPUS
    for tip in tips_before:
        if 1 in tip.sides and len(tip.sides) < len(parents):
            return Mainline(usual, 1, f"{tip.sha[:12]} was the tip of {branch} before ({tip.how})")
        if tip.sides and 1 not in tip.sides:
            return Mainline(
                CommitShape.FOXTROT,
                tip.sides[0],
                f"the tip of {branch} before it was {tip.sha[:12]} ({tip.how}), which is on its parent "
                f"{tip.sides[0]}, not on parent 1",
            )
    if _merges_the_branch_itself(subject, branch, repository):
        return Mainline(
            CommitShape.FOXTROT, 2, f"its subject says that {branch} itself was merged into other work"
        )
    return Mainline(usual, 1)


def _merges_the_branch_itself(subject: str, branch: str, repository: str | None) -> bool:
    said = _MERGED.fullmatch(subject.strip())
    if not said:
        return False
    name, url, into = said["name"], said["url"], said["into"]
    if said["tracking"]:
        remote, _, name = name.partition("/")
        return name == branch and remote in _UPSTREAMS
    if name != branch or (into == branch and not url):
        return False
    if url:
        return _is_own_address(url, repository)
    # Git leaves " into …" out where it merged into main or master: then the branch was merged into those.
    return into is not None or branch not in _UNNAMED_DESTINATIONS


def _is_own_address(url: str, repository: str | None) -> bool:
    """Whether the address of `git pull` is the repository's own, not a fork's of which `git pull` is
    normal."""
    parts = [part for part in re.split(r"[/:]", url.removesuffix("/").removesuffix(".git").lower()) if part]
    if not repository:
        return True
    wanted = repository.lower().split("/")
    return parts[-len(wanted) :] == wanted
