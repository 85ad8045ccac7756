"""Knows how the other guarded services are: if half of them are bad too, it is not this deploy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
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
BAD_AT = 0.5


class LatestSamples(Protocol):
    """Where every service's newest sample is kept; `bot.store.Store` in production."""

    def latest_samples(self, since_s: float) -> dict[str, HealthSample]: ...


class Siblings:
    """The share of other services that are bad; one read of the database serves all guards for 10 s."""

    def __init__(self, samples: LatestSamples, now: Callable[[], float] = time.time) -> None:
        self._samples = samples
        self._now = now
        self._lock = threading.Lock()
        self._read_at_s = float("-inf")
        self._is_bad: dict[str, bool] = {}

    def bad_share(self, service: str) -> float | None:
        """0..1 of the services other than `service` that could be looked at lately, None if there are none
        or they cannot be read. Blocks for a read of the database at most every 10 s."""
        with self._lock:
            if not 0 <= self._now() - self._read_at_s < REREAD_AFTER_S:
                self._reread()
            others = [bad for name, bad in self._is_bad.items() if name != service]
        return sum(others) / len(others) if others else None

    def _reread(self) -> None:
        self._read_at_s = self._now()
        limits = HealthLimits()
        try:
            latest = self._samples.latest_samples(self._read_at_s - FRESH_FOR_S)
        except CannotStore as failure:
            log.warning("siblings.unreadable", reason=failure.reason)
            latest = {}
        known = {name: badness_before(sample, limits) for name, sample in latest.items()}
        self._is_bad = {name: bad >= BAD_AT for name, bad in known.items() if bad is not None}
