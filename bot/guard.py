"""The life of one deploy, read from top to bottom: watch it, and if it fails, put it back."""

from __future__ import annotations

from dataclasses import replace

from bot.failures import BotFailure
from bot.ports import World
from bot.rollback import if_possible, respond
from policies.facts import Baseline, Deploy, Health, PersonOrder


async def guard(deploy: Deploy, world: World) -> str:
    """Guard one completed deploy to its end; the sentence that tells how it ended.

    Replayed from its checkpoints after a crash: everything outside is reached through `world` alone, and
    nothing here reads a clock, a file or a random number.
    """
    try:
        plan = await world.plan(deploy)
    except BotFailure as failure:
        return await world.close(deploy, None, None, f"Not guarded: {failure.reason}")
    deploy = replace(deploy, environment=plan.environment or deploy.environment)
    if plan.ignored:
        return await world.close(deploy, plan, None, plan.ignored)
    if incident_id := await if_possible(world.reverted_by_us(deploy, plan), None):
        return await world.close(
            deploy, plan, None, f"It is the revert of incident {incident_id}, whose guard verifies it."
        )

    baseline = await if_possible(world.baseline(deploy, plan), Baseline((), ""))
    try:
        watched, order = await world.watch_or_order(deploy, plan, baseline)
    except BotFailure as failure:
        return await world.close(deploy, plan, None, f"Not watched to the end: {failure.reason}")
    if order is None and (watched is None or watched.health is not Health.UNHEALTHY):
        reason = watched.verdict.reason if watched else "Nothing was seen."
        return await world.close(deploy, plan, watched, reason)
    return await respond(deploy, plan, baseline, watched, order, world)


async def ordered(deploy: Deploy, order: PersonOrder, world: World) -> str:
    """Carry out a person's rollback of a deploy that no guard watches any more; how it ended."""
    try:
        plan = await world.plan(deploy)
    except BotFailure as failure:
        return await world.close(deploy, None, None, f"Not rolled back: {failure.reason}")
    if plan.ignored:
        return plan.ignored
    baseline = await if_possible(world.baseline(deploy, plan), Baseline((), ""))
    return await respond(deploy, plan, baseline, None, order, world, again=order.id)
