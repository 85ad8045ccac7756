"""`/rollback why`: every decision with its reason."""

from __future__ import annotations

from bot import comments_reading as say
from bot.command_ports import Call, CommandWorld, with_incident
from policies.asked import Reply


async def run(call: Call, world: CommandWorld) -> Reply:
    """The gates of the last decision; before there is one, the gates as they stand now."""
    incident = await world.incident_of(call.deploy) if call.deploy else None
    return with_incident(say.why(call, incident), incident)
