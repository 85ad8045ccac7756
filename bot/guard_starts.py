"""Lets guards begin some at a time, so that those begun first already watch while a thousand others wait.

After a restart the queue hands over everything at once. Begun together, all of them would begin to watch when the
last one does, and their database calls would take the interpreter from those that poll.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from weakref import WeakKeyDictionary

AT_ONCE = 16
AT_MOST_S = 5.0
"""A clone, or GitHub out of reach, may take minutes: they do not hold up the others for longer than this."""

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
_give_back: ContextVar[Callable[[], None] | None] = ContextVar("give_back", default=None)


@asynccontextmanager
async def beginning() -> AsyncIterator[None]:
    """Wait for one's turn to begin; it is over with `has_begun`, after AT_MOST_S seconds, or with the block."""
    loop = asyncio.get_running_loop()
    turns = _turns.setdefault(loop, asyncio.Semaphore(AT_ONCE))
    await turns.acquire()
    given_back = False

    def give_back() -> None:
        nonlocal given_back
        if not given_back:
            given_back = True
            turns.release()

    timer = loop.call_later(AT_MOST_S, give_back)
    token = _give_back.set(give_back)
    try:
        yield
    finally:
        timer.cancel()
        _give_back.reset(token)
        give_back()


def has_begun() -> None:
    """The guard that calls this has done what takes threads and the database: the next one may begin."""
    give_back = _give_back.get()
    if give_back is not None:
        give_back()
