"""Whose fault it is: each gate with its sentence, its number and its limit."""

from __future__ import annotations

import pytest

from policies.attribution import (
    Gate,
    attribution,
    healthy_before,
    missing_data,
    probe_against_balancer,
    siblings,
)
from policies.budget import opening, step
from policies.facts import Baseline, HealthSample, ProbeSample, TrafficSample, Verdict
from policies.health import PROBE_AGAINST_BALANCER
from policies.limits import HealthLimits
from tests.watches import BAD, BLIND, GOOD, fleet, good_before, poll, polls

LIMITS = HealthLimits()
SOURCE = "seen since the deploy started"


def folded(samples=(), baseline=()):
    budget = opening(baseline, LIMITS)
    for sample in samples:
        budget = step(budget, sample, LIMITS)
    return budget


def before(*runs, after=(), started_t_s=None, **how):
    samples = polls(*runs, begin_s=-10.0 * sum(count for _, count in runs), **how)
    return healthy_before(Baseline(samples, SOURCE), after, folded(after), LIMITS, started_t_s=started_t_s)


BEFORE = {
    "healthy": (
        before((GOOD, 30)),
        Gate.PASS,
        "it was healthy before (0 % bad; 30 polls, seen since the deploy started)",
    ),
    "one poll is little, and says so": (
        before((GOOD, 1)),
        Gate.PASS,
        "it was healthy before (0 % bad; 1 poll, seen since the deploy started)",
    ),
    "a little noise": (
        before((GOOD, 15), (0.34, 1), (GOOD, 14)),
        Gate.PASS,
        "it was healthy before (1 % bad; 30 polls, seen since the deploy started)",
    ),
    "bad for the whole time": (
        before((BAD, 30)),
        Gate.HOLD,
        "it was already 100 % bad before this deploy (limit 30 %; 30 polls, seen since the deploy started)",
    ),
    "just bad enough": (
        before((BAD, 9), (GOOD, 21)),
        Gate.HOLD,
        "it was already 30 % bad before this deploy (limit 30 %; 30 polls, seen since the deploy started)",
    ),
    "bad only in the last minute": (
        before((GOOD, 23), (BAD, 7)),
        Gate.HOLD,
        "it was already 100 % bad in the minute before this deploy, 100 % since "
        "(limit 50 % of that; 30 polls, seen since the deploy started)",
    ),
    "two bad polls at the end are no minute": (
        before((GOOD, 28), (BAD, 2)),
        Gate.PASS,
        "it was healthy before (7 % bad; 30 polls, seen since the deploy started)",
    ),
    "one failed poll of three": (
        before((GOOD, 2), (BAD, 1)),
        Gate.PASS,
        "one failed poll before this deploy is too little to call it bad before it "
        "(3 polls, seen since the deploy started)",
    ),
    "two failed polls of three": (
        before((GOOD, 1), (BAD, 2)),
        Gate.HOLD,
        "it was already 67 % bad before this deploy (limit 30 %; 3 polls, seen since the deploy started)",
    ),
    "one failed poll of one": (
        before((BAD, 1)),
        Gate.HOLD,
        "it was already 100 % bad before this deploy (limit 30 %; 1 poll, seen since the deploy started)",
    ),
    "a rollout's gap is no fault of a service that is half bad since": (
        before((GOOD, 27), (BAD, 3), after=polls(*((BAD, 1), (GOOD, 1)) * 12)),
        Gate.PASS,
        "it was healthy before (10 % bad; 30 polls, seen since the deploy started)",
    ),
    "failures with good polls between them are no gap": (
        before((GOOD, 25), *((BAD, 1), (GOOD, 1)) * 2, (BAD, 1), after=polls(*((BAD, 1), (GOOD, 1)) * 12)),
        Gate.HOLD,
        "it was already 43 % bad in the minute before this deploy, 50 % since "
        "(limit 50 % of that; 30 polls, seen since the deploy started)",
    ),
    "bad in the last minute, which was the new version that crashed": (
        before((GOOD, 23), (BAD, 7), after=polls((BAD, 6), crash=True)),
        Gate.PASS,
        "it was healthy before (23 % bad; 30 polls, seen since the deploy started)",
    ),
    "bad for long, and its container crashed": (
        before((BAD, 30), after=polls((BAD, 6), crash=True)),
        Gate.HOLD,
        "it was already 100 % bad before this deploy (limit 30 %; 30 polls, seen since the deploy started)",
    ),
    "could not look": (
        before((BLIND, 30)),
        Gate.HOLD,
        "nothing is known of its health before this deploy",
    ),
    "nothing known, but the container crashed": (
        before(after=polls((BAD, 3), crash=True)),
        Gate.PASS,
        "nothing is known of its health before this deploy, but its container crashed since",
    ),
    "nothing known, but the new version was good for a while": (
        before(after=polls((GOOD, 9), (BAD, 3))),
        Gate.PASS,
        "nothing is known of its health before this deploy, but it was good for a while since",
    ),
    "longer ago than the window": (
        before((BAD, 40), (GOOD, 30)),
        Gate.PASS,
        "it was healthy before (0 % bad; 30 polls, seen since the deploy started)",
    ),
    "the new version was failing before it was called deployed": (
        before((GOOD, 20), (BAD, 10), started_t_s=-110.0),
        Gate.PASS,
        "it was healthy before (5 % bad; 21 polls, seen since the deploy started)",
    ),
    "bad when the deploy began": (
        before((GOOD, 10), (BAD, 20), started_t_s=-110.0),
        Gate.HOLD,
        "it was already 52 % bad before this deploy (limit 30 %; 21 polls, seen since the deploy started)",
    ),
    "nothing was seen before it began": (
        before((GOOD, 10), started_t_s=-200.0),
        Gate.PASS,
        "it was healthy before (0 % bad; 10 polls, seen since the deploy started)",
    ),
}


