"""`/rollback freeze [2h] --reason "…"`: stop merges to the branch by a failing check."""

from __future__ import annotations

from bot import comments_switches as say
from bot.command_ports import Call, CommandWorld, Later
from bot.store_switches import SwitchName, branch_target
from policies.asked import Reply
from policies.facts import Switch


async def run(call: Call, world: CommandWorld) -> Reply:
    """Freeze the branch that the pull request goes to."""
    duration_s = call.command.duration_s
    until_s = None if duration_s is None else call.asked.at_s + duration_s
    switch = Switch(str(SwitchName.FREEZE), True, call.command.reason, until_s)
    if until_s is not None and until_s <= call.about.read_at_s:
        return say.over_already(call.command.verb, until_s)
    end = await world.switch_on(call.asked, switch, branch_target(call.asked.repository, call.branch))
    if isinstance(end, Later):
        return say.overtaken(call.command.verb, end)
    return say.frozen(switch, call.branch, end.reason if end else "")
