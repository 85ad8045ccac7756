"""Names that the hearing and the working processes must agree on: queues, workflows and their ids."""

from __future__ import annotations

import hashlib
import json
import re

from policies.facts import Deploy

APP_VERSION = "1"
"""Pinned for ever: the engine runs only work of its own version, and an upgrade must find live guards."""

GUARDS = "guards"
"""The queue of everything that begins with a deploy."""

DEPLOY_STARTED = "deploy_started"
"""Workflow `deploy_started(deploy)`: look at health before the deploy arrives."""

GUARD = "guard"
"""Workflow `guard(deploy)`: watch a completed deploy, roll it back if it fails."""


REVERTS = "reverts"
"""The queue of pushes, partitioned by repository@branch: one at a time in each."""

REVERT = "revert"
"""Workflow `revert(order)`: carry out one RollbackOrder."""

ORDERS = "orders"
"""The topic on which a guard hears what people order."""


def guard_id(deploy: Deploy) -> str:
    """The id of the one guard of `deploy`, whoever tells us about it and however often."""
    return f"guard-{_deploy_key(deploy)}"


def started_id(deploy: Deploy) -> str:
    """The id of the one look at health before `deploy`."""
    return f"started-{_deploy_key(deploy)}"


def _deploy_key(deploy: Deploy) -> str:
    parts = (deploy.repository, deploy.environment, deploy.id)
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(parts)).strip("-")[:120]
    # The readable part alone would let "a-b" + "c" and "a" + "b-c" share an id.
    return f"{readable}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"
