"""Knows how the other guarded services are: if half of them are bad too, it is not this deploy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog

from bot.failures import CannotStore
from policies.badness import badness_before
from policies.facts import HealthSample
from policies.limits import HealthLimits

log = structlog.get_logger()

FRESH_FOR_S = 180.0
"""Background samples come once a minute; three missed ones say nothing about now."""
REREAD_AFTER_S = 10.0
READ_SHARE = 20.0
"""A read that takes a second is repeated after twenty."""
BAD_AT = 0.5


class LatestSamples(Protocol):
    """Where every service's newest sample is kept; `bot.store.Store` in production."""

    def latest_samples(self, since_s: float) -> Iterator[tuple[str, HealthSample]]: ...


class Siblings:
    """The share of other services that are bad; one read of the database serves all guards of a loop for 10 s."""

    def __init__(self, samples: LatestSamples, now: Callable[[], float] = time.time) -> None:
        self._samples = samples
        self._now = now
        self._reread_at_s = float("-inf")
        self._rereading: asyncio.Task[None] | None = None
        self._is_bad: dict[str, bool] = {}
        self._bad = 0

    async def bad_share(self, service: str) -> float | None:
        """0..1 of the services other than `service` that could be looked at lately, None if there are none
        or they cannot be read. Takes constant time, however many there are."""
        if self._now() >= self._reread_at_s:
            if self._rereading is None or self._rereading.done():
                self._rereading = asyncio.get_running_loop().create_task(self._reread())
            await asyncio.shield(self._rereading)
        own = self._is_bad.get(service)
        others = len(self._is_bad) - (own is not None)
        return (self._bad - bool(own)) / others if others else None

    async def _reread(self) -> None:
        began_s, clock_s = self._now(), time.monotonic()
        try:
            self._is_bad = await asyncio.to_thread(self._read, began_s)
        except CannotStore as failure:
            log.warning("siblings.unreadable", reason=failure.reason)
            self._is_bad = {}
        self._bad = sum(self._is_bad.values())
        # Thousands of services take their time to read: then less often, for it is the watches' time.
        self._reread_at_s = began_s + max(REREAD_AFTER_S, READ_SHARE * (time.monotonic() - clock_s))

    def _read(self, now_s: float) -> dict[str, bool]:
        limits = HealthLimits()
        latest = self._samples.latest_samples(now_s - FRESH_FOR_S)
        known = ((name, badness_before(sample, limits)) for name, sample in latest)
        return {name: bad >= BAD_AT for name, bad in known if bad is not None}
