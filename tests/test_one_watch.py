"""One watch: it ends by its verdict, by an interruption, or by what broke, and leaves nothing running behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from bot.crash_look import CrashLook
from bot.one_watch import OneWatch
from bot.steady_clock import Clock
from policies.facts import Deploy, Evidence, Health, HealthSample, ProbeSample
from policies.judgement import Watch
from policies.limits import HealthLimits, Plan
from tests.fakes import DEPLOY, EVIDENCE, PLAN
from tests.patience import PATIENCE_S

LIMITS = HealthLimits(
    interval_s=0.05, watch_for_s=2.0, budget_s=0.8, budget_before_first_good_s=0.8, first_good_after_s=0.4
)
GOOD, BAD = ProbeSample(3, 0, 200), ProbeSample(0, 3, 502)


class Site:
    """Fills `one_watch.Looking`: what each poll sees, and whether a newer deploy has come."""

    def __init__(self, answer: Callable[[int], ProbeSample]) -> None:
        self.answer = answer
        self.polls = 0
        self.newer_after_polls: int | None = None
        self.newer_unnoticed: str | None = None

    async def look_and_keep(
        self, deploy: Deploy, plan: Plan, since_s: float, now: Clock, *, crash: bool = False
    ) -> HealthSample:
        self.polls += 1
        await asyncio.sleep(0)
        return HealthSample(now() - since_s, self.answer(self.polls), crash=crash)

    async def superseded_by(self, deploy: Deploy, *, right_now: bool = False) -> str | None:
        if right_now and self.newer_unnoticed is not None:
            return self.newer_unnoticed
        has_come = self.newer_after_polls is not None and self.polls >= self.newer_after_polls
        return "abc1234" if has_come else None

    async def capture(self, deploy: Deploy, plan: Plan, latest: HealthSample | None) -> Evidence:
        return EVIDENCE


def watch_of(site: Site) -> OneWatch:
    plan = replace(PLAN, health=LIMITS)
    deploy = replace(DEPLOY, completed_at_s=time.time())
    known = Watch((HealthSample(-1.0, GOOD),), LIMITS)
    return OneWatch(site, deploy, plan, known, CrashLook(site, deploy, plan), time.time)


async def is_quiet(site: Site) -> bool:
    """Whether nothing of a watch goes on once it has ended."""
    polls, tasks = site.polls, asyncio.all_tasks()
    await asyncio.sleep(5 * LIMITS.interval_s)
    return site.polls == polls and asyncio.all_tasks() <= tasks


async def test_it_watches_to_the_end_of_its_time() -> None:
    site = Site(lambda _poll: GOOD)
    watched = await watch_of(site).until_ended()
    assert watched is not None and watched.health is not Health.UNHEALTHY
    assert len(watched.samples) == site.polls > 5
    assert [one.t_s for one in watched.samples] == sorted({one.t_s for one in watched.samples})
    assert await is_quiet(site)


async def test_it_ends_when_the_budget_is_used_up() -> None:
    site = Site(lambda poll: GOOD if poll < 3 else BAD)
    watched = await watch_of(site).until_ended()
    assert watched is not None and watched.health is Health.UNHEALTHY
    assert [one.probe for one in watched.samples[:3]] == [GOOD, GOOD, BAD]
    assert await is_quiet(site)


async def test_a_newer_deploy_ends_it() -> None:
    site = Site(lambda _poll: GOOD)
    site.newer_after_polls = 3
    watched = await watch_of(site).until_ended()
    assert (
        watched is not None and watched.verdict.rule == "superseded" and "abc1234" in watched.verdict.reason
    )


async def test_a_deploy_is_not_blamed_for_what_a_newer_one_does_that_was_not_noticed_yet() -> None:
    site = Site(lambda poll: GOOD if poll < 3 else BAD)
    site.newer_unnoticed = "abc1234"
    watched = await watch_of(site).until_ended()
    assert watched is not None and watched.verdict.rule == "superseded"


@pytest.mark.parametrize("after_s", [0.0, 0.1], ids=["before it began", "in the middle"])
async def test_an_interruption_ends_it_without_a_verdict(after_s: float) -> None:
    site = Site(lambda _poll: GOOD)
    interrupted = asyncio.get_running_loop().create_future()
    if after_s:
        asyncio.get_running_loop().call_later(after_s, interrupted.set_result, None)
    else:
        interrupted.set_result(None)
    assert await watch_of(site).until_ended(interrupted) is None
    assert await is_quiet(site)


async def test_what_breaks_in_a_poll_reaches_whoever_waits() -> None:
    def breaks(poll: int) -> ProbeSample:
        if poll == 3:
            raise LookupError("a mistake of ours")
        return GOOD

    site = Site(breaks)
    with pytest.raises(LookupError, match="a mistake of ours"):
        await watch_of(site).until_ended()
    assert await is_quiet(site)


async def test_a_poll_that_somebody_else_cancels_leaves_nobody_waiting() -> None:
    def cancelled(poll: int) -> ProbeSample:
        if poll == 2:
            raise asyncio.CancelledError
        return GOOD

    site = Site(cancelled)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(watch_of(site).until_ended(), PATIENCE_S)


async def test_whoever_stops_waiting_stops_it() -> None:
    site = Site(lambda _poll: GOOD)
    ending = asyncio.create_task(watch_of(site).until_ended())
    await asyncio.sleep(0.1)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert await is_quiet(site)
