"""Is it sick? Verdicts, each with its sentence, from the failure budget of a watch."""

from __future__ import annotations

from policies.budget import Budget, Spending, missing_lately, opening, spending, step
from policies.facts import Health, HealthSample, Verdict
from policies.limits import HealthLimits

PROBE_AGAINST_BALANCER = "probe_against_balancer"
FORGIVEN_IN_RECOVERY = 0.1
TICK_S = 1e-6
FEWEST_POLLS = 3
"""Below this many polls nothing is said about missing data or about recovery."""


def verdict(budget: Budget, limits: HealthLimits) -> Verdict:
    """What the polls so far say; `number` and `limit` are seconds of the failure budget."""
    spent = spending(budget, limits)
    failing = budget.is_failing
    over_s = None if budget.t_s is None else budget.t_s + limits.interval_s

    if spent.fires:
        if (missing := missing_lately(budget)) is not None:
            return _said(Health.UNKNOWN, f"{_used(spent)}, but {missing}", spent)
        return _said(Health.UNHEALTHY, f"{_used(spent)}{_because(spent, budget)}", spent)
    if over_s is None or over_s < limits.watch_for_s:
        if budget.polls >= FEWEST_POLLS and budget.looked * 2 < budget.polls:
            return _said(Health.UNKNOWN, _mostly_missing(budget), spent)
        return _said(Health.PENDING, f"{_used(spent)}; it is still watched", spent)
    # A service that fails as its watch ends, or that only answers just now, is watched on: the budget answers
    # within its own length.
    over = spent.used_s >= spent.limit_s
    if (failing or over) and over_s < limits.watch_for_s + limits.budget_before_first_good_s:
        ending = "fails as its watch ends" if failing else "answers just now, so it is watched on"
        return _said(Health.PENDING, f"{_used(spent)} and {ending}", spent)
    if budget.looked * 2 < budget.polls:
        return _said(Health.UNKNOWN, _mostly_missing(budget), spent)
    if budget.told * 2 < budget.polls:
        return _said(Health.UNKNOWN, _says_nothing(budget), spent)
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

    __slots__ = ("budget", "limits")

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
    if enough and share <= FORGIVEN_IN_RECOVERY and not budget.is_failing:
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
        "budget_of_spread": "failures in many polls",
        "budget_of_traffic": "its users' requests fail",
    }.get(spent.rule)
    present = budget.traffic_now if spent.rule == "budget_of_traffic" else budget.now
    now = f"{100 * (present or 0.0):.0f} % bad at present"
    return f" ({now})" if why is None else f" ({why}; {now})"


def _mostly_missing(budget: Budget) -> str:
    return f"We could not look in {budget.polls - budget.looked} of {budget.polls} polls since this deploy"


def _says_nothing(budget: Budget) -> str:
    return (
        f"Nothing that is good or bad was seen in {budget.polls - budget.told} of {budget.polls} polls since "
        "this deploy (no answer of the site, no target in service, too few requests)"
    )
