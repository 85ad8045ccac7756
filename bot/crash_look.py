"""Looks at the container early, while a watch is failing: two exits or a fatal boot signature speed the verdict."""

from __future__ import annotations

import asyncio

import structlog

from bot.ports import EvidenceCapture
from policies.badness import badness_before
from policies.crash import crash_evidence
from policies.facts import Deploy, HealthSample
from policies.limits import Plan

log = structlog.get_logger()

EVERY_INTERVALS = 3.0
"""A look costs SSM commands on every target; one in three polls is enough to see a container die."""


class CrashLook:
    """For one watch: starts looks beside the polls, at a bounded rate, and remembers what they found."""

    __slots__ = ("_deploy", "_evidence", "_next_t_s", "_plan", "_task", "found")

    def __init__(self, evidence: EvidenceCapture, deploy: Deploy, plan: Plan, *, found: bool = False) -> None:
        self._evidence = evidence
        self._deploy = deploy
        self._plan = plan
        self._task: asyncio.Task[None] | None = None
        self._next_t_s = float("-inf")
        self.found = found
        """Crash evidence was seen; once seen it stays."""

    def consider(self, sample: HealthSample) -> None:
        """Start a look if `sample` is failing, none is under way, and the last one is long enough ago."""
        limits = self._plan.health
        bad = badness_before(sample, limits)
        under_way = self._task is not None and not self._task.done()
        if self.found or under_way or bad is None or bad <= limits.allowed_badness:
            return
        if sample.t_s >= self._next_t_s and _has_container(self._plan):
            self._next_t_s = sample.t_s + EVERY_INTERVALS * limits.interval_s
            self._task = asyncio.create_task(self._look(sample))

    async def _look(self, sample: HealthSample) -> None:
        verdict = crash_evidence(await self._evidence.capture(self._deploy, self._plan, sample))
        if verdict.status == "crash":
            self.found = True
            log.info("crash.seen", service=self._deploy.service, reason=verdict.reason)

    def stop(self) -> None:
        """End a look under way; its answer is no longer needed."""
        if self._task is not None:
            self._task.cancel()


def _has_container(plan: Plan) -> bool:
    return bool(plan.runtime.container or plan.runtime.ecs_service)
