"""Builds watches for tests: runs of polls in a few words."""

from __future__ import annotations

from policies.facts import HealthSample, ProbeSample, TargetSample, TrafficSample

GOOD, BAD, BLIND = 0.0, 1.0, None


def probe(badness: float, probes: int = 3) -> ProbeSample:
    """A poll's probes, of which the share `badness` failed."""
    failed = round(badness * probes)
    return ProbeSample(ok=probes - failed, failed=failed)


def poll(
    t_s: float,
    badness: float | None = GOOD,
    *,
    probes: int = 3,
    targets: tuple[TargetSample, ...] | None = None,
    traffic: TrafficSample | None = None,
    siblings_bad: float | None = None,
    crash: bool = False,
) -> HealthSample:
    """One poll; badness None is a poll that could not look."""
    return HealthSample(
        t_s=t_s,
        probe=None if badness is None else probe(badness, probes),
        targets=targets,
        traffic=traffic,
        siblings_bad=siblings_bad,
        crash=crash,
        error="the network is down" if badness is None else None,
    )


def polls(*runs: tuple[float | None, int], begin_s: float = 0.0, interval_s: float = 10.0, **parts: object):
    """`(badness, how many polls)`, one run after the other."""
    found: list[HealthSample] = []
    for badness, count in runs:
        for _ in range(count):
            found.append(poll(begin_s + len(found) * interval_s, badness, **parts))  # type: ignore[arg-type]
    return tuple(found)


def good_before(count: int = 30, interval_s: float = 10.0) -> tuple[HealthSample, ...]:
    """Five healthy minutes before the deploy."""
    return polls((GOOD, count), begin_s=-count * interval_s, interval_s=interval_s)


def fleet(*states: str, group: str = "web", reason: str = "Target.ResponseCodeMismatch"):
    """Targets in the given states; those that are unhealthy have failed by themselves."""
    return tuple(
        TargetSample(group, f"i-{n}", state, reason if state == "unhealthy" else None)
        for n, state in enumerate(states)
    )
