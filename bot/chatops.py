"""The story of one command: seen, allowed or not, carried out, written down, answered once.

Told over `CommandWorld`, so that it is the same wherever the command came from; what a verb does stands in
`bot/commands/`, every sentence in `bot/comments_commands.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from bot import comments_commands as say
from bot import comments_slack as say_in_slack
from bot.command_ports import About, Call, CommandWorld
from bot.commands import VERBS, connect
from bot.comments_headline import is_reverted
from bot.failures import BotFailure
from policies.asked import SLACK, Asked, Reply
from policies.chatops import Command
from policies.facts import Deploy, Incident
from policies.permission import NOT_DONE, READING, Permission, may, needed, teams_in

log = structlog.get_logger(__name__)

CONNECT = "connect"
MOST_ENVIRONMENTS = 5


def _is_open(incident: Incident) -> bool:
    return incident.closed_at_s is None


_ABOUT_AN_INCIDENT: dict[str, Callable[[Incident], bool]] = {
    "approve": _is_open,
    "cancel": _is_open,
    "logs": lambda incident: incident.evidence is not None,
    "reland": is_reverted,
}
"""Of several environments the one whose incident a command can only mean."""


async def answer(asked: Asked, world: CommandWorld) -> str:
    """Answer one request to its end; the result in a few words. Replayed after a crash: everything outside
    is reached through `world`, every effect looks for its own trace."""
    await world.seen(asked)
    try:
        if asked.place == SLACK:
            asked = await world.identified(asked)
        reply = await _reply(asked, world)
    except BotFailure as failure:
        reply = say.could_not(asked, failure.reason)
    await world.note(asked, reply)
    try:
        await world.answer(asked, reply)
    except BotFailure as failure:
        log.warning("command.unanswered", command=asked.id, reason=failure.reason)
    return reply.result


async def _reply(asked: Asked, world: CommandWorld) -> Reply:
    command = asked.command
    in_slack = asked.place == SLACK
    if command is not None and command.verb == CONNECT:
        return await connect.run(asked, world)
    if command is None or command.verb not in VERBS:
        return (say_in_slack.misunderstood if in_slack else say.misunderstood)(asked.misunderstood)
    if command.verb == "help":
        return say_in_slack.usage() if in_slack else say.usage()
    if in_slack and (said := await _said_in_slack(asked, command, world)) is not None:
        return said
    about = await world.about(asked)
    chosen = await _environments(command, about, world)
    if isinstance(chosen, Reply):
        return chosen
    replies = {one: await _in_environment(asked, command, about, one, world) for one in chosen}
    return say.of_several(replies) if len(replies) > 1 else replies[chosen[0]]


async def _in_environment(
    asked: Asked, command: Command, about: About, chosen: str, world: CommandWorld
) -> Reply:
    """The answer for one environment, if whoever asks may have it there."""
    deploy = next((one for one in about.deploys if one.environment == chosen), None)
    plan = await world.plan_of(deploy or _of_branch(asked, about, chosen))
    call = Call(asked, command, about, chosen, deploy, plan)
    required = needed(command.verb, plan.permissions, whole_repository=command.whole_repository)
    role, teams = await world.role(asked), teams_in(required)
    verdict = may(command.verb, role, required, asked.who)
    if verdict.status != Permission.ALLOWED and role is not None and teams:
        verdict = may(command.verb, role, required, asked.who, await world.memberships(asked, teams))
    if verdict.status != Permission.ALLOWED:
        return say.not_allowed(verdict)
    return await VERBS[command.verb](call, world)


async def _said_in_slack(asked: Asked, command: Command, world: CommandWorld) -> Reply | None:
    """What can be answered by knowing who asks and about what; None: it goes on as on GitHub."""
    result = NOT_DONE.get(command.verb, "Not done.")
    if not asked.who and command.verb not in READING:
        return say_in_slack.not_connected(result)
    if asked.repository:
        return None
    if asked.button:
        return say_in_slack.unknown_incident(result)
    if command.verb == "status":
        return await world.overview(asked)
    return say_in_slack.which_pull_request(command.verb, result)


async def _environments(command: Command, about: About, world: CommandWorld) -> tuple[str, ...] | Reply:
    """The environment that is meant: the one named, else the only one that comes into question. What only reads
    is told of each; an answer goes to the one incident that is open."""
    deployed = tuple(one.environment for one in about.deploys)
    known = tuple(dict.fromkeys((*deployed, *about.environments)))
    if command.environment is not None:
        wanted = command.environment
        alike = [name for name in known if name == wanted] or [
            name for name in known if name.casefold() == wanted.casefold()
        ]
        return (alike[0],) if len(alike) == 1 else say.unknown_environment(command.verb, wanted, known)
    candidates = deployed or known
    if len(candidates) < 2 or command.verb in ("freeze", "unfreeze") or command.whole_repository:
        return candidates[:1] or ("",)
    if command.verb in READING:
        return candidates[:MOST_ENVIRONMENTS]
    if (is_meant := _ABOUT_AN_INCIDENT.get(command.verb)) is not None:
        incidents = [(one.environment, await world.incident_of(one)) for one in about.deploys]
        meant = [name for name, incident in incidents if incident is not None and is_meant(incident)]
        if len(meant) == 1:
            return (meant[0],)
    return say.which_environment(command.verb, candidates)


def _of_branch(asked: Asked, about: About, environment: str) -> Deploy:
    """Stands for "what is on the branch", where no deploy says which configuration is in force."""
    return Deploy(
        id=f"none-{asked.number}",
        repository=asked.repository,
        environment=environment,
        sha=about.head_sha,
        branch=about.pull_request.base_ref,
        url=None,
        source="command",
        started_at_s=None,
        completed_at_s=asked.at_s,
    )
