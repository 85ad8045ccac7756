"""A clock for one wait: it begins with the wall clock and then only runs on, however that is put right meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


def steady(now: Clock, monotonic: Clock = time.monotonic) -> Clock:
    """Epoch seconds from `now`, read once, plus what has passed since. A wall clock that is put an hour forward
    would end a watch as watched to its end, one put back would stop it for an hour."""
    began_s, began = now(), monotonic()
    return lambda: began_s + monotonic() - began
