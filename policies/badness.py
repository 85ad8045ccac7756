"""How bad is one poll? A share from 0 (good) to 1, or None where the poll says nothing either way.

ALB's states and reason codes: `TargetHealth` in the Elastic Load Balancing v2 API reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from policies.facts import HealthSample, ProbeSample, TargetSample, TrafficSample
from policies.limits import HealthLimits

LOST = frozenset({403, 404, 410})
"""Statuses that are an outage of a URL only if that URL answered 2xx or 3xx before the deploy.
401 is not among them: a page that now asks who you are was given a door on purpose."""


class TargetState(StrEnum):
    """What one target's state says of the deploy."""

    GOOD = "good"
    BAD = "bad"
    IN_FLIGHT = "in flight"


def target_state(target: TargetSample) -> TargetState:
    """`healthy` is good; `unhealthy` is bad only where the target itself failed (`Target.*`).

    Registering, draining, unused and unavailable targets, and whatever the balancer blames on itself
    (`Elb.*`), are in flight: they say nothing about the deploy."""
    if target.state == "healthy":
        return TargetState.GOOD
    if target.state == "unhealthy" and (target.reason or "").startswith("Target."):
        return TargetState.BAD
    return TargetState.IN_FLIGHT


def is_blind(sample: HealthSample) -> bool:
    """Whether the poll could not look. An error explains the parts that are missing, so what is there still
    counts; where nothing is missing it can only be about what is there, and then nothing counts."""
    if sample.error is not None and sample.probe is not None and sample.targets is not None:
        return True
    return sample.probe is None and sample.targets is None and sample.traffic is None


def probe_badness(probe: ProbeSample | None, *, was_open: bool = False) -> float | None:
    """The share of the probes that failed. `was_open`: the URL answered 2xx or 3xx before the deploy."""
    if probe is None or probe.ok + probe.failed <= 0:
        return None
    if was_open and probe.failed == 0 and probe.status in LOST:
        return 1.0
    return probe.failed / (probe.ok + probe.failed)


def balancer_badness(targets: Iterable[TargetSample] | None) -> float | None:
    """1 if more than half of the countable targets of any one group are bad, else 0; None if none counts.

    Groups are judged one by one, because a dead API behind a healthy front page is an outage too."""
    if targets is None:
        return None
    balance: dict[str, int] = {}
    for target in targets:
        state = target_state(target)
        if state is not TargetState.IN_FLIGHT:
            weight = 1 if state is TargetState.BAD else -1
            balance[target.group] = balance.get(target.group, 0) + weight
    if not balance:
        return None
    return 1.0 if max(balance.values()) > 0 else 0.0


def traffic_badness(traffic: TrafficSample | None, usual_rate: float, limits: HealthLimits) -> float | None:
    """How far the 5xx rate is above its own baseline, in units of `rate_5xx_scale`, between 0 and 1.

    None without enough requests to tell a rate from an accident."""
    if traffic is None or traffic.requests_per_min < limits.min_requests_per_min:
        return None
    return min(max((traffic.rate_5xx - usual_rate) / limits.rate_5xx_scale, 0.0), 1.0)


def usual_rate_5xx(samples: Iterable[HealthSample], limits: HealthLimits) -> float:
    """The mean 5xx rate (0..1) of the minutes before the deploy that had enough requests; where there were
    none, the share of failures that the budget forgives anyway."""
    rates = [
        sample.traffic.rate_5xx
        for sample in samples
        if not is_blind(sample)
        and sample.traffic is not None
        and sample.traffic.requests_per_min >= limits.min_requests_per_min
    ]
    return sum(rates) / len(rates) if rates else limits.allowed_badness


def badness_before(sample: HealthSample, limits: HealthLimits) -> float | None:
    """The badness of a poll from before the deploy. A 5xx rate counts as itself there, the share of requests
    that failed, because there is nothing earlier to compare it with."""
    if is_blind(sample):
        return None
    site = probe_badness(sample.probe)
    if site is None:
        site = balancer_badness(sample.targets)
    traffic = sample.traffic
    if traffic is not None and traffic.requests_per_min >= limits.min_requests_per_min:
        return max(site or 0.0, min(max(traffic.rate_5xx, 0.0), 1.0))
    return site


def is_open(probe: ProbeSample | None) -> bool:
    """Whether the URL answered a probe with 2xx or 3xx."""
    return (
        probe is not None
        and probe.failed == 0
        and probe.ok > 0
        and (probe.status is not None and 200 <= probe.status < 400)
    )
