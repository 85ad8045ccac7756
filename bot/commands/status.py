"""`/rollback status`: how things stand."""

from __future__ import annotations

from bot import comments_reading as say
from bot.command_ports import Call, CommandWorld, with_incident
from policies.asked import Reply


async def run(call: Call, world: CommandWorld) -> Reply:
    """The deploy, its incident, whether it is watched, and every switch that is on."""
    incident = await world.incident_of(call.deploy) if call.deploy else None
    live = await world.is_live(call.deploy) if call.deploy else False
    switches = await world.standing(call.asked.repository, call.service, call.branch)
    return with_incident(say.status(call, incident, live, switches), incident)
