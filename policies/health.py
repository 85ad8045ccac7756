"""Is it sick? A failure budget in seconds (a one-sided CUSUM), spent by bad polls and slowly earned back.

Every poll of `dt` seconds adds `dt × (badness − allowed)` to accounts that never fall below zero:
- `boot_s` runs from the deploy on, and may reach `budget_before_first_good_s` until the new version has once
  been good for `first_good_after_s` (slow boots);
- `running_s` runs from `first_good_after_s` after the deploy on, and may reach `budget_s`. It starts by the
  clock and not by the first good spell, so that more badness can never make a rollback later;
- `crash_s` counts since the last good spell, forgives nothing, and may reach `budget_with_crash_s` as soon as
  there is crash evidence (two container exits, or a fatal boot signature in the log).
A poll that could not look adds nothing, and the present poll must itself be failing for the rule to fire.
The three limits were tuned on simulated traces to at most 2.5 % false rollbacks: docs/judgement.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.badness import (
    badness_before,
    balancer_badness,
    is_blind,
    is_open,
    probe_badness,
    traffic_badness,
    usual_rate_5xx,
)
from policies.facts import Health, HealthSample, Verdict
from policies.limits import HealthLimits

LONGEST_GAP = 3.0
"""A poll stands for at most this many intervals: nobody knows what happened in a longer silence."""
PROBE_REMEMBERED = 6.0
"""Intervals for which a good probe outweighs a load balancer that says unhealthy."""
FORGIVEN_IN_RECOVERY = 0.1
TICK_S = 1e-6
RECENT_POLLS = 12
"""The polls whose missing data matters when the rule is about to fire: about one budget's length."""
PROBE_AGAINST_BALANCER = "probe_against_balancer"
FEWEST_POLLS = 3
"""Below this many polls nothing is said about missing data or about recovery."""


@dataclass(frozen=True, slots=True)
class Budget:
    """All that the rule remembers of the polls so far; a poll is folded in by `step` in constant time."""

    allowed: float
    usual_rate: float
    was_open: bool
    t_s: float | None = None
    gap_s: float = 0.0
    polls: int = 0
    looked: int = 0
    boot_s: float = 0.0
    running_s: float = 0.0
    crash_s: float = 0.0
    balancer_s: float = 0.0
    good_since_s: float | None = None
    once_good: bool = False
    crash: bool = False
    probe_good_at_s: float | None = None
    now: float | None = None
    lately: int = 0
    """The last `RECENT_POLLS` polls as bits: 1 where it could look."""


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


def badness(budget: Budget, sample: HealthSample, limits: HealthLimits) -> float | None:
    """The badness of a poll after the deploy, None if it could not look or saw nothing that counts.

    The site's own answers outweigh the load balancer, also for the few polls without a probe in between."""
    if is_blind(sample):
        return None
    site = probe_badness(sample.probe, was_open=budget.was_open)
    if site is None and not _probe_was_good(budget, sample.t_s, limits):
        site = balancer_badness(sample.targets)
    traffic = traffic_badness(sample.traffic, budget.usual_rate, limits)
    if site is None or traffic is None:
        return site if traffic is None else traffic
    return max(site, traffic)


def step(budget: Budget, sample: HealthSample, limits: HealthLimits) -> Budget:
    """Fold one poll into the budget. A poll that is not later than the last one changes nothing."""
    if budget.t_s is not None and sample.t_s <= budget.t_s:
        return budget
    gap_s = limits.interval_s if budget.t_s is None else sample.t_s - budget.t_s
    # A recorder that polls less often than we would is believed as soon as it has shown its own rhythm.
    dt_s = min(gap_s, max(LONGEST_GAP * limits.interval_s, 1.5 * budget.gap_s))
    bad = badness(budget, sample, limits)
    looked = bad is not None or (bool(sample.targets) and not is_blind(sample))
    failing = bad is not None and bad > budget.allowed

    good_since_s = budget.good_since_s
    if failing:
        good_since_s = None
    elif bad is not None and good_since_s is None:
        good_since_s = sample.t_s - dt_s
    good_for_s = 0.0 if good_since_s is None else sample.t_s - good_since_s
    spell = good_for_s >= limits.first_good_after_s

    spent_s = 0.0 if bad is None else dt_s * (bad - budget.allowed)
    boot_s = max(0.0, budget.boot_s + spent_s)
    running_s = 0.0
    if sample.t_s > limits.first_good_after_s:
        late_s = min(dt_s, sample.t_s - limits.first_good_after_s)
        running_s = max(0.0, budget.running_s + spent_s * late_s / dt_s)
    crash_spent_s = dt_s * bad if failing and bad is not None else min(spent_s, 0.0)
    crash_s = 0.0 if spell else max(0.0, budget.crash_s + crash_spent_s)

    return Budget(
        allowed=budget.allowed,
        usual_rate=budget.usual_rate,
        was_open=budget.was_open,
        t_s=sample.t_s,
        gap_s=gap_s,
        polls=budget.polls + 1,
        looked=budget.looked + looked,
        boot_s=boot_s,
        running_s=running_s,
        crash_s=crash_s,
        balancer_s=_balancer_s(budget, sample, dt_s),
        good_since_s=good_since_s,
        once_good=budget.once_good or spell,
        crash=(budget.crash and not spell) or sample.crash,
        probe_good_at_s=_probe_good_at_s(budget, sample),
        now=bad,
        lately=(budget.lately << 1 | looked) & ((1 << RECENT_POLLS) - 1),
    )


