"""Tells a watch whether a newer deploy has come: one look at the database every few seconds serves all watches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from policies.facts import Deploy, Incident
from policies.limits import Plan

REREAD_S = 5.0
WINDOW_S = 6 * 3600.0
"""Deploys of this long are looked at together; a watch of an older one asks for itself."""


class NewestDeploys(Protocol):
    """When each service last changed; `bot.store.Store` in production."""

    def newest_completed(self, since_s: float) -> dict[str, float]: ...


class Past(Protocol):
    """What is known of one deploy or incident; `bot.telling.Voice` in production."""

    def revert_deployed_at(self, incident: Incident, plan: Plan) -> float | None: ...

    def superseded_by(self, deploy: Deploy) -> str | None: ...


class DeployNews:
    """Fills `watching.DeployHistory`."""

    def __init__(self, past: Past, newest: NewestDeploys, now: Callable[[], float] = time.time) -> None:
        self._past = past
        self._deploys = newest
        self._now = now
        self._newest: dict[str, float] = {}
        self._read_at_s = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    def revert_deployed_at(self, incident: Incident, plan: Plan) -> float | None:
        """See `watching.DeployHistory`. Blocks."""
        return self._past.revert_deployed_at(incident, plan)

    async def superseded_by(self, deploy: Deploy, *, right_now: bool = False) -> str | None:
        """See `watching.DeployHistory`; may tell it up to five seconds late, `right_now` never. Raises CannotStore."""
        now_s = self._now()
        if not right_now and deploy.completed_at_s > now_s - WINDOW_S:
            if not 0 <= now_s - self._read_at_s < REREAD_S:
                if self._reading is None or self._reading.done():
                    self._reading = asyncio.get_running_loop().create_task(self._read(now_s))
                await asyncio.shield(self._reading)
            if self._newest.get(deploy.service, 0.0) <= deploy.completed_at_s:
                return None
        return await asyncio.to_thread(self._past.superseded_by, deploy)

    async def _read(self, now_s: float) -> None:
        self._newest = await asyncio.to_thread(self._deploys.newest_completed, now_s - WINDOW_S)
        self._read_at_s = now_s
