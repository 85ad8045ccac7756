"""`/rollback help`: how to say it."""

from __future__ import annotations

from bot import comments_commands as say
from bot.command_ports import Call, CommandWorld
from policies.asked import Reply


async def run(call: Call, world: CommandWorld) -> Reply:
    """The usage."""
    return say.usage()
