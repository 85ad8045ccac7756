"""`/rollback [--env E] [--reason "…"] [--dry-run]`: revert this merged pull request."""

from __future__ import annotations

from bot import comments_orders as say
from bot.command_ports import Call, CommandWorld, with_incident
from policies.asked import Reply


async def run(call: Call, world: CommandWorld) -> Reply:
    """Consider the order first, so that one that would be refused disturbs no guard; then give it to the guard
    that is at work, or start a rollback of its own."""
    deploy = call.deploy
    if deploy is None:
        return say.nothing_to_roll_back(call.about, call.environment, call.asked.number)
    if call.plan.ignored:
        return say.not_guarded(call.plan.ignored)
    considered = await world.consider(deploy, call.plan, call.ordered())
    incident = await world.incident_of(deploy)
    order = considered.decision.order
    if call.command.dry_run:
        rehearsed = await world.rehearse(order) if order else None
        return say.dry_run(considered, rehearsed, call.plan, deploy)
    if order is None:
        return with_incident(say.not_rolled_back(considered, incident), incident)
    await world.give(deploy, considered.order, True)
    followed = await world.followed(deploy, considered.order)
    if not followed.heard and followed.incident is None and not followed.waiting:
        # The guard ended before it heard: nobody is at work now, so this starts one.
        await world.give(deploy, considered.order, True)
        followed = await world.followed(deploy, considered.order)
    return with_incident(say.rolling_back(followed, order, call.asked), followed.incident)
