"""What would the bot have decided on a recorded watch? Health rule and attribution, poll by poll."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from policies.attribution import Gate, are_siblings_settled, attribution
from policies.facts import Baseline, Health, HealthSample, Verdict
from policies.health import HealthJudge
from policies.limits import HealthLimits
from policies.seen_samples import SeenSamples

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


class Watch:
    """A watch poll by poll, for a running guard and for a recorded trace alike."""

    __slots__ = ("judge", "limits", "seen")

    def __init__(self, baseline: tuple[HealthSample, ...], limits: HealthLimits) -> None:
        self.limits = limits
        self.judge = HealthJudge(baseline, limits)
        self.seen = SeenSamples()

    @property
    def tail(self) -> tuple[HealthSample, ...]:
        """The polls that the attribution gates look back on."""
        return self.seen.latest(TAIL)

    def see(self, sample: HealthSample) -> Verdict:
        """Fold in one poll; what the polls so far say. Takes constant time.

        Unhealthy ends the watch, so it waits until the siblings' readings have settled."""
        verdict = self.judge.see(sample)
        self.seen.add(sample)
        if verdict.status == Health.UNHEALTHY and not are_siblings_settled(self.tail, self.limits):
            reason = f"{verdict.reason.rstrip('.')}, and its siblings' health is changing."
            return replace(verdict, status=Health.PENDING, reason=reason)
        return verdict


def judge_watch(
    samples: Iterable[HealthSample], limits: HealthLimits, *, source: str = "recorded before the deploy"
) -> Judged:
    """Judge a watch that was recorded. `samples` are in the order of time; those before 0 are the baseline.

    A hold stands for the rest of the watch, as it does for a guard: what was not this deploy's fault when the
    budget ran out is not turned into its fault by lasting longer."""
    ordered = list(samples)
    baseline = Baseline(tuple(s for s in ordered if s.t_s < 0.0), source)
    watch = Watch(baseline.samples, limits)
    last_s = ordered[-1].t_s if ordered else 0.0
    verdict = Verdict(Health.PENDING, "Nothing was seen since this deploy.")
    for sample in ordered[len(baseline.samples) :]:
        verdict = watch.see(sample)
        if verdict.status == Health.HEALTHY:
            return Judged(Outcome.HEALTHY, sample.t_s, verdict.reason)
        if verdict.status == Health.UNHEALTHY:
            gates = attribution(baseline, watch.tail, limits, verdict=verdict, budget=watch.judge.budget)
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
