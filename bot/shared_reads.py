"""Reads something once for everyone who asks for it at about the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

KEPT = 1000
"""Readings above this number are looked through for those that nobody asks for any more."""
FORGOTTEN_AFTER_S = 600.0


@dataclass
class _Reading(Generic[V]):
    begun_s: float
    future: Future[V]


class SharedReads(Generic[K, V]):
    """A reading, failed ones included, serves everyone who asks for its key while it is fresh: ten guards of one
    service cost one call, and an AWS that is down is not asked more often for that.

    Safe to share between event loops and threads. Reads run in threads, because boto3 blocks."""

    def __init__(self, name: str, threads: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: dict[K, _Reading[V]] = {}
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def get(self, key: K, fresh_s: float, read: Callable[[], V]) -> V:
        """What `read` returned or raised, now or up to `fresh_s` ago."""
        now_s = self._clock()
        with self._lock:
            reading = self._readings.get(key)
            if reading is None or (reading.future.done() and now_s - reading.begun_s >= fresh_s):
                reading = _Reading(now_s, self._threads.submit(read))
                self._readings[key] = reading
                self._forget(now_s)
        if reading.future.done():  # mostly: without a wake-up of the loop through its socket
            return reading.future.result()
        # A watch that is cancelled must not cancel the reading under the others that wait for it.
        return await asyncio.shield(asyncio.wrap_future(reading.future))

    def close(self) -> None:
        """Let the threads go; readings under way are finished."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _forget(self, now_s: float) -> None:
        if len(self._readings) <= KEPT:
            return
        old = [
            key
            for key, reading in self._readings.items()
            if reading.future.done() and now_s - reading.begun_s > FORGOTTEN_AFTER_S
        ]
        for key in old:
            del self._readings[key]
