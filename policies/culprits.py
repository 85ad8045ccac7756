"""Which merges? Those between the last good deploy and this one, newest first, less what is undone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from policies.attribution import Gate
from policies.facts import Change, CommitFacts, CommitShape, Culprit, PersonOrder, Verdict
from policies.limits import RollbackLimits


@dataclass(frozen=True, slots=True)
class Choice:
    """What a rollback would revert (newest first), what it leaves alone, and whether it may by itself."""

    culprits: tuple[Culprit, ...]
    left_alone: tuple[str, ...]
    verdict: Verdict

    @property
    def commits(self) -> tuple[str, ...]:
        return tuple(culprit.commit.sha for culprit in self.culprits)


def as_ordered(change: Change, person: PersonOrder | None) -> Change:
    """`change` cut down to the pull request that a person pointed at, if the deploy is known to have brought it.

    The rest of the deploy stays; so the tree afterwards is not that of the last good one."""
    number = person.pull_request if person is not None else None
    own = tuple(c for c in change.culprits if c.pull_request is not None and c.pull_request.number == number)
    if number is None or not own or len(own) == len(change.culprits):
        return change
    return replace(change, culprits=own, last_good=None)


def choose(change: Change, limits: RollbackLimits) -> Choice:
    """Choose from `change.culprits` (the whole range, newest first; `change.unknown` where it is not whole).

    The verdict's status is a `Gate`: hold where nothing can be reverted, ask where a person must say so,
    `number` and `limit` are merges. Slack's published median is three pull requests a deploy, so "the last
    merge" alone would be unsafe: all of the range goes back, up to `max_merges`."""
    chosen: list[Culprit] = []
    left_alone: list[str] = []
    in_range = {culprit.commit.sha for culprit in change.culprits}
    undoing = {by for c in change.culprits if (by := c.commit.already_reverted_by) in in_range}
    for culprit in change.culprits:
        commit = culprit.commit
        if commit.already_reverted_by is not None:
            by = short(commit.already_reverted_by)
            left_alone.append(f"{named(culprit)} is already reverted by {by}")
        elif commit.sha in undoing:
            left_alone.append(f"{named(culprit)} is the revert of another commit of this deploy")
        elif commit.rollback_deploy is not None:
            left_alone.append(f"{named(culprit)} is itself a rollback")
        else:
            chosen.append(culprit)
    return Choice(tuple(chosen), tuple(left_alone), _verdict(change, chosen, left_alone, limits))


def _verdict(change: Change, chosen: list[Culprit], left_alone: list[str], limits: RollbackLimits) -> Verdict:
    # A pull request that was merged by rebase is several commits, and one merge.
    merges = len({c.pull_request.number if c.pull_request else c.commit.sha for c in chosen})
    number, limit = float(merges), float(limits.max_merges)

    def said(gate: Gate, reason: str) -> Verdict:
        return Verdict(gate, reason, "culprits", number, limit)

    if not chosen:
        why = "; ".join(left_alone) or change.unknown or "the deploy brought no commit that I know"
        return said(Gate.HOLD, f"there is nothing to revert: {why}")
    for culprit in chosen:
        if (problem := _cannot(culprit.commit, change.branch)) is not None:
            return said(Gate.HOLD, f"{named(culprit)} {problem}")
    for culprit in chosen:
        if culprit.commit.shape is CommitShape.FOXTROT:
            return said(
                Gate.ASK,
                f"{named(culprit)} is a foxtrot merge, where -m 1 would remove the branch's own work: "
                "a person must name the mainline",
            )
    if change.unknown is not None:
        return said(Gate.ASK, f"the range of this deploy is not known ({_unstopped(change.unknown)})")
    if merges > limits.max_merges:
        return said(
            Gate.ASK, f"this deploy brought {merges} merges (max_merges {limits.max_merges} by itself)"
        )
    return said(Gate.PASS, f"it reverts {listed(chosen)}")


def good_tree_of(change: Change, choice: Choice, deployed_sha: str) -> str | None:
    """The commit whose tree the branch must have afterwards; None where other work lies in between."""
    whole = len(choice.culprits) == len(change.culprits) and change.unknown is None
    if not choice.culprits or not whole or change.head != deployed_sha:
        return None
    if change.culprits[0].commit.sha != deployed_sha:
        return None
    if change.last_good is not None:
        return change.last_good
    parents = choice.culprits[-1].commit.parents
    return parents[0] if parents else None


def listed(culprits: list[Culprit] | tuple[Culprit, ...]) -> str:
    """The culprits in words: "#42 (1a2b3c4)", "#44 (…) and #43 (…)"."""
    names = [named(culprit) for culprit in culprits]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def named(culprit: Culprit) -> str:
    """A culprit in a sentence: its pull request and short sha."""
    sha = short(culprit.commit.sha)
    return f"#{culprit.pull_request.number} ({sha})" if culprit.pull_request else sha


def short(sha: str) -> str:
    return sha[:7]


def _cannot(commit: CommitFacts, branch: str) -> str | None:
    if not commit.on_branch:
        return f"is not on {branch}"
    if commit.shape is CommitShape.ROOT:
        return "is the first commit of the repository, and its revert would delete every file"
    return None


def _unstopped(sentence: str) -> str:
    return sentence.rstrip().rstrip(".")
