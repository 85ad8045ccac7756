"""One deploy's watch, which between two polls is little more than a timer: a worker holds ten thousand of them."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Protocol

from bot.crash_look import CrashLook
from bot.steady_clock import Clock
from policies.facts import Deploy, Health, HealthSample, Verdict, Watched
from policies.judgement import Watch
from policies.limits import Plan

KEPT_SAMPLES = 1000
"""All of a watch of 15 minutes at one poll a second: a decision can be replayed from what it kept."""
LEAST_PAUSE_S = 0.05

Interrupted = asyncio.Future[None]
"""Done as soon as a watch shall end without a verdict."""


def pause_after(last: HealthSample, plan: Plan, since_s: float, now: Clock) -> float:
    """Seconds until the next poll is due, counted from the beginning of `last`; `since_s` (epoch) is its zero."""
    return max(LEAST_PAUSE_S, since_s + last.t_s + plan.health.interval_s - now())


class Looking(Protocol):
    """What a watch asks of the eyes."""

    async def look_and_keep(
        self, deploy: Deploy, plan: Plan, since_s: float, now: Clock, *, crash: bool = False
    ) -> HealthSample: ...

    async def superseded_by(self, deploy: Deploy, *, right_now: bool = False) -> str | None: ...


class OneWatch:
    """Polls every `interval_s`, each poll a task of its own, until the failure budget is used up or time is over."""

    __slots__ = (
        "_context",
        "_crash",
        "_deploy",
        "_ended",
        "_eyes",
        "_judged",
        "_now",
        "_plan",
        "_polling",
        "_timer",
        "_until_t_s",
    )

    def __init__(
        self, eyes: Looking, deploy: Deploy, plan: Plan, judged: Watch, crash: CrashLook, now: Clock
    ) -> None:
        """`judged` has seen what an earlier run of this watch stored; `now` is a steady clock."""
        self._eyes = eyes
        self._deploy = deploy
        self._plan = plan
        self._judged = judged
        self._crash = crash
        self._now = now
        # Heard of late, or gone on with after a time without us: it still gets the time to fail its budget,
        # else a service that failed all the while we were away would end as watched to its end.
        begun_s = now() - deploy.completed_at_s
        limits = plan.health
        self._until_t_s = max(limits.watch_for_s, begun_s + 2 * limits.budget_before_first_good_s)
        # One for all of its polls, else each timer would keep a copy.
        self._context = contextvars.copy_context()
        self._ended: asyncio.Future[Watched | None] = asyncio.get_running_loop().create_future()
        self._polling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def until_ended(self, interrupted: Interrupted | None = None) -> Watched | None:
        """How it ended; None: `interrupted` came first. Once only. Raises what a poll raised."""
        if interrupted is not None:
            interrupted.add_done_callback(self._interrupt)
        self._poll()
        try:
            return await self._ended
        finally:
            if interrupted is not None:
                interrupted.remove_done_callback(self._interrupt)
            self._stop()

    def _interrupt(self, _interrupted: Interrupted) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._polling is not None:
            self._polling.cancel()
        self._crash.stop()

    def _poll(self) -> None:
        self._timer = None
        self._polling = asyncio.get_running_loop().create_task(self._poll_once(), context=self._context)

    async def _poll_once(self) -> None:
        try:
            seen = await self._look()
        except asyncio.CancelledError:
            # Also when it was not we who cancelled: whoever waits must not wait for ever.
            self._ended.cancel()
            raise
        except BaseException as error:
            if self._ended.done():
                raise
            self._ended.set_exception(error)
            return
        self._polling = None
        if self._ended.done():
            return
        if isinstance(seen, Watched):
            self._ended.set_result(seen)
            return
        pause_s = pause_after(seen, self._plan, self._deploy.completed_at_s, self._now)
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._poll, context=self._context)

    async def _look(self) -> Watched | HealthSample:
        """One poll: how the watch ended by it, or what was seen."""
        deploy, plan, crash = self._deploy, self._plan, self._crash
        since_s = deploy.completed_at_s
        sample = await self._eyes.look_and_keep(deploy, plan, since_s, self._now, crash=crash.found)
        verdict = self._judged.see(sample)
        crash.consider(sample)
        # Before a deploy is blamed, whether it still is the newest is looked up, not remembered.
        newer = await self._eyes.superseded_by(deploy, right_now=verdict.status == Health.UNHEALTHY)
        if newer is not None:
            reason = f"Superseded: {newer} was deployed; its own guard watches from then on."
            verdict = Verdict(Health.UNKNOWN, reason, "superseded")
        over = sample.t_s >= self._until_t_s
        if verdict.status == Health.UNHEALTHY or over or newer is not None:
            seen = self._judged.seen.latest(KEPT_SAMPLES)
            return Watched(Health(verdict.status), verdict, seen, self._now())
        return sample
