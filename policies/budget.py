"""A failure budget in seconds (a one-sided CUSUM), spent by bad polls and slowly earned back.

Every poll of `dt` seconds adds `dt × (badness − allowed)` to accounts that never fall below zero:
- `boot_s` runs from the deploy on, and may reach `budget_before_first_good_s` until the new version has once
  been good for `first_good_after_s` (slow boots);
- `running_s` runs from `first_good_after_s` after the deploy on, and may reach `budget_s`. It starts by the
  clock and not by the first good spell, so that more badness can never make a rollback later;
- `spread_s` runs beside it and counts a poll that is touched as failed, but forgives `SPREAD_ALLOWED`:
  one request in five that fails is found by how many polls it touches, not by how deep;
- `traffic_s` is CloudWatch's own: its minutes come late and blur, so they count only from `budget_s` +
  `budget_before_first_good_s` after the deploy on, against `budget_before_first_good_s`;
- `crash_s` counts since the last good spell, forgives nothing, and may reach `budget_with_crash_s` as soon as
  there is crash evidence (two container exits, or a fatal boot signature in the log).
A poll that could not look adds nothing, and the present poll must itself be failing for an account to fire.
The limits were tuned on simulated traces to at most 2.5 % false rollbacks: docs/judgement.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from policies.badness import (
    badness_before,
    balancer_badness,
    is_blind,
    is_open,
    probe_badness,
    traffic_badness,
    usual_rate_5xx,
)
from policies.facts import HealthSample
from policies.limits import HealthLimits

SPREAD_LEVEL = 0.15
"""The share of failed probes that touches a poll: one of three does, one of twenty is noise."""
SPREAD_ALLOWED = 0.2
SPREAD_GETS = 3
"""GETs among which one failure touches a poll. A poll of fewer is read with those just before it, or one
request in five that fails would touch a poll in five, which is what `SPREAD_ALLOWED` forgives."""
SPREAD_REACH_S = 20.0
"""How far back that reading goes at most, so that a short outage is not made longer than it was."""
TOLD_S = 0.5
"""Seconds (a hundredth of a limit at most) that polls may be early without costing a whole poll more: the
sentence, which tells whole seconds, says "60 s of its 60 s" then."""
UNEVEN = 0.25
"""The share of an interval by which polls may be late and still count as neighbours."""
LONGEST_GAP = 3.0
"""A poll stands for at most this many intervals: nobody knows what happened in a longer silence."""
PROBE_REMEMBERED = 6.0
"""Intervals for which a good probe outweighs a load balancer that says unhealthy."""
RECENT_POLLS = 12
"""The polls whose missing data matters when the rule is about to fire: about one budget's length."""
_RECENT = (1 << RECENT_POLLS) - 1


class Budget(NamedTuple):
    """All that the rule remembers of the polls so far. Thousands of watches each keep one."""

    allowed: float
    usual_rate: float
    was_open: bool
    t_s: float | None = None
    gap_s: float = 0.0
    polls: int = 0
    looked: int = 0
    told: int = 0
    """Polls in which something was seen that is good or bad; targets in flight are neither."""
    lately: int = 0
    """The last `RECENT_POLLS` polls as bits: 1 where it could look."""
    now: float | None = None
    traffic_now: float | None = None
    boot_s: float = 0.0
    running_s: float = 0.0
    spread_s: float = 0.0
    traffic_s: float = 0.0
    crash_s: float = 0.0
    balancer_s: float = 0.0
    """Seconds for which the load balancer said unhealthy while the site answered."""
    good_since_s: float | None = None
    once_good: bool = False
    crash: bool = False
    crash_is_old: bool = False
    """The crash evidence is from before a good spell, and says nothing about what fails after it."""
    probe_good_at_s: float | None = None
    touched_at_s: float | None = None
    """When a probe last failed enough to touch its poll."""

    @property
    def is_failing(self) -> bool:
        """Whether the present poll is itself failing."""
        return self.now is not None and self.now > self.allowed


def opening(baseline: tuple[HealthSample, ...], limits: HealthLimits) -> Budget:
    """The untouched budget of a deploy, with what was usual before it. What failed before the deploy is
    forgiven after it: a service that is always 10 % bad is not sicker for that."""
    seen = [bad for sample in baseline if (bad := badness_before(sample, limits)) is not None]
    usual = sum(seen) / len(seen) if seen else 0.0
    return Budget(
        allowed=max(limits.allowed_badness, min(usual, limits.baseline_bad_share)),
        usual_rate=usual_rate_5xx(baseline, limits),
        was_open=any(is_open(sample.probe) for sample in baseline),
    )


