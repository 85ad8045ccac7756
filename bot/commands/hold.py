"""`/rollback hold [2h] [--repo]`: watch and report, never act."""

from __future__ import annotations

from bot import comments_switches as say
from bot.command_ports import Call, CommandWorld, Later, with_incident
from bot.comments_commands import which_service
from bot.store_switches import SwitchName
from policies.asked import Reply
from policies.facts import Switch


async def run(call: Call, world: CommandWorld) -> Reply:
    """Set the hold of the service, or with `--repo` the kill switch of the repository."""
    name, target = switch_of(call)
    if not target:
        return which_service(call.command.verb)
    duration_s = call.command.duration_s
    until_s = None if duration_s is None else call.asked.at_s + duration_s
    switch = Switch(str(name), True, call.command.reason, until_s)
    if until_s is not None and until_s <= call.about.read_at_s:
        return say.over_already(call.command.verb, until_s)
    later = await world.switch_on(call.asked, switch, target)
    if isinstance(later, Later):
        return say.overtaken(call.command.verb, later)
    incident = await world.incident_of(call.deploy) if call.deploy else None
    return with_incident(say.held(switch, target, incident), incident)


def switch_of(call: Call) -> tuple[SwitchName, str]:
    """Which switch on what; no target where no service is known."""
    if call.command.whole_repository:
        return SwitchName.KILL, call.asked.repository
    return SwitchName.HOLD, call.service if call.environment else ""
