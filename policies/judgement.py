"""What would the bot have decided on a recorded watch? Health rule and attribution, poll by poll."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from policies.attribution import Gate, attribution
from policies.facts import Baseline, Health, HealthSample, Verdict
from policies.health import HealthJudge
from policies.limits import HealthLimits

TAIL = 24
"""Polls that the attribution gates look back on."""


class Outcome(StrEnum):
    """How a recorded watch ends."""

    ROLL_BACK = "roll_back"
    HOLD = "hold"
    HEALTHY = "healthy"
    KEEP_WATCHING = "keep_watching"


@dataclass(frozen=True, slots=True)
class Judged:
    """The decision, when it fell (`at_s`, seconds since the deploy completed), its sentence and its gates."""

    outcome: Outcome
    at_s: float
    reason: str
    gates: tuple[Verdict, ...] = ()


def judge_watch(
    samples: Iterable[HealthSample], limits: HealthLimits, *, source: str = "recorded before the deploy"
) -> Judged:
    """Judge a watch that was recorded. `samples` are in the order of time; those before 0 are the baseline.

    A hold stands for the rest of the watch: what was not this deploy's fault when the budget ran out is not
    turned into its fault by lasting longer. Data that is missing is the exception, because it may come back."""
    ordered = list(samples)
    baseline = Baseline(tuple(s for s in ordered if s.t_s < 0.0), source)
    judge = HealthJudge(baseline.samples, limits)
    tail: deque[HealthSample] = deque(maxlen=TAIL)
    last_s = ordered[-1].t_s if ordered else 0.0
    verdict = Verdict(Health.PENDING, "Nothing was seen since this deploy.")
    for sample in ordered[len(baseline.samples) :]:
        verdict = judge.see(sample)
        tail.append(sample)
        if verdict.status == Health.HEALTHY:
            return Judged(Outcome.HEALTHY, sample.t_s, verdict.reason)
        if verdict.status == Health.UNHEALTHY:
            gates = attribution(baseline, tuple(tail), limits, verdict=verdict, budget=judge.budget)
            return _decided(verdict, gates, sample.t_s)
    if verdict.status == Health.UNKNOWN and last_s + limits.interval_s >= limits.watch_for_s:
        return Judged(Outcome.HOLD, last_s, f"{verdict.reason.rstrip('.')}: hold.")
    return Judged(Outcome.KEEP_WATCHING, last_s, verdict.reason)


def _decided(verdict: Verdict, gates: tuple[Verdict, ...], at_s: float) -> Judged:
    seen = verdict.reason.rstrip(".")
    stops = [gate for gate in gates if gate.status in (Gate.HOLD, Gate.ASK)]
    if stops:
        return Judged(Outcome.HOLD, at_s, f"{seen}, but {stops[0].reason}: hold.", gates)
    said = {gate.rule: gate.reason for gate in gates}
    reason = f"{seen}; {said['baseline']}, and {said['siblings']}: roll back."
    return Judged(Outcome.ROLL_BACK, at_s, reason, gates)