@dataclass(frozen=True, slots=True)
class Spending:
    """The account that is nearest to (or furthest over) its limit."""

    rule: str
    used_s: float
    limit_s: float

    @property
    def is_over(self) -> bool:
        return self.used_s >= self.limit_s


def spending(budget: Budget, limits: HealthLimits) -> Spending:
    """What the budget's sentence is about: the account with the largest share of its limit used."""
    accounts = [Spending("budget", budget.running_s, limits.budget_s)]
    if not budget.once_good:
        accounts.append(
            Spending("budget_before_first_good", budget.boot_s, limits.budget_before_first_good_s)
        )
    if budget.crash:
        accounts.append(Spending("budget_with_crash", budget.crash_s, limits.budget_with_crash_s))
    return max(accounts, key=lambda account: account.used_s / account.limit_s)


def verdict(budget: Budget, limits: HealthLimits) -> Verdict:
    """What the polls so far say; `number` and `limit` are seconds of the failure budget."""
    spent = spending(budget, limits)
    failing = is_failing(budget)
    over_s = None if budget.t_s is None else budget.t_s + limits.interval_s

    if spent.is_over and failing:
        if (missing := missing_lately(budget)) is not None:
            return _said(Health.UNKNOWN, f"{_used(spent)}, but {missing}", spent)
        return _said(Health.UNHEALTHY, f"{_used(spent)}{_because(spent, budget)}", spent)
    if over_s is None or over_s < limits.watch_for_s:
        if budget.polls >= FEWEST_POLLS and budget.looked * 2 < budget.polls:
            return _said(Health.UNKNOWN, _mostly_missing(budget), spent)
        return _said(Health.PENDING, f"{_used(spent)}; it is still watched", spent)
    # A service that fails as its watch ends is watched on: the budget answers within its own length.
    if failing and over_s < limits.watch_for_s + limits.budget_before_first_good_s:
        return _said(Health.PENDING, f"{_used(spent)} and fails as its watch ends", spent)
    if budget.looked * 2 < budget.polls:
        return _said(Health.UNKNOWN, _mostly_missing(budget), spent)
    if budget.balancer_s >= limits.budget_s and not failing:
        return Verdict(
            Health.UNHEALTHY,
            f"The load balancer called the targets unhealthy for {budget.balancer_s:.0f} s since this deploy "
            f"(limit {limits.budget_s:.0f} s), while the site itself answered.",
            PROBE_AGAINST_BALANCER,
            round(budget.balancer_s, 3),
            limits.budget_s,
        )
    return _said(Health.HEALTHY, f"{_used(spent)} in {over_s:.0f} s of watching", spent)


def missing_lately(budget: Budget) -> str | None:
    """The words for it if more than half of the last polls could not look, else None."""
    polls = min(budget.polls, RECENT_POLLS)
    looked = budget.lately.bit_count()
    return f"{polls - looked} of the last {polls} polls could not look" if looked * 2 < polls else None


def judge_health(
    baseline: tuple[HealthSample, ...], after: tuple[HealthSample, ...], limits: HealthLimits
) -> Verdict:
    """Judge a whole watch at once. The same samples always give the same verdict."""
    budget = opening(baseline, limits)
    for sample in after:
        budget = step(budget, sample, limits)
    return verdict(budget, limits)


class HealthJudge:
    """The same, poll by poll: thousands of watches each fold in one sample at a time."""

    def __init__(self, baseline: tuple[HealthSample, ...], limits: HealthLimits) -> None:
        self.limits = limits
        self.budget = opening(baseline, limits)

    def see(self, sample: HealthSample) -> Verdict:
        """Fold in one poll; what the polls so far say."""
        self.budget = step(self.budget, sample, self.limits)
        return verdict(self.budget, self.limits)


