"""`/rollback cancel`: leave it as it is, up to the push."""

from __future__ import annotations

from bot import comments_orders as say
from bot.command_ports import Call, CommandWorld, is_of_other_question, with_incident
from bot.comments_slack import other_question
from policies.asked import Reply


async def run(call: Call, world: CommandWorld) -> Reply:
    """Honest about time: what was pushed meanwhile is said, with what undoes it."""
    if call.deploy is None:
        return say.nothing_to_cancel(call.about, call.environment)
    incident = await world.incident_of(call.deploy)
    if is_of_other_question(call.asked, incident):
        return with_incident(other_question("Not cancelled."), incident)
    live = await world.is_live(call.deploy)
    if incident is None or incident.closed_at_s is not None or not live:
        reply = say.nothing_to_cancel(call.about, call.environment, incident, watching=live)
        return with_incident(reply, incident)
    if incident.pushed_at_s is not None or (incident.reverted and incident.reverted.pull_request):
        return with_incident(say.too_late(incident), incident)
    order = call.ordered()
    await world.give(call.deploy, order, False)
    followed = await world.followed(call.deploy, order)
    return with_incident(say.cancelled(followed, call.asked), followed.incident or incident)
