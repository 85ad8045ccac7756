"""One module a verb: what each command does, over `bot.command_ports.CommandWorld`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from bot.command_ports import Call, CommandWorld
from bot.commands import (
    approve,
    cancel,
    freeze,
    help_,
    hold,
    logs,
    reland,
    resume,
    rollback,
    status,
    unfreeze,
    why,
)
from policies.asked import Reply

Verb = Callable[[Call, CommandWorld], Awaitable[Reply]]

VERBS: Mapping[str, Verb] = {
    "rollback": rollback.run,
    "approve": approve.run,
    "cancel": cancel.run,
    "hold": hold.run,
    "resume": resume.run,
    "freeze": freeze.run,
    "unfreeze": unfreeze.run,
    "reland": reland.run,
    "logs": logs.run,
    "status": status.run,
    "why": why.run,
    "help": help_.run,
}
