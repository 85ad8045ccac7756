"""Lets guards begin some at a time, so that those begun first already watch while a thousand others wait.

After a restart the queue hands over everything at once. Begun together, all of them would begin to watch when the
last one does, and their database calls would take the interpreter from those that poll.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar

from bot.loop_lag import loop_lag
from bot.per_loop import PerLoop

AT_ONCE = 16
AT_MOST_S = 5.0
"""A clone, or GitHub out of reach, may take minutes: they do not hold up the others for longer than this."""

LATE_AT_MOST_S, PAUSE_S = 10.0, 0.2
"""For so long a guard lets the others go first while the event loop cannot keep up; its deploy is not watched yet."""

_turns = PerLoop(lambda: asyncio.Semaphore(AT_ONCE))
_own: ContextVar[beginning | None] = ContextVar("own", default=None)


class beginning:  # noqa: N801 - it is read as `async with beginning():`
    """Wait for one's turn to begin; it is over with `has_begun`, after AT_MOST_S seconds, or with the block."""

    __slots__ = ("_timer", "_turns")

    def __init__(self) -> None:
        self._turns: asyncio.Semaphore | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        turns = _turns()
        await turns.acquire()
        self._turns = turns
        try:
            await _until_on_time()
        except BaseException:
            self.is_over()
            raise
        _own.set(self)
        self._timer = asyncio.get_running_loop().call_later(AT_MOST_S, self.is_over)

    async def __aexit__(self, *_error: object) -> None:
        _own.set(None)
        self.is_over()

    def is_over(self) -> None:
        """The next one may begin. May be repeated."""
        turns, self._turns = self._turns, None
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if turns is not None:
            turns.release()


async def _until_on_time() -> None:
    """Those that watch already come first: what a guard does to begin takes the interpreter from their polls."""
    lag, until_s = loop_lag(), time.monotonic() + LATE_AT_MOST_S
    # By the clock: pauses are longer than asked for just when the loop is late.
    while time.monotonic() < until_s:
        if lag.is_on_time():
            return
        await asyncio.sleep(PAUSE_S)


def has_begun() -> None:
    """The guard that calls this has done what takes threads and the database: the next one may begin."""
    own = _own.get()
    if own is not None:
        own.is_over()
