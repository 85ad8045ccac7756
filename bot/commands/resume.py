"""`/rollback resume [--repo]`: act again."""

from __future__ import annotations

from bot import comments_switches as say
from bot.command_ports import Call, CommandWorld
from bot.commands.hold import switch_of
from bot.comments_commands import which_service
from policies.asked import Reply


async def run(call: Call, world: CommandWorld) -> Reply:
    """Clear what `hold` set, and tell what still stands in the way."""
    name, target = switch_of(call)
    if not target:
        return which_service(call.command.verb)
    was_on = await world.switch_off(call.asked, str(name), target)
    if not isinstance(was_on, bool):
        return say.overtaken(call.command.verb, was_on)
    left = await world.standing(call.asked.repository, call.service, call.branch)
    return say.resumed(was_on, target, left)
