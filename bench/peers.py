"""The rules of others, as their sources define them, played on the same polls.

- Argo Rollouts: a metric fails when `failed > failureLimit`, counted over the whole analysis, and errs when
  more than four measurements in a row could not be taken (`assessMetricStatus` in analysis/analysis.go); both
  abort the rollout.
- Flagger: every check that fails or finds no value adds one to `failedChecks`, which is not reset while the
  analysis runs; the next run that finds it at `threshold` rolls back (pkg/controller/scheduler.go).
- ECS deployment circuit breaker: half of the desired tasks, at least 3 and at most 200, failed in a row (a task
  that becomes healthy resets the count), until the deployment is steady (ECS developer guide).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.health_simulator import Trace

Badness = Sequence[tuple[float, float | None]]
"""(seconds since the deploy, badness or None for a poll that could not look)."""
Rule = Callable[[Badness], float | None]
"""When the rule asks for a rollback; None: never."""

ARGO_ERRORS = 4
"""`DefaultConsecutiveErrorLimit`."""


def consecutive(count: int, grace_s: float = 0.0, level: float = 0.5, missing_is_bad: bool = False) -> Rule:
    """`count` bad polls in a row."""

    def rule(polls: Badness) -> float | None:
        run = 0
        for t_s, bad in polls:
            if t_s < grace_s:
                continue
            if bad is None:
                run += missing_is_bad
            else:
                run = run + 1 if bad >= level else 0
            if run >= count:
                return t_s
        return None

    return rule


def continuous(duration_s: float, grace_s: float = 0.0, level: float = 0.5) -> Rule:
    """Bad without a break for `duration_s`."""

    def rule(polls: Badness) -> float | None:
        since_s: float | None = None
        for t_s, bad in polls:
            if t_s < grace_s or bad is None:
                continue
            since_s = (t_s if since_s is None else since_s) if bad >= level else None
            if since_s is not None and t_s - since_s >= duration_s:
                return t_s
        return None

    return rule


def argo(failure_limit: int, grace_s: float = 0.0, level: float = 0.05) -> Rule:
    """`initialDelay` is `grace_s`; a measurement fails above `level`."""

    def rule(polls: Badness) -> float | None:
        failed = errors = 0
        for t_s, bad in polls:
            if t_s < grace_s:
                continue
            errors = errors + 1 if bad is None else 0
            failed += bad is not None and bad > level
            if failed > failure_limit or errors > ARGO_ERRORS:
                return t_s
        return None

    return rule


def flagger(threshold: int, grace_s: float = 0.0, level: float = 0.01) -> Rule:
    """A check fails above `level` (a success rate below 99 %) or without a value."""

    def rule(polls: Badness) -> float | None:
        failed = 0
        for t_s, bad in polls:
            if t_s < grace_s:
                continue
            if failed >= threshold:
                return t_s
            failed += bad is None or bad > level
        return None

    return rule


def ecs_breaker(trace: Trace) -> float | None:
    """When the circuit breaker trips on the tasks of `trace`."""
    threshold = min(max(math.ceil(0.5 * trace.setting.targets), 3), 200)
    steady_s = _steady_s(trace)
    events = sorted([(t_s, 1) for t_s in trace.task_failures] + [(t_s, 0) for t_s in trace.task_healthy])
    count = 0
    for t_s, failed in events:
        if t_s > steady_s:
            return None
        count = count + 1 if failed else 0
        if count >= threshold:
            return t_s
    return None


def _steady_s(trace: Trace) -> float:
    """When all tasks have been healthy for as long as the load balancer needs to notice that they are not."""
    needed_s = trace.setting.check_s * (trace.setting.down + 1)
    since_s: float | None = None
    for sample in trace.samples:
        if sample.t_s < 0 or sample.targets is None:
            continue
        if all(target.state == "healthy" for target in sample.targets):
            since_s = sample.t_s if since_s is None else since_s
            if sample.t_s - since_s >= needed_s:
                return sample.t_s
        else:
            since_s = None
    return math.inf


@dataclass(frozen=True)
class Peer:
    """A rule with the parameters among which it is tuned."""

    name: str
    rules: tuple[tuple[str, Rule], ...]


def peers() -> tuple[Peer, ...]:
    """Every rule with its grid, strictest last."""
    graces_s = (0.0, 60.0, 120.0)
    return (
        Peer(
            "consecutive N",
            tuple(
                (f"N={n}, {g:.0f} s grace, level {level:g}", consecutive(n, g, level))
                for g in graces_s
                for level in (0.05, 0.5)
                for n in (3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20)
            ),
        ),
        Peer(
            "continuous T",
            tuple(
                (f"T={t} s, {g:.0f} s grace, level {level:g}", continuous(t, g, level))
                for g in graces_s
                for level in (0.05, 0.5)
                for t in (30, 60, 80, 100, 110, 120, 140, 160, 180)
            ),
        ),
        Peer(
            "Argo failureLimit",
            tuple(
                (f"failureLimit={n}, initialDelay {g:.0f} s", argo(n, g))
                for g in graces_s
                for n in (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40)
            ),
        ),
        Peer(
            "Flagger threshold",
            tuple(
                (f"threshold={n}, {g:.0f} s delay", flagger(n, g))
                for g in graces_s
                for n in (1, 3, 5, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 60)
            ),
        ),
    )
