"""Looks at guarded services once a minute between deploys: the baseline of the next one, and the siblings."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from bot.failures import BotFailure
from bot.sample_writer import SamplesOfMany
from bot.watching import Eyes
from policies.limits import Plan

log = structlog.get_logger()

EVERY_S = 60.0
ROUND_S = 2.0
AT_ONCE = 50
GUARDED_WITHIN_S = 30 * 86_400.0
"""A service without a deploy for a month is left alone until its next one."""


class GuardedServices(Protocol):
    """Which services are due; `bot.store.Store` in production."""

    def claim_due_services(
        self, now_s: float, every_s: float, guarded_since_s: float, at_most: int
    ) -> tuple[tuple[str, Plan], ...]: ...


class Background(threading.Thread):
    """One thread with an event loop of its own; several workers share the services between them."""

    def __init__(
        self,
        eyes: Eyes,
        services: GuardedServices,
        samples: SamplesOfMany,
        *,
        every_s: float = EVERY_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name="background-samples", daemon=True)
        self._eyes = eyes
        self._services = services
        self._samples = samples
        self._every_s = every_s
        self._now = now
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask the thread to end; it does within a round."""
        self._stopping.set()

    def run(self) -> None:
        asyncio.run(self._rounds())

    async def _rounds(self) -> None:
        taken = 0
        while not self._stopping.is_set():
            # With as many due as fit into a round there are more.
            await asyncio.sleep(0.0 if taken == AT_ONCE else ROUND_S)
            taken = 0
            try:
                taken = await self.round()
            except BotFailure as failure:
                log.warning("background.failed", reason=failure.reason)
            except Exception:
                log.exception("background.broke")

    async def round(self) -> int:
        """Look once at the services that are due, at most AT_ONCE of them; how many. Raises CannotStore."""
        at_s = self._now()
        due = await asyncio.to_thread(
            self._services.claim_due_services, at_s, self._every_s, at_s - GUARDED_WITHIN_S, AT_ONCE
        )
        seen = await asyncio.gather(*(self._eyes.look(plan, 0.0) for _service, plan in due))
        rows = [(service, at_s, sample) for (service, _plan), sample in zip(due, seen, strict=True)]
        await asyncio.to_thread(self._samples.add_samples_of_many, rows)
        return len(due)
