"""Plays what a service looks like around a deploy, seen through a load balancer, probes and CloudWatch.

Each target is a state machine with ALB's own rules: a new target needs one passed check, a healthy one falls
after `down` failed checks in a row, an unhealthy one returns after `up` passed ones, and with no healthy one
ALB routes to all of them. Nothing here knows how the bot judges; what it makes are plain polls.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from policies.facts import HealthSample, ProbeSample, TargetSample, TrafficSample

STEP_S = 5
BEFORE_S, AFTER_S = 300, 900
WARM_UP_S = 400
"""Played before the first poll, so that the load balancer has settled."""

Chance = Callable[[float, int], float]
"""Of a failure, by time (seconds since the deploy) and target."""


@dataclass
class Course:
    """What happens in one trace; the defaults are a service that is well."""

    fail: Chance = lambda t_s, i: 0.0
    check_fail: Chance | None = None
    """Of a health check, where it differs from what users see."""
    timeouts: bool = False
    drained: tuple[tuple[float, float, int], ...] = ()
    """(from, to, target): taken out of service by the deploy, then registered anew."""
    siblings_fail: Callable[[float], float] = lambda t_s: 0.0
    blind: Callable[[float], float] = lambda t_s: 0.01
    """Of our own errors when looking."""
    crash_at_s: float | None = None
    exits: bool = False
    """Whether the containers exit (for ECS, which counts them)."""


@dataclass
class Setting:
    """The fleet and what can be seen of it, drawn anew for each trace."""

    targets: int
    check_s: int
    up: int
    down: int
    probes: int
    requests_per_min: float
    cloudwatch_lag_s: float | None
    siblings: int
    noise: float
    interval_s: int = 10


@dataclass
class Trace:
    """One played deploy: its polls, and what ECS would have counted."""

    scenario: str
    bad: bool
    setting: Setting
    samples: list[HealthSample]
    begins_s: float
    """When a bad deploy begins to be bad."""
    task_failures: list[float] = field(default_factory=list)
    task_healthy: list[float] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The trace as `rollback-bot judge` reads it."""
        for sample in self.samples:
            yield json.dumps(as_json(sample))


def as_json(sample: HealthSample) -> dict[str, object]:
    """One poll in the form of contract.md."""
    probe, traffic = sample.probe, sample.traffic
    return {
        "t": sample.t_s,
        "probe": None if probe is None else {"ok": probe.ok, "failed": probe.failed},
        "targets": None
        if sample.targets is None
        else {t.target: {"state": t.state, "reason": t.reason} for t in sample.targets},
        "cloudwatch": None
        if traffic is None
        else {"requests_per_min": traffic.requests_per_min, "rate_5xx": traffic.rate_5xx},
        "siblings_bad": sample.siblings_bad,
        "crash": sample.crash,
        "error": sample.error,
    }


class Target:
    """ALB's view of one target."""

    def __init__(self) -> None:
        self.state = "healthy"
        self.passed = 0
        self.failed = 0

    def register(self) -> None:
        self.state, self.passed, self.failed = "initial", 0, 0

    def drain(self) -> None:
        self.state = "draining"

    def check(self, ok: bool, setting: Setting) -> None:
        if self.state == "draining":
            return
        self.passed, self.failed = (self.passed + 1, 0) if ok else (0, self.failed + 1)
        needed = 1 if self.state == "initial" else setting.up
        if self.state != "healthy" and self.passed >= needed:
            self.state = "healthy"
        elif self.state != "unhealthy" and self.failed >= setting.down:
            self.state = "unhealthy"


def draw_setting(random_: random.Random) -> Setting:
    """A fleet of one to eight targets, with ALB's settings as people have them."""
    return Setting(
        targets=random_.choice([1, 2, 2, 3, 4, 6, 8]),
        check_s=random_.choice([5, 10, 10, 15, 30]),
        up=random_.choice([2, 3, 5]),
        down=random_.choice([2, 2, 3]),
        probes=random_.choice([1, 3, 3, 3]),
        requests_per_min=random_.lognormvariate(3.5, 1.3),
        cloudwatch_lag_s=random_.uniform(30, 120) if random_.random() < 0.6 else None,
        siblings=random_.choice([0, 1, 2, 4, 8]),
        noise=random_.choice([0.0, 0.0, 0.001, 0.003]),
    )


