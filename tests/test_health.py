"""The failure budget: when it fires, what it says, and what it must never do."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.badness import balancer_badness
from policies.budget import opening, step
from policies.facts import Health, HealthSample, ProbeSample, TargetSample, TrafficSample, Verdict
from policies.health import HealthJudge, is_recovered, judge_health
from policies.limits import HealthLimits
from tests.watches import BAD, BLIND, GOOD, fleet, good_before, poll, polls, probe

LIMITS = HealthLimits()


def watch(samples, *, baseline=None, limits=LIMITS) -> tuple[float | None, Verdict]:
    """When the rule fired (None: never), and the last verdict."""
    judge = HealthJudge(good_before() if baseline is None else baseline, limits)
    said = judge_health((), (), limits)
    for sample in samples:
        said = judge.see(sample)
        if said.status == Health.UNHEALTHY:
            return sample.t_s, said
    return None, said


def fires_at(samples, **how) -> float | None:
    return watch(samples, **how)[0]


# --- when it fires ------------------------------------------------------------------------------------

FIRING = {
    "a version that never comes up uses the budget for slow boots": (polls((BAD, 90)), 180.0),
    "with crash evidence a third of that is enough": (polls((BAD, 90), crash=True), 50.0),
    "crash evidence that comes late counts what was failing before": (
        (*polls((BAD, 9)), *polls((BAD, 81), begin_s=90.0, crash=True)),
        90.0,
    ),
    "once booted, two minutes": (polls((GOOD, 30), (BAD, 60)), 420.0),
    "a crash after a good spell": (
        (*polls((GOOD, 30)), *polls((BAD, 60), begin_s=300.0, crash=True)),
        350.0,
    ),
    "a slow boot of 170 s is forgiven": (polls((BAD, 17), (GOOD, 73)), None),
    "a blip of two minutes is forgiven": (polls((GOOD, 30), (BAD, 12), (GOOD, 48)), None),
    "two per cent of failing probes are forgiven for ever": (polls((0.0, 20), (0.34, 1), (0.0, 69)), None),
    "half of the probes, by how many polls they touch": (polls((0.5, 90), probes=2), 240.0),
    "a third of the probes in every other poll": (polls((GOOD, 12), *((0.34, 1), (GOOD, 1)) * 30), 500.0),
    "one of ten in every poll": (polls((0.1, 90), probes=10), None),
    "polls that could not look add nothing": (polls((BAD, 6), (BLIND, 40), (BAD, 44)), 580.0),
    "polls that could not look, and then it fails on": (polls((BAD, 6), (BLIND, 5), (BAD, 79)), 230.0),
    "one GET a poll, of which one in five fails": (
        polls((GOOD, 9), *((BAD, 1), (GOOD, 4)) * 17, probes=1),
        390.0,
    ),
    "one GET a poll, and one in fifty fails": (polls(*((BAD, 1), (GOOD, 49)) * 2, probes=1), None),
    "one GET a poll, and a blip of two minutes": (polls((GOOD, 30), (BAD, 12), (GOOD, 48), probes=1), None),
    "polls that come a little early": (
        tuple(poll(t_s, BAD, crash=True) for t_s in (0.3, 10.1, 20.0, 30.2, 40.0, 49.9, 60.0)),
        49.9,
    ),
    "polls that come much too early": (
        tuple(poll(t_s, BAD, crash=True) for t_s in (0.0, 10.0, 20.0, 30.0, 40.0, 48.0, 58.0)),
        58.0,
    ),
    "every minute only": (polls((BAD, 15), interval_s=60.0), 240.0),
}


@pytest.mark.parametrize(("samples", "at_s"), FIRING.values(), ids=FIRING.keys())
def test_when_the_budget_is_used_up(samples, at_s):
    assert fires_at(samples) == at_s


def test_the_rule_does_not_fire_while_the_service_answers():
    almost = polls((GOOD, 30), (BAD, 12))
    good_now = poll(420.0, GOOD)
    assert fires_at((*almost, good_now, poll(430.0, BAD))) == 430.0
    assert fires_at((*almost, good_now, poll(430.0, GOOD))) is None


def test_a_silence_stands_for_three_intervals_at_most():
    assert fires_at((poll(0.0, BAD), poll(600.0, BAD), poll(610.0, BAD))) is None


def test_what_was_usual_before_is_forgiven_after():
    before = polls((0.25, 30), begin_s=-300.0, probes=12)  # and as bad as that ever since
    after = polls((0.25, 90), probes=12)
    assert fires_at(after, baseline=before) is None
    assert fires_at(after) == 240.0


# --- parts of a poll ----------------------------------------------------------------------------------


def targets_only(t_s: float, *states: str, **how: str) -> HealthSample:
    return HealthSample(t_s=t_s, targets=fleet(*states, **how))


def test_without_a_probe_more_than_half_of_the_targets_must_be_bad():
    half = [targets_only(t * 10.0, "unhealthy", "healthy") for t in range(90)]
    most = [targets_only(t * 10.0, "unhealthy", "unhealthy", "healthy") for t in range(90)]
    assert fires_at(half) is None
    assert fires_at(most) == 180.0


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("initial", "Elb.RegistrationInProgress"),
        ("draining", "Target.DeregistrationInProgress"),
        ("unhealthy.draining", "Target.FailedHealthChecks"),
        ("unused", "Target.NotRegistered"),
        ("unavailable", "Target.HealthCheckDisabled"),
        ("unhealthy", "Elb.InternalError"),
        ("unhealthy", None),
        ("something new", "Target.FailedHealthChecks"),
    ],
)
def test_targets_in_flight_say_nothing(state, reason):
    one = TargetSample("web", "i-0", state, reason)
    assert balancer_badness((one,)) is None
    assert balancer_badness((one, one, *fleet("unhealthy"))) == 1.0
    assert fires_at([HealthSample(t * 10.0, targets=(one, one)) for t in range(90)]) is None


def test_a_dead_group_beside_a_healthy_one_is_an_outage():
    both = (*fleet(*["healthy"] * 4), *fleet("unhealthy", "unhealthy", group="api"))
    assert balancer_badness(both) == 1.0


def test_the_site_outweighs_its_load_balancer_even_while_a_probe_is_missing():
    broken_check = [
        poll(t * 10.0, GOOD, targets=fleet("unhealthy", "unhealthy"))
        if t % 5
        else targets_only(t * 10.0, "unhealthy", "unhealthy")
        for t in range(1, 90)
    ]
    at_s, said = watch(broken_check)
    assert at_s == 890.0, "only the end of the watch tells of it"
    assert said.rule == "probe_against_balancer"
    assert said.reason.startswith("The load balancer called the targets unhealthy for 684 s")
    assert said.reason.endswith("while the site itself answered.")


def test_failing_probes_behind_a_passing_health_check_count():
    assert fires_at(polls((BAD, 90), targets=fleet("healthy", "healthy"))) == 180.0


def traffic(t_s: float, rate: float, per_min: float = 60.0) -> HealthSample:
    return HealthSample(t_s, probe=probe(GOOD), traffic=TrafficSample(per_min, rate))


def test_users_failing_requests_count_against_their_own_baseline():
    before = tuple(traffic(t * 10.0, 0.03) for t in range(-30, 0))
    assert fires_at([traffic(t * 10.0, 0.03) for t in range(90)], baseline=before) is None
    assert fires_at([traffic(t * 10.0, 0.20) for t in range(90)], baseline=before) == 490.0
    assert fires_at([traffic(t * 10.0, 1.0, per_min=19.0) for t in range(90)], baseline=before) is None


def test_a_lost_page_is_an_outage_only_where_it_was_open_before():
    def answers(status: int, first: int, last: int):
        return tuple(HealthSample(t * 10.0, probe=ProbeSample(1, 0, status)) for t in range(first, last))

    assert fires_at(answers(404, 0, 90), baseline=answers(200, -30, 0)) == 180.0
    assert fires_at(answers(404, 0, 90), baseline=answers(404, -30, 0)) is None
    assert fires_at(answers(401, 0, 90), baseline=answers(200, -30, 0)) is None
    assert fires_at(answers(302, 0, 90), baseline=answers(200, -30, 0)) is None


def test_an_error_explains_what_is_missing_and_taints_what_is_not():
    failing = dataclasses.replace(poll(0.0, BAD), error="AWS throttled us")
    alone = [dataclasses.replace(failing, t_s=t * 10.0) for t in range(90)]
    assert fires_at(alone) == 180.0, "the probe failed, whatever AWS says"
    complete = [dataclasses.replace(s, targets=fleet("unhealthy")) for s in alone]
    assert fires_at(complete) is None, "the error can only be about what is there"


# --- what it says -------------------------------------------------------------------------------------

SAYINGS = {
    "unhealthy": (
        polls((GOOD, 30), (BAD, 13)),
        Health.UNHEALTHY,
        "Since this deploy the service used 124 s of its 120 s failure budget (100 % bad at present).",
    ),
    "unhealthy, never good": (
        polls((BAD, 19)),
        Health.UNHEALTHY,
        "Since this deploy the service used 180 s of its 180 s failure budget "
        "(it has not been good once since; 100 % bad at present).",
    ),
    "unhealthy, crashed": (
        polls((BAD, 6), crash=True),
        Health.UNHEALTHY,
        "Since this deploy the service used 60 s of its 60 s failure budget "
        "(its container crashed; 100 % bad at present).",
    ),
    "pending": (
        polls((GOOD, 5)),
        Health.PENDING,
        "Since this deploy the service used 0 s of its 120 s failure budget; it is still watched.",
    ),
    "pending as the watch ends": (
        polls((GOOD, 85), (BAD, 5)),
        Health.PENDING,
        "Since this deploy the service used 48 s of its 120 s failure budget and fails as its watch ends.",
    ),
    "over its budget, but it answers just now": (
        polls((GOOD, 61), *((BAD, 1), (GOOD, 4)) * 5, (BAD, 1), (GOOD, 3), probes=1),
        Health.PENDING,
        "Since this deploy the service used 122 s of its 120 s failure budget and answers just now, "
        "so it is watched on.",
    ),
    "healthy": (
        polls((GOOD, 90)),
        Health.HEALTHY,
        "Since this deploy the service used 0 s of its 120 s failure budget in 900 s of watching.",
    ),
    "nothing but targets in flight": (
        tuple(HealthSample(t * 10.0, targets=fleet("initial", "unused")) for t in range(90)),
        Health.UNKNOWN,
        "Nothing that is good or bad was seen in 90 of 90 polls since this deploy "
        "(no answer of the site, no target in service, too few requests).",
    ),
    "targets in flight for a while": (
        tuple(HealthSample(t * 10.0, targets=fleet("initial" if t < 45 else "healthy")) for t in range(90)),
        Health.HEALTHY,
        "Since this deploy the service used 0 s of its 120 s failure budget in 900 s of watching.",
    ),
    "unknown": (
        polls((BLIND, 5)),
        Health.UNKNOWN,
        "We could not look in 5 of 5 polls since this deploy.",
    ),
    "unknown although it fails": (
        # every other poll is lost on the way to the limit
        tuple(poll(t * 10.0, BAD if t % 3 == 0 else BLIND) for t in range(58)),
        Health.UNKNOWN,
        "Since this deploy the service used 152 s of its 120 s failure budget, "
        "but 8 of the last 12 polls could not look.",
    ),
    "nothing yet": (
        (),
        Health.PENDING,
        "Since this deploy the service used 0 s of its 120 s failure budget; it is still watched.",
    ),
}


@pytest.mark.parametrize(("samples", "status", "reason"), SAYINGS.values(), ids=SAYINGS.keys())
def test_every_verdict_has_its_sentence(samples, status, reason):
    said = judge_health(good_before(), samples, LIMITS)
    assert (said.status, said.reason) == (status, reason)


def test_number_and_limit_ride_on_the_verdict():
    said = judge_health(good_before(), polls((GOOD, 30), (BAD, 13)), LIMITS)
    assert (said.rule, said.number, said.limit) == ("budget", 123.5, 120.0)


# --- recovery -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "status"),
    [
        ((), Health.PENDING),
        (polls((GOOD, 8)), Health.PENDING),
        (polls((GOOD, 9)), Health.HEALTHY),
        (polls((BAD, 5), (GOOD, 9)), Health.HEALTHY),
        (polls((BAD, 5), (GOOD, 8)), Health.PENDING),
        (polls((GOOD, 4), (0.34, 1), (GOOD, 4)), Health.HEALTHY),
        (polls((GOOD, 8), (BAD, 1)), Health.PENDING),
        (polls((BAD, 19)), Health.UNHEALTHY),
        (polls((BLIND, 9)), Health.UNKNOWN),
        (polls((GOOD, 4), (BLIND, 4), (GOOD, 1)), Health.HEALTHY),
        (polls((GOOD, 3), interval_s=60.0), Health.HEALTHY),
        (polls((GOOD, 2), interval_s=60.0), Health.PENDING),
    ],
)
def test_recovery(samples, status):
    assert is_recovered(samples, LIMITS).status == status


def test_recovery_speaks_of_the_revert():
    assert is_recovered(polls((GOOD, 9)), LIMITS).reason == (
        "The service was good for 90 s after the revert was deployed."
    )
    assert is_recovered(polls((BAD, 4), (GOOD, 5)), LIMITS).reason == (
        "Since the revert was deployed the service was good for 50 s of the 90 s that count as recovered."
    )
    assert is_recovered(polls((BAD, 19)), LIMITS).reason.startswith(
        "Since the revert was deployed the service used 180 s of its 180 s failure budget"
    )


# --- what it must never do ----------------------------------------------------------------------------

shares = st.sampled_from([0.0, 0.0, 1 / 3, 2 / 3, 1.0])
seen = st.lists(st.one_of(st.none(), shares), min_size=1, max_size=120)
states = st.sampled_from(["healthy", "unhealthy", "initial", "draining", "unavailable"])
fleets = st.lists(st.tuples(st.sampled_from(["web", "api", "job"]), states), max_size=8)


@given(seen)
def test_polls_that_could_not_look_never_roll_back(errors):
    blind = [HealthSample(n * 10.0, crash=True, error="no network") for n in range(len(errors))]
    assert fires_at(blind) is None


@given(st.data())
def test_more_badness_never_makes_a_rollback_later(data):
    start = data.draw(st.sampled_from([0, 2, 9]))
    runs = data.draw(
        st.lists(st.tuples(st.one_of(st.none(), shares), st.integers(1, 25)), min_size=1, max_size=8)
    )
    flat = [bad for bad, count in runs for _ in range(count)]
    more = list(flat)
    for begin, count, bad in data.draw(
        st.lists(st.tuples(st.integers(0, 120), st.integers(1, 20), shares), max_size=4)
    ):
        for at in range(begin, min(begin + count, len(more))):
            if (before := more[at]) is not None:
                more[at] = max(before, bad)
    crash_at = data.draw(st.one_of(st.none(), st.integers(0, 100)))
    probes = data.draw(st.sampled_from([1, 2, 3]))

    def build(values):
        return [
            poll(start + n * 10.0, bad, probes=probes, crash=crash_at is not None and n >= crash_at)
            for n, bad in enumerate(values)
        ]

    less_s, more_s = fires_at(build(flat)), fires_at(build(more))
    if less_s is not None:
        assert more_s is not None
        assert more_s <= less_s


@given(st.lists(fleets, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_targets_and_groups_does_not_matter(rows, random):
    straight, mixed = [], []
    for n, row in enumerate(rows):
        targets = [
            TargetSample(group, f"i-{k}", state, "Target.Timeout" if state == "unhealthy" else None)
            for k, (group, state) in enumerate(row)
        ]
        straight.append(HealthSample(n * 10.0, targets=tuple(targets)))
        random.shuffle(targets)
        mixed.append(HealthSample(n * 10.0, targets=tuple(targets)))
    assert judge_health((), tuple(straight), LIMITS) == judge_health((), tuple(mixed), LIMITS)


@given(seen)
def test_poll_by_poll_is_the_same_as_at_once_and_repeats_change_nothing(values):
    samples = tuple(poll(n * 10.0, bad) for n, bad in enumerate(values))
    judge = HealthJudge(good_before(), LIMITS)
    for sample in samples:
        said = judge.see(sample)
        assert judge.see(sample) == said
    assert said == judge_health(good_before(), samples, LIMITS)
    assert step(judge.budget, samples[0], LIMITS) == judge.budget


def test_an_untouched_budget_is_small_and_frozen():
    budget = opening(good_before(), LIMITS)
    assert not hasattr(budget, "__dict__")
    with pytest.raises(AttributeError):
        budget.polls = 7  # type: ignore[misc]
