"""The guard's stories, told against a fake world: no engine, no network, no clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.failures import BotFailure, CannotReachForge, CannotReadRepository, CannotRevert
from bot.guard import guard
from bot.ports import UNDEPLOYED
from policies.acquittal import Acquitted
from policies.facts import (
    Health,
    IncidentState,
    PersonOrder,
    Rails,
    Reverted,
    RevertOutcome,
    Switch,
    Verdict,
    Watched,
)
from policies.limits import Mode
from tests.fakes import BAD_BEFORE, DEPLOY, FAILING, PLAN, PUSHED, REVERT, SHA, WELL, FakeWorld

APPROVAL = PersonOrder("approve", "maria", DEPLOY.completed_at_s + 200, where="#42")
REJECTED = Reverted(
    RevertOutcome.PUSH_REJECTED, "develop is protected.", (SHA,), REVERT, proposed_branch="rollback-bot/1"
)
CONFLICT = Reverted(RevertOutcome.CONFLICT, "It conflicts in app.py.", (SHA,), conflicts=("app.py",))
CANCEL = PersonOrder("cancel", "maria", DEPLOY.completed_at_s + 200, where="#42")


def states(world: FakeWorld) -> list[IncidentState]:
    return [incident.state for incident in world.told]


async def test_a_bad_deploy_is_put_back_and_recovers() -> None:
    world = FakeWorld()
    await guard(DEPLOY, world)
    assert states(world) == [IncidentState.DETECTED, IncidentState.REVERTED, IncidentState.RECOVERED]
    assert [order.commits for order in world.orders] == [(SHA,)]
    assert world.recorded[-1].closed_at_s is not None
    assert world.recorded[-1].pushed_at_s == PUSHED.at_s


async def test_evidence_is_captured_before_the_revert_destroys_it() -> None:
    world = FakeWorld()
    await guard(DEPLOY, world)
    assert world.did.index("capture") < world.did.index("revert") < world.did.index("verify")
    assert world.told[1].evidence is not None


async def test_a_healthy_deploy_leaves_no_trace_on_the_pull_request() -> None:
    world = FakeWorld(watched=WELL)
    assert await guard(DEPLOY, world) == WELL.verdict.reason
    assert world.told == [] and world.orders == []


async def test_what_could_not_be_seen_is_no_evidence() -> None:
    unseen = Watched(Health.UNKNOWN, Verdict("unknown", "Nothing could be seen."), (), DEPLOY.completed_at_s)
    world = FakeWorld(watched=unseen)
    await guard(DEPLOY, world)
    assert world.orders == [] and world.closed == ["Nothing could be seen."]


async def test_a_service_that_was_bad_before_is_left_alone_and_the_comment_says_why() -> None:
    world = FakeWorld(baseline_=BAD_BEFORE)
    await guard(DEPLOY, world)
    assert world.orders == []
    assert world.told[1].state is IncidentState.HELD
    assert "I did not act" in world.told[1].reason
    assert world.recorded[-1].state is IncidentState.HELD


async def test_after_a_long_hold_on_a_live_outage_the_bot_asks_and_an_answer_acts() -> None:
    world = FakeWorld(baseline_=BAD_BEFORE, answers=[None, APPROVAL])
    await guard(DEPLOY, world)
    assert states(world)[1:3] == [IncidentState.HELD, IncidentState.ASKED]
    assert [order.ordered_by for order in world.orders] == ["maria"]


async def test_approve_mode_asks_first_and_nobody_answering_means_nothing_is_done() -> None:
    world = FakeWorld(plan_=replace(PLAN, mode=Mode.APPROVE))
    reason = await guard(DEPLOY, world)
    assert states(world) == [IncidentState.DETECTED, IncidentState.ASKED, IncidentState.HELD]
    assert reason.startswith("Nobody answered in time")
    assert world.orders == []


async def test_a_question_can_be_cancelled() -> None:
    world = FakeWorld(plan_=replace(PLAN, mode=Mode.APPROVE), answers=[CANCEL])
    assert await guard(DEPLOY, world) == "Cancelled by maria."
    assert world.orders == []


async def test_a_service_that_recovers_while_held_closes_the_incident() -> None:
    world = FakeWorld(baseline_=BAD_BEFORE, answers=[WELL])
    reason = await guard(DEPLOY, world)
    assert reason.startswith("The service recovered without a rollback.")
    assert world.recorded[-1].state is IncidentState.CLOSED


async def test_observing_says_what_it_would_have_done() -> None:
    world = FakeWorld(plan_=replace(PLAN, mode=Mode.OBSERVE))
    reason = await guard(DEPLOY, world)
    assert "I would have rolled back" in reason
    assert world.orders == [] and states(world)[-1] is IncidentState.CLOSED


async def test_a_protected_branch_gets_a_pull_request() -> None:
    world = FakeWorld(reverted=REJECTED)
    await guard(DEPLOY, world)
    assert states(world) == [IncidentState.DETECTED, IncidentState.PROPOSED, IncidentState.RECOVERED]


async def test_a_protected_branch_without_a_pull_request_is_a_failure_with_its_reason() -> None:
    world = FakeWorld(reverted=REJECTED, proposed=CannotReachForge("GitHub answered 502."))
    assert await guard(DEPLOY, world) == "GitHub answered 502."
    assert states(world)[-1] is IncidentState.FAILED


@pytest.mark.parametrize(
    ("reverted", "reason"),
    [
        (
            Reverted(RevertOutcome.CONFLICT, "It conflicts in app.py.", (SHA,), conflicts=("app.py",)),
            "It conflicts",
        ),
        (Reverted(RevertOutcome.REFUSED, "The repository is shallow.", (SHA,)), "The repository is shallow."),
        (CannotRevert("git ran out of disk."), "git ran out of disk."),
    ],
)
async def test_a_revert_that_cannot_be_done_ends_with_its_reason(
    reverted: Reverted | CannotRevert, reason: str
) -> None:
    world = FakeWorld(reverted=reverted)
    assert (await guard(DEPLOY, world)).startswith(reason)
    assert world.recorded[-1].state is IncidentState.FAILED and "verify" not in world.did


async def test_a_rollback_that_does_not_help_is_said_to_have_failed() -> None:
    world = FakeWorld(recovery=replace(FAILING, verdict=Verdict("unhealthy", "Still failing.")))
    reason = await guard(DEPLOY, world)
    assert reason == "Still failing. The deploy of aaaaaaaa was probably not the cause."
    assert states(world)[-1] is IncidentState.FAILED
    assert world.recorded[-1].acquitted == Acquitted.NO_RECOVERY


async def test_a_revert_that_was_never_deployed_acquits_nobody() -> None:
    unheard = replace(
        FAILING, verdict=Verdict("unhealthy", "No deploy of the revert was heard of.", UNDEPLOYED)
    )
    world = FakeWorld(recovery=unheard)
    await guard(DEPLOY, world)
    assert world.recorded[-1].acquitted == ""


async def test_the_deploy_of_our_own_revert_is_left_to_the_guard_that_waits_for_it() -> None:
    world = FakeWorld(of_incident="abc123")
    assert "abc123" in await guard(DEPLOY, world)
    assert "watch" not in world.did


async def test_an_ignored_deploy_is_not_watched() -> None:
    world = FakeWorld(plan_=replace(PLAN, ignored="A preview."))
    assert await guard(DEPLOY, world) == "A preview."
    assert world.did == []


async def test_a_plan_that_cannot_be_read_ends_the_guard_in_a_sentence() -> None:
    world = FakeWorld(plan_=CannotReachForge("GitHub answered 503."))
    assert await guard(DEPLOY, world) == "Not guarded: GitHub answered 503."


async def test_what_cannot_be_read_before_deciding_holds_and_says_so() -> None:
    world = FakeWorld(change_=CannotReadRepository("The mirror cannot be fetched."))
    await guard(DEPLOY, world)
    assert world.orders == []
    assert "The mirror cannot be fetched." in world.told[1].reason


async def test_a_kill_switch_stops_even_a_person() -> None:
    killed = Rails(switches=(Switch("kill", True, "maintenance"),))
    world = FakeWorld(rails_=[killed, killed, killed], answers=[APPROVAL])
    await guard(DEPLOY, world)
    assert world.orders == []


async def test_a_persons_order_while_watching_is_carried_out() -> None:
    order = PersonOrder("rollback", "maria", DEPLOY.completed_at_s + 30, reason="wrong prices")
    world = FakeWorld(watched=order)
    await guard(DEPLOY, world)
    assert [made.ordered_by for made in world.orders] == ["maria"]
    assert "wrong prices" in world.told[0].reason


async def test_the_incident_of_a_deploy_has_always_the_same_id() -> None:
    first, second = FakeWorld(), FakeWorld()
    await guard(DEPLOY, first)
    await guard(DEPLOY, second)
    assert first.told[0].id == second.told[0].id


class Clumsy(FakeWorld):
    """A world in which one thing that is not the revert itself always fails."""

    fails: str = ""

    def __getattribute__(self, name: str) -> object:
        if name == object.__getattribute__(self, "fails"):

            async def broken(*_: object, **__: object) -> None:
                raise BotFailure("Something of ours broke.")

            return broken
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("fails", ["tell", "capture", "verify", "baseline", "reverted_by_us", "freeze"])
async def test_a_mistake_of_ours_beside_the_revert_does_not_stand_in_its_way(fails: str) -> None:
    world = Clumsy(watched=replace(FAILING, samples=tuple(replace(s, crash=True) for s in FAILING.samples)))
    world.fails = fails
    assert await guard(DEPLOY, world)
    assert [order.commits for order in world.orders] == [(SHA,)]
    assert world.recorded[-1].closed_at_s is not None


async def test_a_watch_that_breaks_ends_the_guard_in_a_sentence() -> None:
    world = Clumsy()
    world.fails = "watch_or_order"
    assert await guard(DEPLOY, world) == "Not watched to the end: Something of ours broke."
