"""How late the event loop itself is: what a site was too slow for, and what only we were too slow for.

A loop that is overloaded answers its timers before it reads what has arrived, so a probe of a site that is well
runs out of time. Seen with 9,000 watches in one worker: many of them "failed", and each failure made more work.
"""

from __future__ import annotations

import asyncio
import contextvars
import time

from bot.per_loop import PerLoop

TICK_S = 0.2
FREE_S = 0.02
"""A timer is never quite on time; this much of each tick counts as nothing."""
LATE_S = 0.25
"""Above it the loop is not on time: new work had better wait."""


class LoopLag:
    """A clock that ticks on one loop and adds up by how much it was late."""

    __slots__ = ("_due_s", "_latest_s", "_total_s")

    def __init__(self) -> None:
        self._total_s = self._latest_s = self._due_s = 0.0
        self._next()

    def _next(self) -> None:
        # Not the loop's own time: it stands still while callbacks run.
        self._due_s = time.monotonic() + TICK_S
        asyncio.get_running_loop().call_later(TICK_S, self._tick, context=contextvars.Context())

    def _tick(self) -> None:
        self._latest_s = self._overdue_s()
        self._total_s += self._latest_s
        self._next()

    def _overdue_s(self) -> float:
        return max(0.0, time.monotonic() - self._due_s - FREE_S)

    def total_s(self) -> float:
        """By how much the loop was late, all in all, since it was first looked at: what is asked for is how much
        this grows meanwhile."""
        return self._total_s + self._overdue_s()

    def is_on_time(self) -> bool:
        """Whether the loop keeps up now."""
        return max(self._latest_s, self._overdue_s()) < LATE_S


loop_lag = PerLoop(LoopLag)
"""The one of the running loop; it ticks from the first call on."""
