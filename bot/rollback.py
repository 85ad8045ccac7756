"""What happens once a deploy is bad or a person orders it back: evidence, decision, revert, verification."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, TypeVar

from bot.failures import BotFailure
from bot.ports import UNDEPLOYED, World
from policies.acquittal import Acquitted, judge_recovery
from policies.attribution import Gate
from policies.culprits import as_ordered
from policies.eligibility import may_roll_back
from policies.facts import (
    Action,
    Baseline,
    Decision,
    Deploy,
    Evidence,
    Health,
    Incident,
    IncidentState,
    PersonOrder,
    Reverted,
    RevertOutcome,
    Verdict,
    Watched,
)
from policies.limits import Plan

T = TypeVar("T")
CANCEL = "cancel"
PULL_REQUEST = "pull_request"


async def respond(
    deploy: Deploy,
    plan: Plan,
    baseline: Baseline,
    watched: Watched | None,
    order: PersonOrder | None,
    world: World,
    again: str = "",
) -> str:
    """Open the incident, capture what a redeploy would destroy, decide, and act or say why not.

    `watched` is None when a person orders before anything was seen; `again` tells this incident from an
    earlier one of the same deploy. The sentence that ended it."""
    incident = await world.record(_opened(deploy, baseline, watched, order, again), "Detected.")
    await if_possible(world.tell(incident, plan), None)
    latest = watched.samples[-1] if watched and watched.samples else None
    evidence = await if_possible(world.capture(deploy, plan, latest), None)
    incident = await world.record(replace(incident, evidence=evidence), _what_was_captured(evidence))
    return await _decided_and_done(incident, plan, order, world)


async def _decided_and_done(incident: Incident, plan: Plan, order: PersonOrder | None, world: World) -> str:
    """Decide, wait for people where they must say something, and carry out what comes of it; how it ended."""
    waited = False
    while True:
        incident = await _decide(incident, plan, order, world)
        decision = incident.decision
        if decision and decision.order:
            ended = await roll_back(incident, plan, world)
            if isinstance(ended, str):
                return ended
            incident, decision = ended, ended.decision
        await if_possible(world.tell(incident, plan), None)
        if decision and decision.action is Action.OBSERVE:
            return await _end(incident, IncidentState.CLOSED, decision.reason, plan, world)
        recovery, order = await if_possible(world.recovered_or_order(incident, plan), (None, None))
        if order is not None and order.verb == CANCEL:
            incident = replace(incident, person=order)
            return await _end(incident, IncidentState.CLOSED, f"Cancelled by {order.actor}.", plan, world)
        if order is None and recovery is not None:
            reason = f"The service recovered without a rollback. {recovery.verdict.reason}"
            incident = replace(incident, recovery=recovery)
            return await _end(incident, IncidentState.CLOSED, reason, plan, world)
        if order is None and (waited or incident.state is IncidentState.ASKED):
            return await _end(incident, IncidentState.HELD, _unanswered(incident), plan, world)
        waited = waited or order is None  # still failing: decide once more, which may now ask


async def roll_back(incident: Incident, plan: Plan, world: World) -> str | Incident:
    """Carry out `incident.decision.order`, tell, and verify that the service recovered; how it ended. The incident,
    held, if a switch was set after the decision and before the push."""
    order = incident.decision.order if incident.decision else None
    if order is None:
        raise ValueError("A rollback needs an order; only policies.eligibility makes one.")
    if (cancelled := await _cancelled(world)) is not None:
        return await _end_cancelled(incident, cancelled, plan, world)
    reverting = replace(incident, state=IncidentState.REVERTING)
    incident = await world.record(reverting, f"Rolling back, ordered by {order.ordered_by}.")
    try:
        reverted = await world.revert(order)
        if _wants_pull_request(reverted, plan):
            reverted = await world.propose(replace(incident, reverted=reverted), plan)
    except BotFailure as failure:
        reverted = Reverted(RevertOutcome.REFUSED, failure.reason, commits=order.commits)

    if reverted.outcome is RevertOutcome.STOPPED:
        return await _stopped(incident, reverted.reason, plan, world)
    incident = replace(incident, reverted=reverted, reason=reverted.reason)
    if reverted.pull_request is not None:
        incident = replace(incident, state=IncidentState.PROPOSED)
        what = f"Revert proposed as pull request #{reverted.pull_request.number}."
    elif reverted.outcome in (RevertOutcome.REVERTED, RevertOutcome.ALREADY_REVERTED):
        incident = replace(incident, state=IncidentState.REVERTED, pushed_at_s=reverted.at_s)
        what = "Revert pushed." if reverted.outcome is RevertOutcome.REVERTED else "Was already reverted."
    else:
        ended = await _end(incident, IncidentState.FAILED, reverted.reason, plan, world)
        await _freeze_after(incident, IncidentState.FAILED, plan, world)
        return ended
    incident = await world.record(incident, what)
    await if_possible(world.tell(incident, plan), None)

    recovery = await _verified(incident, plan, world)
    helped = judge_recovery(incident, recovery, revert_was_deployed=recovery.verdict.rule != UNDEPLOYED)
    state = IncidentState.RECOVERED if recovery.health is Health.HEALTHY else IncidentState.FAILED
    acquitted = Acquitted.NO_RECOVERY if helped.status == "acquitted" else ""
    incident = replace(incident, recovery=recovery, acquitted=acquitted)
    ended = await _end(incident, state, helped.reason, plan, world)
    await _freeze_after(incident, state, plan, world)
    return ended


async def _stopped(incident: Incident, why: str, plan: Plan, world: World) -> str | Incident:
    """Somebody spoke while the revert was being made, and nothing was pushed: cancelled, or held."""
    if (cancelled := await _cancelled(world)) is not None:
        return await _end_cancelled(incident, cancelled, plan, world)
    reason = f"I had decided to roll back, but before the push {why}: nothing was pushed."
    gates = (*(incident.decision.gates if incident.decision else ()), Verdict(Gate.HOLD, why, "hold"))
    held = replace(incident, decision=Decision(Action.HOLD, reason, gates), state=IncidentState.HELD)
    return await world.record(replace(held, reason=reason), "Held: stopped before the push.")


async def _end_cancelled(incident: Incident, cancelled: PersonOrder, plan: Plan, world: World) -> str:
    reason = f"Cancelled by {cancelled.actor} before anything was pushed."
    return await _end(replace(incident, person=cancelled), IncidentState.CLOSED, reason, plan, world)


async def if_possible(effect: Awaitable[T], otherwise: T) -> T:
    """What `effect` gives, or `otherwise` if it failed (the engine has logged why): a mistake of ours in
    telling or looking must neither end a guard nor stand in the way of a revert."""
    try:
        return await effect
    except BotFailure:
        return otherwise


async def _verified(incident: Incident, plan: Plan, world: World) -> Watched:
    try:
        return await world.verify(incident, plan)
    except BotFailure as failure:
        reason = f"I could not verify whether the service recovered. {failure.reason}"
        verdict = Verdict(Health.UNKNOWN, reason, UNDEPLOYED)
        return Watched(Health.UNKNOWN, verdict, (), incident.timeline[-1].at_s)


async def _freeze_after(incident: Incident, state: IncidentState, plan: Plan, world: World) -> None:
    wanted = plan.rollback.freeze_after
    if wanted == "always" or (wanted == "failed" and state is IncidentState.FAILED):
        await if_possible(world.freeze(incident, plan), None)


async def _cancelled(world: World) -> PersonOrder | None:
    """The order to stop, if one arrived while evidence was captured or the decision made. Whatever else was
    said meanwhile has been overtaken: whoever said it is told so by what happened."""
    while (order := await world.order_now()) is not None:
        if order.verb == CANCEL:
            return order
    return None


def incident_id(deploy: Deploy, again: str = "") -> str:
    """The same deploy always has the same incident, so a second run of a step finds what the first left;
    `again` is the request by which a person opened another one."""
    named = "\0".join(
        (deploy.repository, deploy.environment, deploy.id, deploy.sha, *([again] if again else []))
    )
    return hashlib.sha256(named.encode()).hexdigest()[:12]


def _opened(
    deploy: Deploy, baseline: Baseline, watched: Watched | None, order: PersonOrder | None, again: str
) -> Incident:
    reason = watched.verdict.reason if watched else ""
    if order is not None:
        reason = f"{order.actor} asked for {order.verb}. {order.reason}".strip()
    opened_at_s = order.at_s if order else watched.ended_at_s if watched else deploy.completed_at_s
    return Incident(
        id=incident_id(deploy, again),
        deploy=deploy,
        state=IncidentState.DETECTED,
        reason=reason,
        opened_at_s=opened_at_s,
        watched=watched,
        baseline=baseline,
        person=order,
    )


async def _decide(incident: Incident, plan: Plan, order: PersonOrder | None, world: World) -> Incident:
    """Read change and rails now, and let `policies.eligibility` decide; failures of ours hold."""
    try:
        change = as_ordered(await world.change(incident.deploy, plan), order)
        rails = await world.rails(incident.deploy, plan)
    except BotFailure as failure:
        reason = f"I could not read what I need to decide: {failure.reason}"
        held = replace(
            incident, decision=Decision(Action.HOLD, reason), state=IncidentState.HELD, reason=reason
        )
        return await world.record(held, f"Held: {reason}")
    decision = may_roll_back(
        incident_id=incident.id,
        deploy=incident.deploy,
        plan=plan,
        baseline=incident.baseline or Baseline((), "nothing"),
        watched=incident.watched,
        change=change,
        evidence=incident.evidence,
        rails=rails,
        person=order,
        now_s=rails.read_at_s,
    )
    state = IncidentState.ASKED if decision.action is Action.ASK else IncidentState.HELD
    if decision.order:
        state = IncidentState.DETECTED
    changes: dict[str, Any] = {
        "plan": plan,
        "rails": rails,
        "person": order,
        "change": change,
        "decision": decision,
        "state": state,
        "reason": decision.reason,
    }
    if state is IncidentState.ASKED:
        changes["asked_until_s"] = rails.read_at_s + plan.rollback.decide_within_s
    what = f"Decided: {decision.action.value.replace('_', ' ')}."
    return await world.record(replace(incident, **changes), what, stamp="decided_at_s")


def _what_was_captured(evidence: Evidence | None) -> str:
    if evidence is None:
        return "No evidence could be captured."
    return f"Evidence captured in {evidence.seconds:.1f} s."


async def _end(incident: Incident, state: IncidentState, reason: str, plan: Plan, world: World) -> str:
    ended = replace(incident, state=state, reason=reason)
    ended = await world.record(ended, f"Ended: {state.value}.", stamp="closed_at_s")
    await if_possible(world.tell(ended, plan), None)
    # What recovered after a rollback is the old version: it speaks for that one, not for this deploy.
    judged = incident.watched if incident.reverted else incident.recovery or incident.watched
    return await world.close(incident.deploy, plan, judged, reason)


def _unanswered(incident: Incident) -> str:
    if incident.state is IncidentState.ASKED:
        return f"Nobody answered in time, so nothing was done. {incident.reason}"
    return incident.reason


def _wants_pull_request(reverted: Reverted, plan: Plan) -> bool:
    return (
        reverted.proposed_branch is not None
        and PULL_REQUEST in (plan.rollback.method, plan.rollback.on_push_rejected)
        and reverted.outcome is RevertOutcome.PUSH_REJECTED
    )