@pytest.mark.parametrize(("said", "gate", "reason"), BEFORE.values(), ids=BEFORE.keys())
def test_was_it_healthy_before(said, gate, reason):
    assert (said.status, said.reason) == (gate, reason)


def test_failing_requests_of_users_count_as_the_share_that_failed():
    samples = tuple(
        HealthSample(t * 10.0, probe=ProbeSample(3, 0), traffic=TrafficSample(60, 0.4)) for t in range(-30, 0)
    )
    said = healthy_before(Baseline(samples, "CloudWatch"), (), folded(), LIMITS)
    assert (said.status, said.number, said.limit) == (Gate.HOLD, 0.4, 0.3)


SIBLINGS = {
    "unknown": (polls((BAD, 12)), Gate.PASS, "nothing is known of its siblings"),
    "healthy": (
        polls((BAD, 12), siblings_bad=0.1),
        Gate.PASS,
        "its siblings are healthy (10 % bad)",
    ),
    "half of them": (
        polls((BAD, 12), siblings_bad=0.5),
        Gate.HOLD,
        "50 % of its siblings are bad too (limit 50 %), as in an outage",
    ),
    "they went bad later": (
        (*polls((BAD, 9), siblings_bad=0.0), *polls((BAD, 3), begin_s=90.0, siblings_bad=1.0)),
        Gate.HOLD,
        "100 % of its siblings are bad too (limit 50 %), as in an outage",
    ),
    "they came back earlier": (
        (*polls((BAD, 9), siblings_bad=1.0), *polls((BAD, 3), begin_s=90.0, siblings_bad=0.0)),
        Gate.HOLD,
        "75 % of its siblings are bad too (limit 50 %), as in an outage",
    ),
    "one odd reading": (
        (*polls((BAD, 11), siblings_bad=0.0), poll(110.0, BAD, siblings_bad=1.0)),
        Gate.PASS,
        "its siblings are healthy (33 % bad)",
    ),
}


@pytest.mark.parametrize(("samples", "gate", "reason"), SIBLINGS.values(), ids=SIBLINGS.keys())
def test_are_its_siblings_bad_too(samples, gate, reason):
    said = siblings(samples, LIMITS)
    assert (said.status, said.reason) == (gate, reason)


def test_a_probe_that_is_fine_speaks_against_the_load_balancer():
    against = polls((GOOD, 12), targets=fleet("unhealthy", "unhealthy"))
    said = probe_against_balancer(against, LIMITS)
    assert (said.status, said.number, said.limit) == (Gate.HOLD, 6, 3.0)
    assert said.reason == (
        "the site answers while the load balancer calls its targets unhealthy (6 of the last 6 polls), "
        "so look at the health check"
    )
    agree = polls((BAD, 12), targets=fleet("unhealthy", "unhealthy"))
    assert probe_against_balancer(agree, LIMITS).status == Gate.PASS
    assert probe_against_balancer((), LIMITS).status == Gate.PASS


def test_failing_requests_of_users_settle_it():
    samples = polls((GOOD, 12), targets=fleet("unhealthy"), traffic=TrafficSample(100, 0.9))
    assert probe_against_balancer(samples, LIMITS).status == Gate.PASS


def test_the_health_rule_may_have_said_so_itself():
    verdict = Verdict("unhealthy", "…", PROBE_AGAINST_BALANCER)
    assert probe_against_balancer((), LIMITS, verdict).status == Gate.HOLD


def test_data_that_is_mostly_missing_holds():
    said = missing_data(folded(polls((BAD, 5), (BLIND, 7))), LIMITS)
    assert (said.status, said.reason) == (Gate.HOLD, "7 of the last 12 polls could not look")
    assert missing_data(folded(polls((BLIND, 6), (BAD, 6))), LIMITS).status == Gate.PASS
    assert missing_data(folded(polls((BLIND, 30), (BAD, 12))), LIMITS).status == Gate.PASS, (
        "we can look again"
    )
    assert missing_data(folded(), LIMITS).status == Gate.PASS


def test_all_gates_at_once_in_the_order_of_their_reasons():
    said = attribution(Baseline(good_before(), SOURCE), polls((BAD, 19), siblings_bad=0.0), LIMITS)
    assert [(gate.rule, gate.status) for gate in said] == [
        ("missing_data", "pass"),
        ("probe_against_balancer", "pass"),
        ("baseline", "pass"),
        ("siblings", "pass"),
    ]


def _seen_since_the_start(*bads: float) -> Baseline:
    return Baseline(
        tuple(
            HealthSample(-20.0 + 5 * place, probe=ProbeSample(round(3 * (1 - bad)), round(3 * bad), 200))
            for place, bad in enumerate(bads)
        ),
        "looked at when the deploy started",
    )


@pytest.mark.parametrize(
    ("story", "bads", "gate"),
    [
        ("the old version is taken down while we look", (0, 0, 1), Gate.PASS),
        ("it is taken down early", (0, 1, 1), Gate.PASS),
        ("it was bad from the beginning", (1, 1, 1), Gate.HOLD),
        ("it flapped before it was taken down", (1, 0, 1), Gate.HOLD),
    ],
)
def test_a_deploys_own_rollout_is_no_earlier_fault(story: str, bads: tuple[float, ...], gate: Gate) -> None:
    limits = HealthLimits(interval_s=1.0)
    after = tuple(HealthSample(float(n), probe=ProbeSample(0, 3, 502)) for n in range(1, 40))
    verdicts = attribution(_seen_since_the_start(*bads), after, limits, started_t_s=-21.5)
    (baseline,) = [verdict for verdict in verdicts if verdict.rule == "baseline"]
    assert baseline.status == gate, story
