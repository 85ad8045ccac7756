"""Captures what broke before the redeploy destroys it: load balancer, host, container, cleaned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import structlog

from bot import evidence_layers as layers
from bot.aws import AwsClients
from bot.docker_look import look_at_host
from bot.ecs_tasks import look_at_service
from bot.evidence_look import Look, blind
from bot.failures import BotFailure
from bot.host_shell import HostShell, is_instance
from bot.log_groups import look_at_log_group
from bot.ports import HttpProbe, TargetHealth, Traffic
from bot.target_health import AlbTargetHealth
from policies.cleaning import clean
from policies.diagnosis import diagnose
from policies.facts import Deploy, Diagnosis, Evidence, HealthSample, Layer, LayerStatus
from policies.limits import Plan
from policies.redaction import bad_patterns

DEADLINE_S: Final = 20.0
MARGIN_S: Final = 1.0
"""Kept for cleaning and for putting the evidence together."""
OWN_WORDS_S: Final = 0.5
"""By so much a look ends before it is given up, so that it can say itself what it was waiting for."""
HEALTH_SHARE: Final = 0.3
"""Of the deadline, the most that reading target health may take where no poll has read it."""
LAST_WORD_S: Final = 1.0
"""How much longer than for all other looks CloudWatch is waited for: it only adds to what they say."""
MAX_HOSTS: Final = 4
"""Hosts that are looked at, failing ones first: they run the same image, and the deadline is for all."""
THREADS: Final = 16
SITE: Final = "The site"
TARGETS: Final = "Target health"

_log = structlog.get_logger(__name__)


def _no_answer() -> str:
    return "AWS did not answer before the capture's time was up."


@dataclass(frozen=True, slots=True)
class _Job:
    """A look to take in a thread, and what it is waiting for if it has to be given up."""

    where: str
    look: Callable[[], Look]
    waiting: Callable[[], str] = _no_answer


class Capture:
    """Fills `ports.EvidenceCapture`. One instance serves all guards."""

    def __init__(
        self,
        aws: AwsClients,
        probe: HttpProbe | None = None,
        target_health: TargetHealth | None = None,
        traffic: Traffic | None = None,
        *,
        deadline_s: float = DEADLINE_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._aws = aws
        self._probe = probe
        self._target_health = target_health or AlbTargetHealth(aws)
        self._traffic = traffic
        self._deadline_s = deadline_s
        self._now = now
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="evidence")

    async def capture(self, deploy: Deploy, plan: Plan, latest: HealthSample | None) -> Evidence:
        """Look at every layer within the deadline; what could not be seen is a line of the evidence.

        Only reads, so it may be repeated; what it then finds may be less, never wrong."""
        begun_s = time.monotonic()
        try:
            evidence = await self._look(plan, latest, begun_s + self._deadline_s)
        except Exception as error:
            _log.exception("evidence could not be captured", deploy=deploy.id)
            reason = error.reason if isinstance(error, BotFailure) else f"{type(error).__name__}: {error}"
            said = layers.tidy(f"The evidence could not be captured ({reason}).")
            evidence = Evidence(self._now(), (Layer(layers.LOAD_BALANCER, LayerStatus.UNKNOWN, said),))
        return replace(evidence, seconds=round(time.monotonic() - begun_s, 3))

    async def _look(self, plan: Plan, latest: HealthSample | None, until_s: float) -> Evidence:
        traffic = self._reading_traffic(plan, latest)
        sample, notes = await self._sample(plan, latest, until_s)
        looks, blind_notes = await self._looks(plan, sample, until_s - MARGIN_S)
        sample, notes = await self._with_traffic(sample, notes, traffic, until_s - MARGIN_S)
        extra = plan.logs.redact
        if bad := bad_patterns(extra):
            # What the repository wants removed cannot be, so nothing that may hold it is kept.
            extra = tuple(pattern for pattern in extra if pattern not in bad)
            looks = [replace(look, log="", says=(), details=()) for look in looks]
            blind_notes.append(
                f"The log is not kept, because RE2 does not take {bad[0]!r}: correct `logs.redact`."
            )
        telling = max(looks, key=_telling, default=None)
        cleaned = clean(telling.log if telling else "", extra, max_lines=plan.logs.lines)
        diagnosis = _diagnosis(telling, cleaned.text, extra)
        if telling is not None and diagnosis is not None and telling.container is LayerStatus.OK:
            failing = replace(
                telling,
                container=LayerStatus.FAILING,
                container_says=f"{telling.container_says} Its log ends with an error.",
            )
            looks = [failing if one is telling else one for one in looks]
        return Evidence(
            captured_at_s=self._now(),
            layers=(
                layers.load_balancer(sample, notes, extra),
                layers.host(looks, blind_notes, extra),
                layers.container(looks, () if looks else blind_notes, extra),
            ),
            container=layers.tidy(telling.name, extra) if telling and telling.name else None,
            container_status=layers.tidy(telling.status, extra) if telling and telling.status else None,
            exit_code=telling.exit_code if telling else None,
            restarts=telling.restarts if telling else None,
            image=layers.tidy(telling.image, extra) if telling and telling.image else None,
            log=cleaned.text,
            redacted=cleaned.redacted,
            diagnosis=diagnosis,
        )

    # --- first layer ---------------------------------------------------------------------------------

    async def _sample(
        self, plan: Plan, latest: HealthSample | None, until_s: float
    ) -> tuple[HealthSample, list[str]]:
        """The poll that failed, with what it lacks read now, and notes on what could not be read."""
        sample = latest or HealthSample(t_s=0.0)
        notes: list[str] = []
        within_s = min(HEALTH_SHARE * self._deadline_s, max(0.0, until_s - time.monotonic()))
        reads: dict[str, asyncio.Future[Any]] = {}
        if sample.probe is None and plan.url and self._probe is not None:
            reads[SITE] = asyncio.ensure_future(self._probe.probe(plan.url))
        if sample.targets is None and plan.target_groups:
            reads[TARGETS] = asyncio.ensure_future(self._target_health.read(plan))
        if not reads:
            return sample, notes
        await asyncio.wait(reads.values(), timeout=within_s)
        for what, task in reads.items():
            if not task.done():
                task.cancel()
                notes.append(f"{what} could not be read within {within_s:g} s.")
            elif error := task.exception():
                notes.append(error.reason if isinstance(error, BotFailure) else f"{what}: {error}")
            elif what == SITE:
                sample = replace(sample, probe=task.result())
            else:
                sample = replace(sample, targets=task.result())
        return sample, notes

    def _reading_traffic(self, plan: Plan, latest: HealthSample | None) -> asyncio.Future[Any] | None:
        """What users got, being read where the poll does not have it: no other layer waits for that."""
        if self._traffic is None or not plan.target_groups or (latest and latest.traffic is not None):
            return None
        return asyncio.ensure_future(self._traffic.latest(plan))

    @staticmethod
    async def _with_traffic(
        sample: HealthSample, notes: list[str], reading: asyncio.Future[Any] | None, until_s: float
    ) -> tuple[HealthSample, list[str]]:
        if reading is not None:
            left_s = max(0.0, until_s - time.monotonic())
            await asyncio.wait([reading], timeout=min(LAST_WORD_S, left_s))
            if not reading.done():
                reading.cancel()
                notes = [*notes, "CloudWatch did not answer in time."]
            elif error := reading.exception():
                notes = [*notes, error.reason if isinstance(error, BotFailure) else f"CloudWatch: {error}"]
            else:
                sample = replace(sample, traffic=reading.result())
        # One cause keeps several readings from being made; a person needs it once.
        return sample, [note for note in dict.fromkeys(notes) if note not in (sample.error or "")]

    # --- second and third layer ----------------------------------------------------------------------

    async def _looks(self, plan: Plan, sample: HealthSample, until_s: float) -> tuple[list[Look], list[str]]:
        """A look at each place that runs the service, side by side, and notes on what was not looked at."""
        jobs, notes = self._jobs(plan, sample, until_s - OWN_WORDS_S)
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(self._threads, job.look) for job in jobs]
        if futures:
            await asyncio.wait(futures, timeout=max(0.0, until_s - time.monotonic()))
        looks = []
        for job, future in zip(jobs, futures, strict=True):
            if not future.done():
                future.cancel()
                looks.append(blind(job.where, job.waiting()))
            elif error := future.exception():
                _log.error("a look failed", where=job.where, exc_info=error)
                looks.append(blind(job.where, f"Looking at it failed ({type(error).__name__}: {error})."))
            else:
                looks.append(future.result())
        return looks, notes

    def _jobs(self, plan: Plan, sample: HealthSample, until_s: float) -> tuple[list[_Job], list[str]]:
        runtime, lines = plan.runtime, plan.logs.lines
        jobs: list[_Job] = []
        notes: list[str] = []
        if runtime.container:
            hosts, notes = _hosts(sample)
            shell = HostShell(self._aws, plan)
            for one in hosts:
                look = partial(look_at_host, shell, one, runtime.container, lines, until_s)
                jobs.append(_Job(one, look, partial(shell.waiting, one)))
        if runtime.ecs_service:
            jobs.append(_Job(runtime.ecs_service, partial(look_at_service, self._aws, plan, until_s)))
        if runtime.log_group:
            jobs.append(_Job(runtime.log_group, partial(look_at_log_group, self._aws, plan, until_s)))
        if not jobs and not notes:
            notes = ["No runtime is configured, so neither host nor container was looked at: set `runtime`."]
        return jobs, notes


def _hosts(sample: HealthSample) -> tuple[list[str], list[str]]:
    """Instances to look at, failing ones first, and why others are left out."""
    targets = sorted(sample.targets or (), key=lambda target: not layers.is_bad(target))
    ids = list(dict.fromkeys(target.target.split(":")[0] for target in targets))
    hosts = [one for one in ids if is_instance(one)]
    notes = []
    if not ids:
        notes.append("No target is known, so there is no host to look at.")
    elif not hosts:
        notes.append(
            "The targets are addresses, not instances, so SSM cannot reach them: set `runtime.ecs_service`."
        )
    elif len(hosts) > MAX_HOSTS:
        notes.append(f"{MAX_HOSTS} of {len(hosts)} hosts were looked at.")
    return hosts[:MAX_HOSTS], notes


def _telling(look: Look) -> tuple[bool, bool, bool]:
    """Which look the evidence quotes: one with a dead container and a log before any other."""
    return (
        look.container is LayerStatus.FAILING and bool(look.log.strip() or look.says),
        bool(look.log.strip()),
        look.container is not LayerStatus.UNKNOWN,
    )


def _diagnosis(look: Look | None, log: str, extra: Sequence[str]) -> Diagnosis | None:
    """The cause: what docker or ECS says for certain before what the log says, and that before a hint."""
    if look is None:
        return None
    said = diagnose(clean("\n".join(look.says), tuple(extra)).text, exited=True) if look.says else None
    read = diagnose(log, exited=look.container is LayerStatus.FAILING)
    if said is not None and said.kind not in ("unknown", "wrapper"):
        return said
    return read or said