def step(budget: Budget, sample: HealthSample, limits: HealthLimits) -> Budget:
    """Fold one poll into the budget. A poll that is not later than the last one changes nothing."""
    t_s, allowed = sample.t_s, budget.allowed
    if budget.t_s is not None and t_s <= budget.t_s:
        return budget
    gap_s = limits.interval_s if budget.t_s is None else t_s - budget.t_s
    # A recorder that polls less often than we would is believed as soon as it has shown its own rhythm.
    dt_s = min(gap_s, max(LONGEST_GAP * limits.interval_s, 1.5 * budget.gap_s))

    looked = not is_blind(sample)
    site = probe_badness(sample.probe, was_open=budget.was_open) if looked else None
    balancer = balancer_badness(sample.targets) if looked else None
    traffic = traffic_badness(sample.traffic, budget.usual_rate, limits) if looked else None
    # The site's own answers outweigh the load balancer, also for the few polls without a probe in between.
    bad = site
    if site is None and not _probe_was_good(budget, t_s, limits):
        bad = balancer
    failing = bad is not None and bad > allowed

    good_since_s = None if failing else budget.good_since_s
    if good_since_s is None and bad is not None and not failing:
        good_since_s = t_s - dt_s
    spell = good_since_s is not None and t_s - good_since_s >= limits.first_good_after_s

    touches = False
    spent_s = spread_s = traffic_s = balancer_s = 0.0
    if bad is not None:
        spent_s = dt_s * (bad - allowed)
        touches = failing and bad >= SPREAD_LEVEL
        touched = touches or (site is not None and _was_just_touched(budget, sample, dt_s))
        spread_s = dt_s * (touched - max(SPREAD_ALLOWED, allowed))
    if traffic is not None:
        traffic_s = dt_s * (traffic - allowed)
    if site is not None and balancer is not None:
        balancer_s = dt_s * ((balancer if site <= allowed else 0.0) - allowed)
    # A container that crashed is no noise: nothing of what fails with it is forgiven.
    crash_s = dt_s * bad if failing and bad is not None else min(spent_s, 0.0)
    running = min(max((t_s - limits.first_good_after_s) / dt_s, 0.0), 1.0)
    clear = min(max((t_s - limits.budget_s - limits.budget_before_first_good_s) / dt_s, 0.0), 1.0)
    crash_is_old = sample.crash and (spell or budget.crash_is_old)

    return Budget(
        allowed,
        budget.usual_rate,
        budget.was_open,
        t_s,
        gap_s,
        budget.polls + 1,
        budget.looked + looked,
        budget.told + (bad is not None or traffic is not None),
        (budget.lately << 1 | looked) & _RECENT,
        bad,
        traffic,
        boot_s=max(0.0, budget.boot_s + spent_s),
        running_s=max(0.0, budget.running_s + running * spent_s),
        spread_s=max(0.0, budget.spread_s + running * spread_s),
        traffic_s=max(0.0, budget.traffic_s + clear * traffic_s),
        crash_s=0.0 if spell else max(0.0, budget.crash_s + crash_s),
        balancer_s=max(0.0, budget.balancer_s + balancer_s),
        good_since_s=good_since_s,
        once_good=budget.once_good or spell,
        crash=(sample.crash or (budget.crash and not spell)) and not crash_is_old,
        crash_is_old=crash_is_old,
        probe_good_at_s=budget.probe_good_at_s if site is None else t_s if site <= allowed else None,
        touched_at_s=t_s if touches and site is not None else budget.touched_at_s,
    )


class Spending(NamedTuple):
    """One account: seconds used of its limit, and whether the present poll adds to it."""

    rule: str
    used_s: float
    limit_s: float
    failing: bool

    @property
    def fires(self) -> bool:
        short_s = min(TOLD_S, self.limit_s / 100)
        return self.failing and self.used_s + short_s >= self.limit_s


def spending(budget: Budget, limits: HealthLimits) -> Spending:
    """The account that fires, else the one that has used the largest share of its limit."""
    failing = budget.is_failing
    users_fail = budget.traffic_now is not None and budget.traffic_now > budget.allowed
    slow_s = limits.budget_before_first_good_s
    budget_s = limits.budget_s
    accounts = [Spending("budget", budget.running_s, budget_s, failing)]
    if not budget.once_good:
        accounts.append(Spending("budget_before_first_good", budget.boot_s, slow_s, failing))
    if budget.crash:
        accounts.append(Spending("budget_with_crash", budget.crash_s, limits.budget_with_crash_s, failing))
    if budget.spread_s:
        accounts.append(Spending("budget_of_spread", budget.spread_s, budget_s, failing))
    if budget.traffic_s:
        accounts.append(Spending("budget_of_traffic", budget.traffic_s, slow_s, users_fail))
    return max(accounts, key=_urgency)


def missing_lately(budget: Budget) -> str | None:
    """The words for it if more than half of the last polls could not look, else None."""
    polls = min(budget.polls, RECENT_POLLS)
    looked = budget.lately.bit_count()
    return f"{polls - looked} of the last {polls} polls could not look" if looked * 2 < polls else None


def _urgency(account: Spending) -> tuple[bool, float]:
    return account.fires, account.used_s / account.limit_s


def _was_just_touched(budget: Budget, sample: HealthSample, dt_s: float) -> bool:
    gets = 0 if sample.probe is None else sample.probe.ok + sample.probe.failed
    if budget.touched_at_s is None or not 0 < gets < SPREAD_GETS:
        return False
    polls = math.ceil(SPREAD_GETS / gets) - 1
    reach_s = min(polls * dt_s, SPREAD_REACH_S) + UNEVEN * dt_s
    return sample.t_s - budget.touched_at_s <= reach_s


def _probe_was_good(budget: Budget, t_s: float, limits: HealthLimits) -> bool:
    last_s = budget.probe_good_at_s
    return last_s is not None and t_s - last_s <= PROBE_REMEMBERED * max(limits.interval_s, budget.gap_s)
