"""Which merges a rollback reverts, and when it may not choose by itself."""

from __future__ import annotations

import pytest

from policies.attribution import Gate
from policies.culprits import choose, good_tree_of
from policies.facts import Change, CommitFacts, CommitShape, Culprit, PullRequestFacts
from policies.limits import RollbackLimits

LIMITS = RollbackLimits()
GOOD = "9" * 40


def sha(n: int) -> str:
    return f"{n:x}" * 40


def culprit(n: int, number: int | None = None, **facts: object) -> Culprit:
    """Commit `n` (sha "nnn…"), merged as pull request `number`."""
    values: dict[str, object] = {
        "sha": sha(n),
        "parents": (sha(n - 1), "f" * 40),
        "subject": f"Merge #{number}",
        "shape": CommitShape.MERGE,
        "on_branch": True,
    }
    commit = CommitFacts(**{**values, **facts})  # type: ignore[arg-type]
    pull = PullRequestFacts(number, "title", "dana", f"https://x/{number}") if number else None
    return Culprit(commit, pull)


def change(*culprits: Culprit, head: str | None = None, **facts: object) -> Change:
    head = head or (culprits[0].commit.sha if culprits else sha(5))
    return Change("develop", head, culprits, **{"last_good": GOOD, **facts})  # type: ignore[arg-type]


CASES = {
    "one pull request": (change(culprit(5, 42)), [5], Gate.PASS, "it reverts #42 (5555555)"),
    "several, newest first": (
        change(culprit(5, 44), culprit(4, 43), culprit(3)),
        [5, 4, 3],
        Gate.PASS,
        "it reverts #44 (5555555), #43 (4444444) and 3333333",
    ),
    "more than may go back by themselves": (
        change(*(culprit(n, 40 + n) for n in (7, 6, 5, 4, 3, 2))),
        [7, 6, 5, 4, 3, 2],
        Gate.ASK,
        "this deploy brought 6 merges (max_merges 5 by itself)",
    ),
    "one of them is undone already, by a commit of the same deploy": (
        change(culprit(5), culprit(4, 43), culprit(3, 42, already_reverted_by=sha(5))),
        [4],
        Gate.PASS,
        "it reverts #43 (4444444)",
    ),
    "all of it is undone already": (
        change(culprit(4, 43, already_reverted_by=sha(8))),
        [],
        Gate.HOLD,
        "there is nothing to revert: #43 (4444444) is already reverted by 8888888",
    ),
    "a rollback of ours in the range stays": (
        change(culprit(5, 44), culprit(4, rollback_deploy="d-1")),
        [5],
        Gate.PASS,
        "it reverts #44 (5555555)",
    ),
    "not on the branch": (
        change(culprit(5, 42, on_branch=False)),
        [5],
        Gate.HOLD,
        "#42 (5555555) is not on develop",
    ),
    "the root": (
        change(culprit(5, shape=CommitShape.ROOT, parents=())),
        [5],
        Gate.HOLD,
        "5555555 is the first commit of the repository, and its revert would delete every file",
    ),
    "a foxtrot": (
        change(culprit(5, 42, shape=CommitShape.FOXTROT)),
        [5],
        Gate.ASK,
        "#42 (5555555) is a foxtrot merge, where -m 1 would remove the branch's own work: "
        "a person must name the mainline",
    ),
    "an octopus goes back": (
        change(culprit(5, 42, shape=CommitShape.OCTOPUS)),
        [5],
        Gate.PASS,
        "it reverts #42 (5555555)",
    ),
    "history that is missing": (
        change(culprit(5, 42), unknown="9999999 is not on develop any more."),
        [5],
        Gate.ASK,
        "the range of this deploy is not known (9999999 is not on develop any more)",
    ),
    "nothing known": (
        change(),
        [],
        Gate.HOLD,
        "there is nothing to revert: the deploy brought no commit that I know",
    ),
}


@pytest.mark.parametrize(("facts", "chosen", "gate", "reason"), CASES.values(), ids=CASES.keys())
def test_the_choice_and_its_sentence(facts, chosen, gate, reason):
    choice = choose(facts, LIMITS)
    assert choice.commits == tuple(sha(n) for n in chosen)
    assert (choice.verdict.status, choice.verdict.reason) == (gate, reason)


def test_max_merges_of_the_configuration_counts():
    two = change(culprit(5, 44), culprit(4, 43))
    assert choose(two, RollbackLimits(max_merges=2)).verdict.status == Gate.PASS
    verdict = choose(two, RollbackLimits(max_merges=1)).verdict
    assert (verdict.status, verdict.number, verdict.limit) == (Gate.ASK, 2.0, 1.0)


def test_the_tree_afterwards_is_promised_only_for_a_whole_range_at_the_tip():
    def promised(facts: Change, deployed: int = 5) -> str | None:
        return good_tree_of(facts, choose(facts, LIMITS), sha(deployed))

    assert promised(change(culprit(5, 44), culprit(4, 43))) == GOOD
    assert promised(change(culprit(5, 44), last_good=None)) == sha(4), "its first parent"
    assert promised(change(culprit(5, 44), head=sha(7))) is None, "other work is on top"
    assert promised(change(culprit(5, 44), unknown="shallow")) is None
    assert promised(change(culprit(5, 44), culprit(4, already_reverted_by=sha(8)))) is None
    assert promised(change(culprit(5, 44)), deployed=6) is None
