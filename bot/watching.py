"""Eyes: reads the plan of a deploy, and polls its service until health is judged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, TypeVar

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from bot.config import CONFIG_PATH, environment_of, plan_of, resolve
from bot.config_file import read_config
from bot.config_model import RepositoryFile, ServerFile
from bot.crash_look import CrashLook
from bot.failures import (
    BadConfiguration,
    BotFailure,
    CannotReadHealth,
    CannotReadRepository,
    CannotStore,
)
from bot.one_watch import KEPT_SAMPLES, Interrupted, OneWatch, pause_after
from bot.ports import (
    UNDEPLOYED,
    EvidenceCapture,
    HttpProbe,
    PullRequests,
    Repository,
    TargetHealth,
    Traffic,
)
from bot.sample_writer import SamplesOfMany, SampleWriter
from bot.steady_clock import Clock, steady
from policies.facts import (
    Baseline,
    CommitFacts,
    Deploy,
    Health,
    HealthSample,
    Incident,
    IncidentState,
    TrafficSample,
    Watched,
)
from policies.health import is_recovered
from policies.judgement import Watch
from policies.limits import Mode, Plan

log = structlog.get_logger()
T = TypeVar("T")

PLAN_PATIENCE_S = 600.0
"""GitHub's incidents are mostly shorter; a guard without a plan cannot do anything else meanwhile."""
BASELINE_POLLS, BASELINE_PAUSE_S = 3, 1.0
"""Seen at once when a deploy starts: later polls would already see the old version being stopped."""
PROPOSED_PATIENCE_S = 86_400.0


class Samples(SamplesOfMany, Protocol):
    """Where polls are kept; `bot.store.Store` in production."""

    def samples(
        self, service: str, since_s: float, until_s: float = float("inf")
    ) -> tuple[tuple[float, HealthSample], ...]: ...

    def note_service(self, service: str, plan: Plan, at_s: float) -> None: ...


class DeployHistory(Protocol):
    """Whether the deploy of a revert was heard of."""

    def revert_deployed_at(self, incident: Incident, plan: Plan) -> float | None:
        """When a deploy that contains the incident's revert completed (epoch s), None if none is known."""
        ...

    async def superseded_by(self, deploy: Deploy, *, right_now: bool = False) -> str | None:
        """The sha of a newer completed deploy of another commit to the same service, None if there is none.
        Only `right_now` must the answer not be some seconds old."""
        ...


class SiblingHealth(Protocol):
    """How the other services are; `bot.siblings.Siblings` in production."""

    async def bad_share(self, service: str) -> float | None: ...


