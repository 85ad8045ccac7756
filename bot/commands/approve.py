"""`/rollback approve`: yes to the question that is open."""

from __future__ import annotations

from bot import comments_orders as say
from bot.command_ports import Call, CommandWorld, is_of_other_question, with_incident
from bot.comments_slack import other_question
from policies.asked import Asked, Reply
from policies.facts import Incident, IncidentState

WAITING = (IncidentState.ASKED, IncidentState.HELD)
CLOCKS_DIFFER_S = 30.0
"""GitHub's clock, which dates comments, may be behind ours."""


async def run(call: Call, world: CommandWorld) -> Reply:
    """The first valid answer wins; a later one is told who was first, and one that is late what became of it."""
    if call.deploy is None:
        return say.no_question(call.about, call.environment)
    incident = await world.incident_of(call.deploy)
    if is_of_other_question(call.asked, incident):
        return with_incident(other_question("Not approved."), incident)
    waits = incident is not None and incident.closed_at_s is None and incident.state in WAITING
    if incident is None or not waits or not await world.is_live(call.deploy):
        return with_incident(say.no_question(call.about, call.environment, incident, call.asked), incident)
    if is_older(call.asked, incident):
        return with_incident(say.older_than_the_question(incident), incident)
    considered = await world.consider(call.deploy, call.plan, call.ordered())
    if considered.decision.order is None:
        return with_incident(say.not_approved(considered), incident)
    await world.give(call.deploy, considered.order, False)
    followed = await world.followed(call.deploy, considered.order)
    reply = say.approved(followed, considered.decision.order, call.asked, incident)
    return with_incident(reply, followed.incident or incident)


def is_older(asked: Asked, incident: Incident) -> bool:
    """Whether the approval was written before the question that is open: it meant another one."""
    question_s = incident.decided_at_s if incident.state is IncidentState.ASKED else None
    return question_s is not None and asked.at_s < question_s - CLOCKS_DIFFER_S
