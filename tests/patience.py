"""How tests wait for what must come: with so much patience that only a fault ends it, never a slow machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # every test waits; few of them play a world
    from rehearsal.world import World

T = TypeVar("T")

PATIENCE_S = 180.0
"""Speed is measured in the benches; here a machine that stalls for a minute must change nothing."""


def until(see: Callable[[], T], what: str, world: World | None = None, within_s: float = PATIENCE_S) -> T:
    """What `see` gives once it is true; AssertionError with `what`, and the end of the worker's log, if never."""
    deadline_s = time.monotonic() + within_s
    while not (seen := see()):
        if time.monotonic() > deadline_s:
            log = world.bot.tail("worker", 30) if world is not None and world.bot is not None else ""
            raise AssertionError(f"not within {within_s:.0f} s: {what}\n{log}")
        time.sleep(0.05)
    return seen
