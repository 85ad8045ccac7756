"""Reads something once for everyone who asks for it at about the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

KEPT = 1000
"""Readings above this number are looked through for those that nobody asks for any more."""
FORGOTTEN_AFTER_S = 600.0
PATIENCE_S = 2.0
SLOW_SERVES = 3.0
"""Times its freshness for which an answer serves while the next one is slow: a poll stands for as long
(policies.budget)."""


class _Reading(Generic[V]):
    """One call, under way or done, and the answer before it."""

    def __init__(self, begun_s: float, future: Future[V], before: _Reading[V] | None) -> None:
        self.begun_s = begun_s
        self.future = future
        self.done_s = float("inf")
        self.before = before
        if before is not None:
            before.before = None

    def answer_since(self, since_s: float) -> Future[V] | None:
        """The answer that came before this reading, if it came after `since_s`."""
        before = self.before
        if before is None or before.done_s < since_s or before.future.exception() is not None:
            return None
        return before.future


class SharedReads(Generic[K, V]):
    """A reading, failed ones included, serves everyone who asks for its key while it is fresh: ten guards of one
    service cost one call, and an AWS that is down is not asked more often for that.

    Safe to share between event loops and threads. Reads run in threads, because boto3 blocks."""

    def __init__(self, name: str, threads: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: dict[K, _Reading[V]] = {}
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def get(
        self, key: K, fresh_s: float, read: Callable[[], V], *, at_most_s: float | None = None
    ) -> V:
        """What `read` returned or raised, now or up to `fresh_s` ago; TimeoutError after `at_most_s`.

        An API that throttles us may answer later than that every time. While it keeps us waiting, its last answer
        (not its last failure) serves for up to three times as long, and the reading goes on beside."""
        now_s = self._clock()
        with self._lock:
            reading = self._readings.get(key)
            if reading is None or (reading.future.done() and now_s - reading.begun_s >= fresh_s):
                reading = self._begin(key, reading, now_s, read)
        if reading.future.done():  # mostly: without a wake-up of the loop through its socket
            return reading.future.result()
        # A watch that is cancelled must not cancel the reading under the others that wait for it.
        answer = asyncio.shield(asyncio.wrap_future(reading.future))
        earlier = reading.answer_since(now_s - SLOW_SERVES * fresh_s)
        try:
            async with asyncio.timeout(at_most_s if earlier is None else PATIENCE_S):
                return await answer
        except TimeoutError:
            if earlier is None:
                raise
            return earlier.result()

    def _begin(self, key: K, before: _Reading[V] | None, now_s: float, read: Callable[[], V]) -> _Reading[V]:
        reading = _Reading(now_s, self._threads.submit(read), before)

        def done(_future: Future[V]) -> None:
            reading.done_s = self._clock()

        reading.future.add_done_callback(done)
        self._readings[key] = reading
        self._forget(now_s)
        return reading

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
