"""The record of being wrong: who is acquitted, and what the ledger counts."""

from __future__ import annotations

from dataclasses import replace

from policies.acquittal import Acquitted, acquits, judge_recovery, ledger
from policies.facts import Action, Decision, Incident, IncidentState, RollbackOrder
from tests.fakes import CHANGE, DEPLOY, FAILING, MERGE, PUSHED, REVERT, SHA, WELL

INCIDENT = Incident(
    "i", DEPLOY, IncidentState.REVERTED, "", DEPLOY.completed_at_s, watched=FAILING, change=CHANGE
)
RELAND = replace(MERGE, sha="f" * 40, relands=SHA)
BACK_IN_FORCE = replace(MERGE, already_reverted_by=None)


def rolled_back(ordered_by: str, *, acquitted: str = "", watched=FAILING) -> Incident:  # type: ignore[no-untyped-def]
    order = RollbackOrder("i", "501", "acme/stagelog", "develop", "develop", (SHA,), SHA, ordered_by, "")
    return replace(
        INCIDENT,
        decision=Decision(Action.ROLL_BACK, "", (), order),
        reverted=PUSHED,
        pushed_at_s=PUSHED.at_s,
        acquitted=acquitted,
        watched=watched,
    )


def test_a_rollback_that_did_not_help_acquits_the_deploy() -> None:
    verdict = judge_recovery(INCIDENT, FAILING, revert_was_deployed=True)
    assert verdict.status == "acquitted"
    assert verdict.reason.endswith("The deploy of aaaaaaaa was probably not the cause.")


def test_a_revert_that_was_not_deployed_proves_nothing() -> None:
    assert judge_recovery(INCIDENT, FAILING, revert_was_deployed=False).status == "not_tried"


def test_a_rollback_that_helped_acquits_nobody() -> None:
    assert judge_recovery(INCIDENT, WELL, revert_was_deployed=True).status == "helped"


def test_an_unmodified_reland_that_stays_healthy_proves_the_rollback_false() -> None:
    assert acquits(RELAND, BACK_IN_FORCE, WELL)


def test_other_relands_prove_nothing() -> None:
    mended = replace(MERGE, already_reverted_by=REVERT)
    assert not acquits(RELAND, mended, WELL), "it was changed on the way"
    assert not acquits(RELAND, BACK_IN_FORCE, FAILING), "it failed again"
    assert not acquits(RELAND, BACK_IN_FORCE, None), "nobody watched"
    assert not acquits(MERGE, BACK_IN_FORCE, WELL), "it is no reland"


def test_the_ledger_counts_its_own_mistakes() -> None:
    bot = "the failure budget"
    told = ledger(
        (
            rolled_back(bot),
            rolled_back(bot),
            rolled_back(bot),
            rolled_back(bot, acquitted=Acquitted.RELANDED_WELL),
            rolled_back("maria", watched=WELL),
            rolled_back("maria"),
            replace(INCIDENT, state=IncidentState.HELD),
        )
    )
    assert (told.rollbacks, told.false_rollbacks, told.missed, told.held, told.asked_by_people) == (
        4,
        1,
        1,
        1,
        2,
    )
    assert told.precision == 0.75 and told.recall == 0.75


def test_an_empty_ledger_claims_nothing() -> None:
    assert ledger(()).precision is None and ledger(()).recall is None
