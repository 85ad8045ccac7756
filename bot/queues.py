"""Names that the hearing and the working processes must agree on: queues, workflows and their ids."""

from __future__ import annotations

import hashlib
import json
import re

from policies.asked import Asked, PullHead
from policies.facts import Deploy

APP_VERSION = "1"
"""Pinned for ever: the engine runs only work of its own version, and an upgrade must find live guards."""

GUARDS = "guards"
"""The queue of everything that begins with a deploy."""

DEPLOY_STARTED = "deploy_started"
"""Workflow `deploy_started(deploy)`: look at health before the deploy arrives."""

GUARD = "guard"
"""Workflow `guard(deploy)`: watch a completed deploy, roll it back if it fails."""

ORDERED = "ordered"
"""Workflow `ordered(deploy, order)`: the rollback that a person orders when no guard is watching."""

COMMANDS = "commands"
"""The queue of what people ask for; short work, but for waiting what became of an order."""

COMMAND = "command"
"""Workflow `command(asked)`: answer one request of a person."""

FREEZE_CHECK = "freeze_check"
"""Workflow `freeze_check(head)`: put the failing check on a new commit of a pull request to a frozen branch."""

REVERTS = "reverts"
"""The queue of pushes, partitioned by repository@branch: one at a time in each."""

REVERT = "revert"
"""Workflow `revert(order)`: carry out one RollbackOrder."""

ORDERS = "orders"
"""The topic on which a guard hears what people order."""

Work = Deploy | Asked | PullHead
"""What the web process hands to the engine."""

QUEUE_OF = {
    GUARD: GUARDS,
    DEPLOY_STARTED: GUARDS,
    ORDERED: GUARDS,
    REVERT: REVERTS,
    COMMAND: COMMANDS,
    FREEZE_CHECK: COMMANDS,
}


def guard_id(deploy: Deploy) -> str:
    """The id of the one guard of `deploy`, whoever tells us about it and however often."""
    return f"guard-{_deploy_key(deploy)}"


def started_id(deploy: Deploy) -> str:
    """The id of the one look at health before `deploy`."""
    return f"started-{_deploy_key(deploy)}"


def ordered_id(deploy: Deploy, turn: int) -> str:
    """The id of the `turn`-th rollback (from 0) that people ordered of `deploy`: two who order at once start
    one."""
    return f"{ordered_prefix(deploy)}{turn}"


def ordered_prefix(deploy: Deploy) -> str:
    """What the ids of all rollbacks that people ordered of `deploy` begin with."""
    return f"ordered-{_deploy_key(deploy)}."


def command_id(asked: Asked) -> str:
    """The id of the one answer to a request, however often it is delivered."""
    return f"command-{_key((asked.place, asked.repository, asked.id))}"


def freeze_check_id(head: PullHead, frozen_at_s: float) -> str:
    """The id of the one look at a head while one freeze lasts."""
    return f"freeze-{_key((head.repository, head.base, str(head.number), head.sha, f'{frozen_at_s:.3f}'))}"


def _deploy_key(deploy: Deploy) -> str:
    return _key((deploy.repository, deploy.environment, deploy.id))


def _key(parts: tuple[str, ...]) -> str:
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(parts)).strip("-")[:120]
    # The readable part alone would let "a-b" + "c" and "a" + "b-c" share an id.
    return f"{readable}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"
