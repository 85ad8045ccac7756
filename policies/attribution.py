"""Is it this deploy? Gates that keep a sick service from being blamed on a change that did not make it sick.

Each gate is a pure function that answers with a `Verdict` whose status is a `Gate`. The first one is Yelp's
idea: bad after, and not bad before. The shares come from docs/judgement.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from policies.badness import badness_before, balancer_badness, is_blind, probe_badness
from policies.budget import Budget, missing_lately, opening, step
from policies.facts import Baseline, HealthSample, Verdict
from policies.health import PROBE_AGAINST_BALANCER
from policies.limits import HealthLimits


class Gate(StrEnum):
    """What a gate says: go on, do not act by yourself, ask a person, or not asked (a person ordered)."""

    PASS = "pass"  # noqa: S105 - a gate's answer
    HOLD = "hold"
    ASK = "ask"
    SKIPPED = "skipped"


JUST_BEFORE_S = 60.0
JUST_BEFORE_SHARE = 0.5
"""A service that was half as bad in the last minute before the deploy as it is now was failing before it, unless
all that failed in that minute is one gap of less than half of it, as a rollout makes it."""
FEWEST_BEFORE = 2
"""One failed poll before the deploy is no sign of an earlier fault, however few polls there are."""
SIBLINGS_WINDOW_S = 180.0
LATEST_SIBLINGS = 3
LATEST_POLLS = 6


def attribution(
    baseline: Baseline,
    after: Sequence[HealthSample],
    limits: HealthLimits,
    *,
    started_t_s: float | None = None,
    verdict: Verdict | None = None,
    budget: Budget | None = None,
) -> tuple[Verdict, ...]:
    """All four gates, in the order in which their reasons are told. `after` is the (tail of the) watch,
    `verdict` what the health rule said of it, `budget` what it remembers (else folded from `after`)."""
    if budget is None:
        budget = opening(baseline.samples, limits)
        for sample in after:
            budget = step(budget, sample, limits)
    return (
        missing_data(budget, limits),
        probe_against_balancer(after, limits, verdict),
        healthy_before(baseline, after, budget, limits, started_t_s=started_t_s),
        siblings(after, limits),
    )


def healthy_before(
    baseline: Baseline,
    after: Sequence[HealthSample],
    budget: Budget,
    limits: HealthLimits,
    *,
    started_t_s: float | None = None,
) -> Verdict:
    """Was it healthy before? `number` is the share of badness over the `baseline_window_s` before the deploy.

    `started_t_s` (seconds, negative): when the deploy began. Polls after that may already show the new
    version, so where there are earlier ones only those count. Without any poll it is not called healthy; then
    only what the new version itself did (a crash, a good spell that ended) speaks for acting."""
    limit = limits.baseline_bad_share
    end_s, seen = _seen_before(baseline, limits, started_t_s)
    if not seen:
        unknown = "nothing is known of its health before this deploy"
        if budget.crash:
            return Verdict(Gate.PASS, f"{unknown}, but its container crashed since", "baseline", None, limit)
        if budget.once_good:
            return Verdict(
                Gate.PASS, f"{unknown}, but it was good for a while since", "baseline", None, limit
            )
        return Verdict(_on_unknown(limits), unknown, "baseline", None, limit)
    told = f"{len(seen)} poll{'s' if len(seen) > 1 else ''}"
    if baseline.source:
        told += f", {baseline.source}"
    share = _mean([bad for _, bad in seen])
    failed = sum(1 for _, bad in seen if bad > limits.allowed_badness)
    if share >= limit and failed < FEWEST_BEFORE <= len(seen) - failed:
        reason = f"one failed poll before this deploy is too little to call it bad before it ({told})"
        return Verdict(Gate.PASS, reason, "baseline", round(share, 4), limit)
    if share >= limit:
        reason = f"it was already {_percent(share)} bad before this deploy (limit {_percent(limit)}; {told})"
        return Verdict(Gate.HOLD, reason, "baseline", round(share, 4), limit)
    last = [bad for t_s, bad in seen if t_s >= end_s - JUST_BEFORE_S - limits.interval_s]
    just = _mean(last)
    now = _mean([bad for s in after if (bad := badness_before(s, limits)) is not None] or [1.0])
    # Containers that crash since the deploy are the new version's: what failed just before was its rollout.
    fault = not budget.crash and not _is_rollout_gap([bad > limits.allowed_badness for bad in last])
    if fault and just >= JUST_BEFORE_SHARE * now:
        reason = (
            f"it was already {_percent(just)} bad in the minute before this deploy, {_percent(now)} since "
            f"(limit {_percent(JUST_BEFORE_SHARE)} of that; {told})"
        )
        return Verdict(Gate.HOLD, reason, "baseline", round(just, 4), round(JUST_BEFORE_SHARE * now, 4))
    reason = f"it was healthy before ({_percent(share)} bad; {told})"
    return Verdict(Gate.PASS, reason, "baseline", round(share, 4), limit)


def siblings(after: Sequence[HealthSample], limits: HealthLimits) -> Verdict:
    """Are the other services sick too? `number` is the mean share of bad siblings, over the last two minutes
    or over the latest readings, whichever is worse: siblings are polled less often than the deploy."""
    limit = limits.siblings_bad_share
    known = [(s.t_s, s.siblings_bad) for s in after if s.siblings_bad is not None]
    if not known:
        return Verdict(Gate.PASS, "nothing is known of its siblings", "siblings", None, limit)
    recent = [bad for t_s, bad in known if t_s > after[-1].t_s - SIBLINGS_WINDOW_S]
    latest = [bad for _, bad in known[-LATEST_SIBLINGS:]]
    share = max(_mean(recent), _mean(latest))
    if share >= limit:
        reason = f"{_percent(share)} of its siblings are bad too (limit {_percent(limit)}), as in an outage"
        return Verdict(Gate.HOLD, reason, "siblings", round(share, 4), limit)
    reason = f"its siblings are healthy ({_percent(share)} bad)"
    return Verdict(Gate.PASS, reason, "siblings", round(share, 4), limit)


def are_siblings_settled(after: Sequence[HealthSample], limits: HealthLimits) -> bool:
    """Whether the last minutes and the latest readings of the siblings say the same.

    They are polled once a minute, so the first reading that differs may be an outage that begins, or one bad
    poll; a short while tells which, and costs less than either mistake."""
    known = [(s.t_s, s.siblings_bad) for s in after if s.siblings_bad is not None]
    if not known:
        return True
    recent = [bad for t_s, bad in known if t_s > after[-1].t_s - SIBLINGS_WINDOW_S]
    latest = [bad for _, bad in known[-LATEST_SIBLINGS:]]
    return (_mean(recent) >= limits.siblings_bad_share) == (_mean(latest) >= limits.siblings_bad_share)


def probe_against_balancer(
    after: Sequence[HealthSample], limits: HealthLimits, verdict: Verdict | None = None
) -> Verdict:
    """Does the site answer while the load balancer calls its targets unhealthy? `number` of polls."""
    both = [
        (balancer, site)
        for sample in after[-LATEST_POLLS:]
        if not is_blind(sample)
        and (site := probe_badness(sample.probe)) is not None
        and (balancer := balancer_badness(sample.targets)) is not None
    ]
    contradictions = [balancer > 0.5 and site <= limits.allowed_badness for balancer, site in both]
    against = sum(contradictions)
    by_rule = verdict is not None and verdict.rule == PROBE_AGAINST_BALANCER
    # Users' own requests failing (CloudWatch) settle it against a probe that still sees a cached page.
    users = any(s.traffic and s.traffic.rate_5xx > limits.rate_5xx_scale for s in after[-LATEST_POLLS:])
    if by_rule or (against * 2 > len(both) and contradictions[-1] and not users):
        reason = (
            "the site answers while the load balancer calls its targets unhealthy "
            f"({against} of the last {len(both)} polls), so look at the health check"
        )
        return Verdict(Gate.HOLD, reason, "probe_against_balancer", against, len(both) / 2)
    return Verdict(
        Gate.PASS, "probe and load balancer agree", "probe_against_balancer", against, len(both) / 2
    )


def missing_data(budget: Budget, limits: HealthLimits) -> Verdict:
    """Could we mostly look? `number` is the share of the latest polls that could not."""
    missing = missing_lately(budget)
    looked = budget.lately.bit_count()
    polls = max(1, min(budget.polls, budget.lately.bit_length()))
    if missing is not None:
        return Verdict(_on_unknown(limits), missing, "missing_data", round(1 - looked / polls, 4), 0.5)
    return Verdict(
        Gate.PASS, "the latest polls could look", "missing_data", round(1 - looked / polls, 4), 0.5
    )


def _seen_before(
    baseline: Baseline, limits: HealthLimits, started_t_s: float | None
) -> tuple[float, list[tuple[float, float]]]:
    """The end of the time before, and (t_s, badness) of the polls in it that could look.

    Where all polls are from after the deploy began, a bad end after good polls is the old version being taken
    down by this very deploy, and no sign of an earlier fault: it is left out."""
    known = [
        (sample.t_s, bad)
        for sample in baseline.samples
        if sample.t_s < 0.0 and (bad := badness_before(sample, limits)) is not None
    ]
    ends = [0.0] if started_t_s is None else [min(0.0, started_t_s + limits.interval_s), 0.0]
    for end_s in ends:
        seen = [(t_s, bad) for t_s, bad in known if end_s - limits.baseline_window_s <= t_s <= end_s]
        if seen:
            return end_s, seen if end_s < 0.0 or started_t_s is None else _without_rollout(seen, limits)
    return 0.0, []


def _without_rollout(seen: list[tuple[float, float]], limits: HealthLimits) -> list[tuple[float, float]]:
    good = [place for place, (_, bad) in enumerate(seen) if bad <= limits.allowed_badness]
    return seen[: good[-1] + 1] if good else seen


def _is_rollout_gap(failed: list[bool]) -> bool:
    """Whether all that failed is one short run; failures with good polls between them are a fault of its own."""
    count = sum(failed)
    if count < FEWEST_BEFORE:
        return True
    first = failed.index(True)
    return all(failed[first : first + count]) and count < JUST_BEFORE_SHARE * len(failed)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _on_unknown(limits: HealthLimits) -> Gate:
    return Gate.ASK if limits.on_unknown == "ask" else Gate.HOLD


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
