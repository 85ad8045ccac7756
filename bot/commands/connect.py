"""`/rollback connect`: who somebody in Slack is on GitHub."""

from __future__ import annotations

from bot.command_ports import CommandWorld
from policies.asked import Asked, Reply


async def run(asked: Asked, world: CommandWorld) -> Reply:
    """Needs no role and is about no pull request: it only says who is who."""
    return await world.connect(asked)