def play(scenario: str, random_: random.Random, setting: Setting | None = None) -> Trace:
    """One trace of `scenario`, from `BEFORE_S` before the deploy to `AFTER_S` after it."""
    make, bad = SCENARIOS[scenario]
    setting = setting or draw_setting(random_)
    if scenario == "one bad target of N":
        setting.targets = max(2, setting.targets)
    if scenario == "zone outage":
        setting.siblings = max(1, setting.siblings)
    course, begins_s = make(random_, setting)
    trace = Trace(scenario, bad, setting, [], begins_s)
    targets = [Target() for _ in range(setting.targets)]
    minutes: dict[int, list[float]] = {}
    siblings: float | None = None
    for t_s in range(-BEFORE_S - WARM_UP_S, AFTER_S, STEP_S):
        _move(t_s, targets, course, setting, random_, trace)
        failing = _site_failure(t_s, targets, course, setting)
        minutes.setdefault(t_s // 60, []).append(failing)
        if setting.siblings and (siblings is None or t_s % 60 == 0):
            chance = max(course.siblings_fail(t_s), 0.01)
            siblings = sum(random_.random() < chance for _ in range(setting.siblings)) / setting.siblings
        if t_s >= -BEFORE_S and t_s % setting.interval_s == 0:
            trace.samples.append(_poll(t_s, targets, course, setting, random_, failing, minutes, siblings))
    return trace


def _move(
    t_s: int, targets: list[Target], course: Course, setting: Setting, random_: random.Random, trace: Trace
) -> None:
    check_fail = course.check_fail or course.fail
    for i, target in enumerate(targets):
        for begin_s, end_s, which in course.drained:
            if which == i and begin_s <= t_s < begin_s + STEP_S:
                target.drain()
            if which == i and end_s <= t_s < end_s + STEP_S and target.state == "draining":
                target.register()
        if (t_s + STEP_S * i) % setting.check_s:
            continue
        was = target.state
        chance = 1.0 - (1.0 - check_fail(t_s, i)) * (1.0 - setting.noise)
        target.check(random_.random() >= chance, setting)
        if t_s >= 0:
            fell = target.state == "unhealthy" and (was != "unhealthy" or t_s % 60 < setting.check_s)
            if fell or (course.exits and t_s % 30 < setting.check_s and check_fail(t_s, i) > 0.9):
                trace.task_failures.append(float(t_s))
            elif target.state == "healthy" and was != "healthy":
                trace.task_healthy.append(float(t_s))


def _site_failure(t_s: float, targets: list[Target], course: Course, setting: Setting) -> float:
    """The chance that a user's request fails, after ALB's routing."""
    routed = [i for i, target in enumerate(targets) if target.state == "healthy"]
    routed = routed or [i for i, target in enumerate(targets) if target.state != "draining"]
    if not routed:
        return 1.0
    mean = sum(course.fail(t_s, i) for i in routed) / len(routed)
    return 1.0 - (1.0 - mean) * (1.0 - setting.noise)


def _poll(
    t_s: int,
    targets: list[Target],
    course: Course,
    setting: Setting,
    random_: random.Random,
    failing: float,
    minutes: dict[int, list[float]],
    siblings: float | None,
) -> HealthSample:
    crash = course.crash_at_s is not None and t_s >= course.crash_at_s
    if random_.random() < course.blind(t_s):
        return HealthSample(
            float(t_s), siblings_bad=siblings, crash=crash, error="the network did not answer"
        )
    failed = sum(random_.random() < failing for _ in range(setting.probes))
    reason = "Target.Timeout" if course.timeouts else "Target.ResponseCodeMismatch"
    reasons = {"unhealthy": reason, "initial": "Elb.RegistrationInProgress"}
    seen = tuple(
        TargetSample("targets", f"i-{i}", target.state, reasons.get(target.state))
        for i, target in enumerate(targets)
    )
    return HealthSample(
        float(t_s),
        probe=ProbeSample(setting.probes - failed, failed),
        targets=seen,
        traffic=_minute(t_s, setting, random_, minutes),
        siblings_bad=siblings,
        crash=crash,
    )


def _minute(
    t_s: float, setting: Setting, random_: random.Random, minutes: dict[int, list[float]]
) -> TrafficSample | None:
    """CloudWatch's newest whole minute, as late as CloudWatch is; None without traffic."""
    if setting.cloudwatch_lag_s is None:
        return None
    minute = int((t_s - setting.cloudwatch_lag_s) // 60) - 1
    drawn = random.Random(f"{minute} {setting.requests_per_min}")  # the same point at every poll
    requests = max(0, round(drawn.gauss(setting.requests_per_min, setting.requests_per_min**0.5)))
    steps = minutes.get(minute)
    if not requests or not steps:
        return None
    mean = sum(steps) / len(steps)
    failed = sum(drawn.random() < mean for _ in range(min(requests, 400)))
    return TrafficSample(float(requests), failed / min(requests, 400))


# --- what can happen ---------------------------------------------------------------------------------

Made = tuple[Course, float]


def _between(begin_s: float, end_s: float, chance: float = 1.0) -> Chance:
    return lambda t_s, i: chance if begin_s <= t_s < end_s else 0.0


def _flaps(random_: random.Random, begin_s: float, end_s: float) -> Chance:
    """Down and up in turn."""
    edges, t_s, longest = [], begin_s, random_.uniform(15, 60)
    while t_s < end_s:
        down_s = random_.uniform(0.3, 1.0) * longest
        edges.append((t_s, min(t_s + down_s, end_s)))
        t_s += down_s + random_.uniform(0.3, 1.0) * longest
    return lambda now_s, i: float(any(a <= now_s < b for a, b in edges))


def healthy(random_: random.Random, setting: Setting) -> Made:
    return Course(), 0.0


def noise(random_: random.Random, setting: Setting) -> Made:
    return Course(fail=lambda t_s, i: 0.02), 0.0


def slow_boot(random_: random.Random, setting: Setting) -> Made:
    boot_s = random_.uniform(20, 170)
    crash_s = random_.uniform(20, 60) if random_.random() < 0.03 else None
    return Course(fail=_between(0, boot_s), timeouts=True, crash_at_s=crash_s), 0.0


def flapping_then_good(random_: random.Random, setting: Setting) -> Made:
    return Course(fail=_flaps(random_, 0, random_.uniform(60, 240))), 0.0


def dependency_blip(random_: random.Random, setting: Setting) -> Made:
    begin_s = random_.uniform(0, 750)
    return Course(fail=_between(begin_s, begin_s + random_.uniform(20, 120))), 0.0


def one_bad_target(random_: random.Random, setting: Setting) -> Made:
    return Course(fail=lambda t_s, i: float(i == 0 and t_s >= 0), timeouts=random_.random() < 0.5), 0.0


def bad_before(random_: random.Random, setting: Setting) -> Made:
    begin_s, chance = -random_.uniform(60, 600), random_.uniform(0.3, 1.0)
    end_s = random_.choice([AFTER_S, random_.uniform(100, AFTER_S)])
    return Course(fail=_between(begin_s, end_s, chance)), 0.0


def zone_outage(random_: random.Random, setting: Setting) -> Made:
    begin_s, chance = random_.uniform(-60, 600), random_.uniform(0.6, 1.0)
    end_s = begin_s + random_.uniform(150, 900)
    late_s = random_.uniform(-30, 30)
    return (
        Course(
            fail=_between(begin_s, end_s, chance),
            siblings_fail=lambda t_s: 0.9 if begin_s + late_s <= t_s < end_s + late_s else 0.0,
        ),
        0.0,
    )


def our_own_errors(random_: random.Random, setting: Setting) -> Made:
    begin_s, share = random_.uniform(-100, 500), random_.uniform(0.3, 1.0)
    end_s = begin_s + random_.uniform(100, 900)
    return Course(blind=lambda t_s: share if begin_s <= t_s < end_s else 0.01), 0.0


def rolling_drain(random_: random.Random, setting: Setting) -> Made:
    each_s = random_.uniform(15, 60)
    if setting.targets == 1:  # replaced in place: down for as long as it takes to start
        return Course(fail=_between(0, each_s)), 0.0
    drained = tuple((i * each_s - each_s, i * each_s, i) for i in range(setting.targets))
    dip, dip_s = random_.uniform(0.05, 0.5), random_.uniform(5, 20)
    end_s = each_s * setting.targets
    # Connections that are cut as each target leaves.
    return Course(
        fail=lambda t_s, i: dip if 0 <= t_s < end_s and t_s % each_s < dip_s else 0.0, drained=drained
    ), 0.0


def broken_health_check(random_: random.Random, setting: Setting) -> Made:
    return Course(check_fail=lambda t_s, i: float(t_s >= 0)), 0.0


def crash_at_boot(random_: random.Random, setting: Setting) -> Made:
    known_s = random_.uniform(5, 45) if random_.random() < 0.97 else None
    return Course(fail=_between(0, AFTER_S), timeouts=True, crash_at_s=known_s, exits=True), 0.0


def env_500(random_: random.Random, setting: Setting) -> Made:
    begin_s = random_.uniform(0, 60)
    passing = random_.random() < 0.5
    check = (lambda t_s, i: 0.0) if passing else None
    return Course(fail=_between(begin_s, AFTER_S, random_.uniform(0.9, 1.0)), check_fail=check), begin_s


def flapping_for_ever(random_: random.Random, setting: Setting) -> Made:
    crash_s = random_.uniform(60, 200) if random_.random() < 0.2 else None
    return Course(fail=_flaps(random_, 0, AFTER_S), crash_at_s=crash_s), 0.0


def leak(random_: random.Random, setting: Setting) -> Made:
    begin_s, ramp_s = random_.uniform(420, 540), random_.uniform(1, 90)
    crash_s = begin_s + random_.uniform(40, 120) if random_.random() < 0.5 else None
    return (
        Course(fail=lambda t_s, i: min(max((t_s - begin_s) / ramp_s, 0.0), 1.0), crash_at_s=crash_s),
        begin_s,
    )


def half_5xx(random_: random.Random, setting: Setting) -> Made:
    return Course(fail=_between(0, AFTER_S, 0.5)), 0.0


def fifth_5xx(random_: random.Random, setting: Setting) -> Made:
    return Course(fail=_between(0, AFTER_S, 0.2)), 0.0


SCENARIOS: dict[str, tuple[Callable[[random.Random, Setting], Made], bool]] = {
    "healthy": (healthy, False),
    "2 % noise": (noise, False),
    "slow boot": (slow_boot, False),
    "flapping, then good": (flapping_then_good, False),
    "dependency blip": (dependency_blip, False),
    "one bad target of N": (one_bad_target, False),
    "bad before": (bad_before, False),
    "zone outage": (zone_outage, False),
    "our own errors": (our_own_errors, False),
    "rolling drain": (rolling_drain, False),
    "broken health check": (broken_health_check, False),
    "crash at boot": (crash_at_boot, True),
    "500 everywhere": (env_500, True),
    "flapping for ever": (flapping_for_ever, True),
    "leak after 8 min": (leak, True),
    "50 % 5xx": (half_5xx, True),
    "20 % 5xx": (fifth_5xx, True),
}
"""By name: how it is made, and whether the deploy is to blame."""


def play_all(traces: int, seed: int) -> Iterator[Trace]:
    """`traces` of every scenario; the same seed plays the same."""
    for scenario in SCENARIOS:
        random_ = random.Random(f"{seed} {scenario}")
        for _ in range(traces):
            yield play(scenario, random_)
