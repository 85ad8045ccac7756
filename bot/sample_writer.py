"""Stores the samples of all watches together: one transaction at a time, with all that came meanwhile in the next."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import structlog

from bot.failures import CannotStore
from policies.facts import HealthSample

log = structlog.get_logger()

PAUSE_SHARE, PAUSE_AT_MOST_S = 4.0, 0.3
"""Between transactions, in lengths of the last one: a single watch never waits long, and ten thousand share a
handful of commits a second."""

HELD = 20_000
"""Samples that wait for a database; beyond, the oldest are given up."""

Row = tuple[str, float, HealthSample]


class SamplesOfMany(Protocol):
    """Where samples are kept; `bot.store.Store` in production."""

    def add_samples_of_many(self, samples: list[Row]) -> None: ...


class SampleWriter:
    """For the watches of one event loop."""

    def __init__(self, samples: SamplesOfMany) -> None:
        self._samples = samples
        self._next: list[Row] = []
        self._stored: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def keep(self, service: str, at_s: float, sample: HealthSample) -> None:
        """Returns once `sample` is stored, or once that was tried: a watch goes on from what it has in memory while
        the database is busy or away, and what was not stored is tried again with the next."""
        self._next.append((service, at_s, sample))
        loop = asyncio.get_running_loop()
        if self._stored is None:
            self._stored = loop.create_future()
        stored = self._stored
        if self._writing is None or self._writing.done():
            self._writing = loop.create_task(self._write())
        # One watch that is cancelled must not take the others' answer with it.
        await asyncio.shield(stored)

    async def _write(self) -> None:
        while self._stored is not None:
            rows, stored = self._next, self._stored
            self._next, self._stored = [], None
            began_s = time.monotonic()
            try:
                await asyncio.to_thread(self._samples.add_samples_of_many, rows)
            except CannotStore as failure:
                log.warning("samples.not_stored", samples=len(rows), reason=failure.reason)
                self._next = (rows + self._next)[-HELD:]
                stored.set_result(None)
            except BaseException:
                stored.cancel()
                raise
            else:
                stored.set_result(None)
            await asyncio.sleep(min(PAUSE_AT_MOST_S, PAUSE_SHARE * (time.monotonic() - began_s)))
