"""Guards begin some at a time, those that watch already come first, and nobody is held up for ever."""

from __future__ import annotations

import asyncio
import time

import pytest

from bot import guard_starts
from bot import loop_lag as loop_lag_of_bot
from bot.failures import CannotReadHealth
from bot.guard_starts import beginning, has_begun
from tests.patience import PATIENCE_S
from tests.test_many_watches import until


async def test_guards_begin_some_at_a_time_and_those_begun_let_the_others_in() -> None:
    begun: list[int] = []
    let_go = asyncio.Event()

    async def guard(number: int) -> None:
        async with beginning():
            begun.append(number)
            await let_go.wait()
            has_begun()
            await asyncio.sleep(3600)  # it watches

    guards = [asyncio.create_task(guard(n)) for n in range(3 * guard_starts.AT_ONCE)]
    await until(lambda: len(begun) == guard_starts.AT_ONCE)
    await asyncio.sleep(0.05)
    assert len(begun) == guard_starts.AT_ONCE
    let_go.set()
    await until(lambda: len(begun) == len(guards))
    for task in guards:
        task.cancel()
    await asyncio.gather(*guards, return_exceptions=True)


async def test_guards_that_end_or_cannot_begin_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_starts, "AT_MOST_S", 0.2)
    begun: list[int] = []

    async def guard(number: int) -> None:
        async with beginning():
            begun.append(number)
            if number % 2:
                raise CannotReadHealth("It cannot.")
            await asyncio.sleep(3600)  # GitHub is out of reach

    guards = [asyncio.create_task(guard(n)) for n in range(4 * guard_starts.AT_ONCE)]
    await until(lambda: len(begun) == len(guards))
    for task in guards:
        task.cancel()
    await asyncio.gather(*guards, return_exceptions=True)


async def hog() -> None:
    """Keep the loop late."""
    while True:
        time.sleep(1.5 * loop_lag_of_bot.LATE_S)  # noqa: ASYNC251 - the very thing that is tested
        await asyncio.sleep(0)


async def test_whoever_watches_already_comes_first_when_the_loop_cannot_keep_up() -> None:
    begun: list[float] = []

    async def guard() -> None:
        async with beginning():
            begun.append(time.monotonic())
            has_begun()

    loop_lag_of_bot.loop_lag()
    hogging = asyncio.create_task(hog())
    await asyncio.sleep(3 * loop_lag_of_bot.TICK_S)
    beginner = asyncio.create_task(guard())
    await asyncio.sleep(5 * loop_lag_of_bot.LATE_S)
    assert begun == [], "it waits while others are late"
    hogging.cancel()
    await asyncio.wait_for(beginner, PATIENCE_S)
    assert len(begun) == 1


async def test_a_loop_that_is_never_on_time_does_not_keep_a_guard_from_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard_starts, "LATE_AT_MOST_S", 1.0)
    loop_lag_of_bot.loop_lag()
    hogging = asyncio.create_task(hog())
    await asyncio.sleep(3 * loop_lag_of_bot.TICK_S)
    assert not loop_lag_of_bot.loop_lag().is_on_time()
    try:
        async with asyncio.timeout(60), beginning():
            has_begun()
        assert not loop_lag_of_bot.loop_lag().is_on_time(), "it did not begin because the loop recovered"
    finally:
        hogging.cancel()
