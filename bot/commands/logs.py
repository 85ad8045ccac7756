"""`/rollback logs`: the redacted evidence."""

from __future__ import annotations

from bot import comments_reading as say
from bot.command_ports import Call, CommandWorld, with_incident
from policies.asked import Reply


async def run(call: Call, world: CommandWorld) -> Reply:
    """What was captured before a redeploy destroyed it; a public place gets a link instead of the text."""
    incident = await world.incident_of(call.deploy) if call.deploy else None
    return with_incident(say.evidence(incident, call.about, call.plan), incident)