class Eyes:
    """Fills `ports.Watching` except for the orders of people, which the engine delivers."""

    def __init__(
        self,
        *,
        repository: Repository,
        pull_requests: PullRequests,
        probe: HttpProbe,
        target_health: TargetHealth,
        traffic: Traffic,
        evidence: EvidenceCapture,
        samples: Samples,
        history: DeployHistory,
        siblings: SiblingHealth,
        server_file: ServerFile | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._repository = repository
        self._pull_requests = pull_requests
        self._probe = probe
        self._target_health = target_health
        self._traffic = traffic
        self._evidence = evidence
        self._samples = samples
        self._writer = SampleWriter(samples)
        self._history = history
        self._siblings = siblings
        self._server_file = server_file
        self._now = now

    async def plan(self, deploy: Deploy) -> Plan:
        """The configuration in force, from the first parent of the deployed commit. May be repeated;
        GitHub out of reach is waited for up to ten minutes, then BotFailure."""
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(BotFailure),
            wait=wait_exponential_jitter(multiplier=1, max=30),
            stop=stop_after_delay(PLAN_PATIENCE_S),
            reraise=True,
            before_sleep=lambda state: log.warning(
                "plan.waiting", repository=deploy.repository, attempt=state.attempt_number
            ),
        )
        return await attempts(asyncio.to_thread, self._read_plan, deploy)

    async def plan_now(self, deploy: Deploy) -> Plan:
        """The same for somebody who waits for an answer: one try. May be repeated; raises BotFailure."""
        return await asyncio.to_thread(self._read_plan, deploy)

    def _read_plan(self, deploy: Deploy) -> Plan:
        about = self._pull_requests.about(deploy.repository)
        if not deploy.environment and not self._is_trigger(deploy):
            why = f"No environment in {CONFIG_PATH} has the trigger {{workflow_run: {deploy.workflow}}}."
            return Plan(Mode.OBSERVE, about.default_branch, ignored=why)
        branch = deploy.branch or about.default_branch
        try:
            commit = self._commit(deploy, branch)
        except CannotReadRepository:
            if branch == about.default_branch:
                raise
            branch = about.default_branch  # a tag, or a branch that is gone by now
            commit = self._commit(deploy, branch)
        data = None
        if commit.parents:
            data = self._repository.read_file(deploy.repository, commit.parents[0], CONFIG_PATH)
        problem, own = None, None
        try:
            own = read_config(data, RepositoryFile, CONFIG_PATH) if data is not None else None
        except BadConfiguration as bad:
            problem = bad.reason
        environment = environment_of(self._server_file, own, deploy) or ""
        plan = plan_of(
            resolve(self._server_file, own, environment),
            deploy,
            default_branch=about.default_branch,
            private=about.private,
            server=self._server_file,
            file_found=data is not None,
            problem=problem,
        )
        if plan.branch != branch:
            commit = self._commit(deploy, plan.branch)
        if not commit.on_branch and plan.ignored is None:
            why = f"{deploy.sha[:12]} is not on {plan.branch}: a preview, or the branch was rewritten."
            plan = replace(plan, ignored=why)
        return plan

    def _is_trigger(self, deploy: Deploy) -> bool:
        """Whether this workflow deploys anything we guard: every run of every workflow is told to us, and most
        are of repositories that nobody should have to clone for that."""
        data = self._pull_requests.read_before(deploy.repository, deploy.sha, CONFIG_PATH)
        try:
            own = read_config(data, RepositoryFile, CONFIG_PATH) if data is not None else None
        except BadConfiguration:
            return False
        return environment_of(self._server_file, own, deploy) is not None

    def _commit(self, deploy: Deploy, branch: str) -> CommitFacts:
        self._repository.refresh(deploy.repository, branch)
        return self._repository.commit(deploy.repository, branch, deploy.sha)

    # --- polls --------------------------------------------------------------------------------------

    async def look(self, plan: Plan, t_s: float) -> HealthSample:
        """One poll: the probe and the target groups side by side. What could not be read is missing and
        said in `error`; it is never counted against the deploy."""
        probing = asyncio.create_task(self._probe.probe(plan.url)) if plan.url else None
        sample = HealthSample(t_s=t_s)
        errors: list[str] = []
        try:
            if plan.target_groups:
                # One after the other and without tasks: mostly both were read by somebody a moment ago.
                targets = await _or_error(self._target_health.read(plan), errors)
                traffic = await self._traffic_if_readable(plan)
                sample = replace(sample, targets=targets, traffic=traffic)
            if probing is not None:
                sample = replace(sample, probe=await _or_error(probing, errors))
        finally:
            if probing is not None:
                probing.cancel()
        return replace(sample, error=" ".join(errors)) if errors else sample

    async def _traffic_if_readable(self, plan: Plan) -> TrafficSample | None:
        """CloudWatch only adds to what probe and targets say: without it a poll is still a whole poll."""
        try:
            return await self._traffic.latest(plan)
        except CannotReadHealth as failure:
            log.debug("traffic.unreadable", reason=failure.reason)
        except Exception as error:
            log.error("traffic.broke", error=repr(error))
        return None

    async def look_and_keep(
        self, deploy: Deploy, plan: Plan, since_s: float, now: Clock, *, crash: bool = False
    ) -> HealthSample:
        """One poll of a service, as the others see it and stored; `since_s` (epoch) is its zero."""
        at_s = now()
        sample = await self.look(plan, at_s - since_s)
        siblings_bad = await self._siblings.bad_share(deploy.service)
        sample = replace(sample, siblings_bad=siblings_bad, crash=crash)
        await self._writer.keep(deploy.service, at_s, sample)
        return sample

    async def _seen(
        self, deploy: Deploy, since_s: float, until_s: float = float("inf")
    ) -> list[HealthSample]:
        rows = await asyncio.to_thread(self._samples.samples, deploy.service, since_s, until_s)
        return [replace(sample, t_s=at_s - since_s) for at_s, sample in rows]

    async def note_start(self, deploy: Deploy) -> None:
        """A deploy has started: look at the service now, while the old version still serves."""
        plan = await self.plan(deploy)
        if plan.ignored:
            return
        for _ in range(BASELINE_POLLS):
            await self.look_and_keep(deploy, plan, deploy.completed_at_s, self._now)
            await asyncio.sleep(min(BASELINE_PAUSE_S, plan.health.interval_s))

    async def baseline(self, deploy: Deploy, plan: Plan) -> Baseline:
        """Health in the minutes before the deploy: our own samples, else CloudWatch's history, else nothing.
        `source` says which, in words for the decision's reason; it is empty where nothing is known."""
        done_s = deploy.completed_at_s
        since_s = (deploy.started_at_s or done_s) - plan.health.baseline_window_s
        rows = await asyncio.to_thread(self._samples.samples, deploy.service, since_s, done_s)
        if rows:
            own = tuple(replace(sample, t_s=at_s - done_s) for at_s, sample in rows)
            return Baseline(own, _source(own, deploy))
        if not plan.target_groups:
            return Baseline((), "")
        try:
            history = await self._traffic.history(plan, since_s, deploy.started_at_s or done_s)
        except CannotReadHealth as failure:
            log.warning("baseline.unreadable", service=deploy.service, reason=failure.reason)
            return Baseline((), "")
        told = tuple(replace(sample, t_s=sample.t_s - done_s) for sample in history)
        return Baseline(told, "CloudWatch's history" if told else "")

    async def watch(
        self, deploy: Deploy, plan: Plan, baseline: Baseline, interrupted: Interrupted | None = None
    ) -> Watched | None:
        """Poll until the failure budget is used up or `watch_for_s` is over; None: `interrupted` came first.
        Continues from the samples that an earlier run of this step stored; the deadline is absolute."""
        now, since_s = steady(self._now), deploy.completed_at_s
        try:
            await asyncio.to_thread(self._samples.note_service, deploy.service, plan, now())
        except CannotStore as failure:
            # Only the looks between deploys need it; the next guard notes it again.
            log.warning("service.not_noted", service=deploy.service, reason=failure.reason)
        judged, crashed = Watch(baseline.samples, plan.health), False
        for sample in await self._seen(deploy, since_s):
            judged.see(sample)
            crashed = crashed or sample.crash
        crash = CrashLook(self._evidence, deploy, plan, found=crashed)
        return await OneWatch(self, deploy, plan, judged, crash, now).until_ended(interrupted)

    async def superseded_by(self, deploy: Deploy, *, right_now: bool = False) -> str | None:
        """See `DeployHistory`."""
        return await self._history.superseded_by(deploy, right_now=right_now)

    async def until_recovered(self, incident: Incident, plan: Plan) -> Watched | None:
        """While nobody acted: poll until the service is well again, or `decide_within_s` is up (None)."""
        now = steady(self._now)
        since_s = now()
        after: list[HealthSample] = []
        while now() < since_s + plan.rollback.decide_within_s:
            after.append(await self.look_and_keep(incident.deploy, plan, since_s, now))
            verdict = is_recovered(tuple(after), plan.health)
            if verdict.status == Health.HEALTHY:
                return Watched(Health.HEALTHY, verdict, tuple(after[-KEPT_SAMPLES:]), now())
            await asyncio.sleep(pause_after(after[-1], plan, since_s, now))
        return None

    async def verify(self, incident: Incident, plan: Plan) -> Watched:
        """See `ports.Watching.verify`."""
        now = steady(self._now)
        proposed = incident.state is IncidentState.PROPOSED
        pushed_s = incident.pushed_at_s or now()
        until_s = pushed_s + (PROPOSED_PATIENCE_S if proposed else plan.rollback.verify_within_s)
        deployed_s: float | None = None
        while True:
            if deployed_s is None:
                deployed_s = await asyncio.to_thread(self._history.revert_deployed_at, incident, plan)
                if deployed_s is not None:
                    until_s = deployed_s + plan.rollback.verify_within_s
            since_s = pushed_s if deployed_s is None else deployed_s
            latest = await self.look_and_keep(incident.deploy, plan, since_s, now)
            seen = await self._seen(incident.deploy, since_s)
            verdict = is_recovered(tuple(seen), plan.health)
            well = verdict.status == Health.HEALTHY
            over = now() >= until_s
            if (well and deployed_s is not None) or over:
                if deployed_s is None:
                    unheard = "No deploy of the revert was heard of"
                    how = "but the service is well" if well else "and the service is still failing"
                    reason = f"{unheard}, {how}. {verdict.reason}"
                    verdict = replace(verdict, reason=reason, rule=UNDEPLOYED)
                health = Health.HEALTHY if well else Health.UNHEALTHY
                return Watched(health, verdict, tuple(seen[-KEPT_SAMPLES:]), now())
            await asyncio.sleep(pause_after(latest, plan, since_s, now))


async def _or_error(reading: Awaitable[T], errors: list[str]) -> T | None:
    """What was read; None, and why in `errors`, where it could not be."""
    try:
        return await reading
    except CannotReadHealth as failure:
        errors.append(failure.reason)
    except Exception as error:
        log.error("look.failed", error=repr(error))
        errors.append(f"Looking failed in the bot itself ({type(error).__name__}).")
    return None


def _source(samples: tuple[HealthSample, ...], deploy: Deploy) -> str:
    """Which of our own looks the baseline is made of."""
    began_t_s = (deploy.started_at_s or deploy.completed_at_s) - deploy.completed_at_s
    if all(sample.t_s >= began_t_s for sample in samples):
        return "looked at when the deploy started"
    if any(sample.t_s >= began_t_s for sample in samples):
        return "looked at in the minutes before it and when it started"
    return "looked at in the minutes before it"
