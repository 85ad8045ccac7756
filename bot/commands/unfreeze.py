"""`/rollback unfreeze`: let the branch take merges again."""

from __future__ import annotations

from bot import comments_switches as say
from bot.command_ports import Call, CommandWorld
from bot.store_switches import SwitchName, branch_target
from policies.asked import Reply


async def run(call: Call, world: CommandWorld) -> Reply:
    """Lift the freeze and clear its checks."""
    target = branch_target(call.asked.repository, call.branch)
    was_on = await world.switch_off(call.asked, str(SwitchName.FREEZE), target)
    if not isinstance(was_on, bool):
        return say.overtaken(call.command.verb, was_on)
    return say.unfrozen(was_on, call.branch)
