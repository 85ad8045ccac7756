"""`/rollback reland`: a draft pull request that brings the change back."""

from __future__ import annotations

from bot import comments_reland as say
from bot.command_ports import Call, CommandWorld, with_incident
from policies.asked import Reply


async def run(call: Call, world: CommandWorld) -> Reply:
    """Revert the revert on a branch of its own; nothing reaches the guarded branch by this."""
    if call.about.merge_sha is None:
        return say.nothing_to_reland(call.about, "it was never merged")
    incident = await world.incident_of(call.deploy) if call.deploy else None
    relanded = await world.reland(call.asked, call.about, call.plan, incident)
    return with_incident(say.relanded(relanded, call.about, call.branch), incident)