def is_recovered(after: tuple[HealthSample, ...], limits: HealthLimits) -> Verdict:
    """Did the deploy of a revert bring the service back? `after` starts with that deploy.

    Healthy: good for the last `first_good_after_s` (one failed probe in ten is forgiven) and good at present.
    Unhealthy: its budget is used up. Else pending, or unknown where we mostly could not look."""
    budget = opening((), limits)
    seen: list[tuple[float, float]] = []
    for sample in after:
        budget = step(budget, sample, limits)
        if budget.t_s == sample.t_s and budget.now is not None:
            seen.append((sample.t_s, budget.now))
    if budget.t_s is None:
        return Verdict(Health.PENDING, "Nothing was seen of the service since the revert was deployed.")

    since_s = budget.t_s + limits.interval_s - limits.first_good_after_s
    window = [bad for t_s, bad in seen if t_s >= since_s - TICK_S]
    if len(window) < FEWEST_POLLS:
        window = [bad for _, bad in seen[-FEWEST_POLLS:]]
    watched_s = budget.t_s - after[0].t_s + limits.interval_s
    share = sum(window) / len(window) if window else 1.0
    good_s = (1.0 - share) * min(watched_s, limits.first_good_after_s)
    enough = len(window) >= FEWEST_POLLS and watched_s >= limits.first_good_after_s - TICK_S
    if enough and share <= FORGIVEN_IN_RECOVERY and not is_failing(budget):
        reason = f"The service was good for {good_s:.0f} s after the revert was deployed."
        return Verdict(Health.HEALTHY, reason, "recovered", round(good_s, 3), limits.first_good_after_s)
    said = verdict(budget, limits)
    if said.rule != PROBE_AGAINST_BALANCER and said.status in (Health.UNHEALTHY, Health.UNKNOWN):
        reason = said.reason.replace("Since this deploy", "Since the revert was deployed")
        return Verdict(said.status, reason, said.rule, said.number, said.limit)
    reason = (
        f"Since the revert was deployed the service was good for {good_s:.0f} s of the "
        f"{limits.first_good_after_s:.0f} s that count as recovered."
    )
    return Verdict(Health.PENDING, reason, "recovered", round(good_s, 3), limits.first_good_after_s)


def is_failing(budget: Budget) -> bool:
    """Whether the present poll is itself failing."""
    return budget.now is not None and budget.now > budget.allowed


def _balancer_s(budget: Budget, sample: HealthSample, dt_s: float) -> float:
    """Seconds for which the balancer said unhealthy while the site answered, as a budget of its own."""
    site = None if is_blind(sample) else probe_badness(sample.probe, was_open=budget.was_open)
    if site is None:
        return budget.balancer_s
    bad = balancer_badness(sample.targets)
    if bad is None:
        return budget.balancer_s
    against = bad if site <= budget.allowed else 0.0
    return max(0.0, budget.balancer_s + dt_s * (against - budget.allowed))


def _probe_good_at_s(budget: Budget, sample: HealthSample) -> float | None:
    site = None if is_blind(sample) else probe_badness(sample.probe, was_open=budget.was_open)
    if site is None:
        return budget.probe_good_at_s
    return sample.t_s if site <= budget.allowed else None


def _probe_was_good(budget: Budget, t_s: float, limits: HealthLimits) -> bool:
    last_s = budget.probe_good_at_s
    return last_s is not None and t_s - last_s <= PROBE_REMEMBERED * max(limits.interval_s, budget.gap_s)


def _said(status: Health, reason: str, spent: Spending) -> Verdict:
    return Verdict(status, f"{reason}.", spent.rule, round(spent.used_s, 3), spent.limit_s)


def _used(spent: Spending) -> str:
    return (
        f"Since this deploy the service used {spent.used_s:.0f} s of its {spent.limit_s:.0f} s failure budget"
    )


def _because(spent: Spending, budget: Budget) -> str:
    why = {
        "budget_with_crash": "its container crashed",
        "budget_before_first_good": "it has not been good once since",
    }.get(spent.rule)
    now = f"{100 * (budget.now or 0.0):.0f} % bad at present"
    return f" ({now})" if why is None else f" ({why}; {now})"


def _mostly_missing(budget: Budget) -> str:
    return f"We could not look in {budget.polls - budget.looked} of {budget.polls} polls since this deploy"
