"""Every way a decision can go, each with its exact sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.attribution import Gate
from policies.eligibility import SKIPPED_BY_A_PERSON
from policies.facts import (
    Action,
    Baseline,
    Health,
    RevertHelps,
    Switch,
    Verdict,
    Watched,
)
from policies.limits import HealthLimits, Mode
from tests.eligibility_facts import (
    ALREADY,
    BUSY,
    LATER_S,
    MANY,
    MIGRATION,
    MOVED,
    NOW_S,
    OUTAGE,
    PLAN,
    SEEN,
    UNSEEN,
    WAS_FINE,
    WELL,
    Facts,
    but,
    mode,
    person,
    rails,
    said,
    switch,
    watched,
)
from tests.test_culprits import GOOD as LAST_GOOD
from tests.test_culprits import change, culprit, sha
from tests.watches import BAD, GOOD, polls

R, H, A, LOOKS = Action.ROLL_BACK, Action.HOLD, Action.ASK, Action.OBSERVE
CASES: dict[str, tuple[Facts, Action, str]] = {
    # --- it acts ---
    "the incident": (
        Facts(),
        R,
        f"{SEEN}; {WAS_FINE}, and its siblings are healthy (0 % bad): roll back #42 (5555555).",
    ),
    "siblings unknown": (
        but(watched=watched(polls((BAD, 19)))),
        R,
        f"{SEEN}; {WAS_FINE}, and nothing is known of its siblings: roll back #42 (5555555).",
    ),
    "several merges": (
        but(change=MANY),
        R,
        f"{SEEN}; {WAS_FINE}, and its siblings are healthy (0 % bad): "
        "roll back #45 (5555555), #44 (4444444) and #43 (3333333).",
    ),
    "the forge knows no deployments": (
        but(rails=rails(deployed_sha_now=None)),
        R,
        f"{SEEN}; {WAS_FINE}, and its siblings are healthy (0 % bad): roll back #42 (5555555).",
    ),
    "a switch that is off, and one that has ended": (
        but(rails=rails(switches=(Switch("kill", False), Switch("hold", True, "", NOW_S - 1)))),
        R,
        f"{SEEN}; {WAS_FINE}, and its siblings are healthy (0 % bad): roll back #42 (5555555).",
    ),
    "the log says that a revert may help": (
        but(evidence=said("django_setting", RevertHelps.YES)),
        R,
        f"{SEEN}; {WAS_FINE}, and its siblings are healthy (0 % bad): roll back #42 (5555555).",
    ),
    # --- switches ---
    "kill switch": (
        but(rails=switch("kill", "dana: we migrate today.")),
        H,
        f"{SEEN}, but the kill switch is on (dana: we migrate today): I did not act.",
    ),
    "a switch that cannot be read": (
        but(rails=switch("kill", "The switches cannot be read, so nothing is done by itself.")),
        H,
        f"{SEEN}, but the kill switch is on (The switches cannot be read, so nothing is done by itself): "
        "I did not act.",
    ),
    "hold": (
        but(rails=switch("hold", until_s=NOW_S + 60)),
        H,
        f"{SEEN}, but this service is on hold: I did not act.",
    ),
    "freeze": (
        but(rails=switch("freeze", "set by ben")),
        H,
        f"{SEEN}, but the branch is frozen (set by ben): I did not act.",
    ),
    "a switch of a later version": (
        but(rails=switch("quiet-hours")),
        H,
        f"{SEEN}, but the switch quiet-hours is on: I did not act.",
    ),
    "the kill switch speaks first": (
        but(rails=rails(switches=(Switch("freeze", True), Switch("kill", True)))),
        H,
        f"{SEEN}, but the kill switch is on: I did not act.",
    ),
    # --- rails ---
    "not guarded": (
        but(plan=replace(PLAN, ignored="A preview.")),
        H,
        f"{SEEN}, but this deploy is not guarded: A preview: I did not act.",
    ),
    "moved on": (
        but(rails=MOVED),
        H,
        f"{SEEN}, but develop has moved on from 5555555 to 7777777: I did not act.",
    ),
    "a rollback of ours": (
        but(change=change(culprit(5, rollback_deploy="d-0"))),
        H,
        f"{SEEN}, but 5555555 is itself a rollback, which is never rolled back (use `/rollback reland`): "
        "I did not act.",
    ),
    "a reland": (
        but(change=change(culprit(5, 50, relands=sha(2)))),
        H,
        f"{SEEN}, but 5555555 is a reland of 2222222, which was rolled back before: I did not act.",
    ),
    "nothing to revert": (
        but(change=change(culprit(5, 42, already_reverted_by=sha(6)))),
        H,
        f"{SEEN}, but there is nothing to revert: #42 (5555555) is already reverted by 6666666: "
        "I did not act.",
    ),
    "not on the branch": (
        but(change=change(culprit(5, 42, on_branch=False))),
        H,
        f"{SEEN}, but #42 (5555555) is not on develop: I did not act.",
    ),
    "overlapping deploys": (
        but(rails=BUSY),
        H,
        f"{SEEN}, but another deploy overlaps with this one (d-2, d-3), and I cannot tell which of them it "
        "was: I did not act.",
    ),
    "the last rollback did not help": (
        but(rails=rails(last_rollback_failed="Incident i-0 stayed bad.")),
        H,
        f"{SEEN}, but the last rollback of this service did not help (Incident i-0 stayed bad): "
        "I did not act.",
    ),
    "cap of the hour": (
        but(rails=rails(rollbacks_last_hour=2)),
        H,
        f"{SEEN}, but develop had 2 rollbacks in the last hour (max_per_hour 2): I did not act.",
    ),
    "cap of the day": (
        but(rails=rails(rollbacks_last_hour=1, rollbacks_last_day=4)),
        H,
        f"{SEEN}, but develop had 4 rollbacks in the last day (max_per_day 4): I did not act.",
    ),
    # --- health and attribution ---
    "nothing seen": (but(watched=None), H, "I did not act: nothing was seen of the service."),
    "healthy": (
        but(watched=WELL),
        H,
        "I did not act: the service is not unhealthy: since this deploy the service used 0 s of its 120 s "
        "failure budget in 900 s of watching.",
    ),
    "unknown": (
        but(watched=UNSEEN),
        H,
        "I did not act: its health is unknown: we could not look in 90 of 90 polls since this deploy.",
    ),
    "unknown, and configured to ask": (
        but(
            watched=UNSEEN,
            plan=replace(PLAN, health=HealthLimits(on_unknown="ask")),
        ),
        A,
        "We could not look in 90 of 90 polls since this deploy: shall I roll back #42 (5555555)?",
    ),
    "bad before": (
        but(baseline=ALREADY),
        H,
        f"{SEEN}, but it was already 100 % bad before this deploy (limit 30 %; 30 polls, "
        "seen since the deploy started): I did not act.",
    ),
    "unknown before": (
        but(baseline=Baseline((), "")),
        H,
        f"{SEEN}, but nothing is known of its health before this deploy: I did not act.",
    ),
    "an outage": (
        but(watched=OUTAGE),
        H,
        f"{SEEN}, but 80 % of its siblings are bad too (limit 50 %), as in an outage: I did not act.",
    ),
    "migrations": (
        but(change=MIGRATION),
        H,
        f"{SEEN}, but the change touches app/migrations/0007_x.py (unsafe_paths **/migrations/**), "
        "which a revert may not undo: I did not act.",
    ),
    "a revert does not help": (
        but(evidence=said("disk_full", RevertHelps.NO)),
        H,
        f"{SEEN}, but the log says that the disk is full, which a revert does not mend: I did not act.",
    ),
    # --- it asks ---
    "mode approve": (
        but(plan=mode(Mode.APPROVE)),
        A,
        f"{SEEN}, but mode is approve: shall I roll back #42 (5555555)?",
    ),
    "too many merges": (
        but(change=MANY, plan=mode(Mode.AUTO, max_merges=2)),
        A,
        f"{SEEN}, but this deploy brought 3 merges (max_merges 2 by itself): "
        "shall I roll back #45 (5555555), #44 (4444444) and #43 (3333333)?",
    ),
    "history that is missing": (
        but(change=replace(Facts().change, unknown="The branch was force-pushed.")),
        A,
        f"{SEEN}, but the range of this deploy is not known (The branch was force-pushed): "
        "shall I roll back #42 (5555555)?",
    ),
    "a hold outweighs a question": (
        but(plan=mode(Mode.APPROVE), rails=MOVED),
        H,
        f"{SEEN}, but develop has moved on from 5555555 to 7777777: I did not act.",
    ),
    "after ten minutes of holding": (
        but(watched=OUTAGE, now_s=LATER_S),
        A,
        f"{SEEN}, but 80 % of its siblings are bad too (limit 50 %), as in an outage: "
        "shall I roll back #42 (5555555)?",
    ),
    "not about what nobody may do": (
        but(watched=OUTAGE, now_s=LATER_S, rails=switch("kill")),
        H,
        f"{SEEN}, but the kill switch is on: I did not act.",
    ),
    "not about a service that is not down": (
        but(watched=UNSEEN, now_s=NOW_S + 1e6),
        H,
        "I did not act: its health is unknown: we could not look in 90 of 90 polls since this deploy.",
    ),
    # --- it only observes ---
    "mode observe": (
        but(plan=mode(Mode.OBSERVE)),
        LOOKS,
        f"{SEEN}; {WAS_FINE}, and its siblings are healthy (0 % bad): I would have rolled back "
        "#42 (5555555), but mode is observe (.github/rollback.yml). Set `mode: auto` to let me.",
    ),
    "mode observe, and it would have held": (
        but(plan=mode(Mode.OBSERVE), watched=OUTAGE),
        LOOKS,
        f"{SEEN}. Mode is observe, and I would not have acted: "
        "80 % of its siblings are bad too (limit 50 %), as in an outage.",
    ),
    # --- a person ordered ---
    "a person": (but(person=person()), R, "@dana ordered it: roll back #42 (5555555)."),
    "a person with a reason": (
        but(person=person(reason="checkout is broken."), watched=WELL),
        R,
        "@dana ordered it (checkout is broken): roll back #42 (5555555).",
    ),
    "a person approves": (
        but(person=person("approve"), plan=mode(Mode.APPROVE)),
        R,
        "@dana approved it: roll back #42 (5555555).",
    ),
    "a person, and it looks healthy": (
        but(person=person(), watched=WELL),
        H,
        "@dana asked for rollback, but the service looks healthy, so a reason is needed: "
        '`/rollback --reason "…"`: nothing was done.',
    ),
    "a person, before anything was seen": (
        but(person=person(), watched=None),
        H,
        "@dana asked for rollback, but the service looks healthy, so a reason is needed: "
        '`/rollback --reason "…"`: nothing was done.',
    ),
    "a person, while it is failing": (
        but(person=person(), watched=watched(polls((GOOD, 3), (BAD, 1)))),
        R,
        "@dana ordered it: roll back #42 (5555555).",
    ),
    "a person in observe mode": (
        but(person=person(), plan=mode(Mode.OBSERVE)),
        R,
        "@dana ordered it: roll back #42 (5555555).",
    ),
    "a person, although much speaks against it": (
        but(
            person=person(),
            watched=OUTAGE,
            baseline=ALREADY,
            change=MIGRATION,
            evidence=said("disk_full", RevertHelps.NO),
            rails=rails(
                rollbacks_last_hour=9,
                rollbacks_last_day=9,
                overlapping_deploys=("d-2",),
                last_rollback_failed="It stayed bad.",
                switches=(Switch("freeze", True),),
            ),
        ),
        R,
        "@dana ordered it: roll back #42 (5555555).",
    ),
    "a person relands and takes it back": (
        but(person=person(), change=change(culprit(5, 50, relands=sha(2)))),
        R,
        "@dana ordered it: roll back #50 (5555555).",
    ),
    "a person approves many merges": (
        but(person=person("approve"), change=MANY, plan=mode(Mode.AUTO, max_merges=2)),
        R,
        "@dana approved it: roll back #45 (5555555), #44 (4444444) and #43 (3333333).",
    ),
    "a person, kill switch": (
        but(person=person(), rails=switch("kill")),
        H,
        "@dana asked for rollback, but the kill switch is on: nothing was done.",
    ),
    "a person, hold": (
        but(person=person(), rails=switch("hold")),
        H,
        "@dana asked for rollback, but this service is on hold: nothing was done.",
    ),
    "a person, moved on": (
        but(person=person(), rails=MOVED),
        H,
        "@dana asked for rollback, but develop has moved on from 5555555 to 7777777: nothing was done.",
    ),
    "a person, already reverted": (
        but(person=person("approve"), change=change(culprit(5, 42, already_reverted_by=sha(6)))),
        H,
        "@dana asked for approve, but there is nothing to revert: "
        "#42 (5555555) is already reverted by 6666666: nothing was done.",
    ),
    "a person, a rollback of ours": (
        but(person=person(), change=change(culprit(5, rollback_deploy="d-0"))),
        H,
        "@dana asked for rollback, but 5555555 is itself a rollback, which is never rolled back "
        "(use `/rollback reland`): nothing was done.",
    ),
    "a person, not on the branch": (
        but(person=person(), change=change(culprit(5, 42, on_branch=False))),
        H,
        "@dana asked for rollback, but #42 (5555555) is not on develop: nothing was done.",
    ),
    "a person cancels": (
        but(person=person("cancel")),
        H,
        "@dana said cancel: nothing was done.",
    ),
}


@pytest.mark.parametrize(("facts", "action", "reason"), CASES.values(), ids=CASES.keys())
def test_every_decision_has_its_sentence(facts: Facts, action: Action, reason: str):
    decision = facts.decide()
    assert (decision.action, decision.reason) == (action, reason)
    assert (decision.order is not None) == (action is Action.ROLL_BACK)
    assert decision == facts.decide(), "a decision is a function of its facts"


def test_the_order_carries_all_that_a_push_needs():
    order = but(change=MANY).decide().order
    assert order is not None
    assert (order.incident_id, order.deploy_id) == ("i-1", "d-1")
    assert (order.repository, order.environment, order.branch) == ("acme/stagelog", "develop", "develop")
    assert order.commits == (sha(5), sha(4), sha(3))
    assert order.expected_head == sha(5)
    assert order.ordered_by == "the failure budget"
    assert order.good_tree_of == LAST_GOOD
    assert but(person=person()).decide().order.ordered_by == "@dana"


def test_every_gate_is_told_with_its_number_and_limit():
    gates = {gate.rule: gate for gate in Facts().decide().gates}
    assert {rule: (g.number, g.limit) for rule, g in gates.items() if g.limit is not None} == {
        "culprits": (1.0, 5.0),
        "overlapping_deploys": (0.0, 0.0),
        "max_per_hour": (0, 2),
        "max_per_day": (0, 4),
        "health": (180.5, 180.0),
        "missing_data": (0.0, 0.5),
        "probe_against_balancer": (0, 0.0),
        "baseline": (0.0, 0.3),
        "siblings": (0.0, 0.5),
    }
    assert {
        "switches",
        "moved_on",
        "own_rollback",
        "last_rollback",
        "unsafe_paths",
        "diagnosis",
        "mode",
    } <= set(gates)
    assert all(gate.status == Gate.PASS and gate.reason for gate in gates.values())


def test_a_person_skips_gates_visibly_and_only_the_soft_ones():
    facts = but(person=person(), watched=OUTAGE, rails=rails(rollbacks_last_hour=9))
    skipped = {gate.rule for gate in facts.decide().gates if gate.status == Gate.SKIPPED}
    assert skipped == {"siblings", "max_per_hour"}
    hard = {"kill", "hold", "moved_on", "own_rollback", "culprits", "ignored", "reason", "person"}
    assert not hard & SKIPPED_BY_A_PERSON


def test_the_same_gates_are_told_to_a_person_and_to_the_bot():
    assert [g.rule for g in but(person=person()).decide().gates] == [g.rule for g in Facts().decide().gates]


def test_a_verdict_of_the_balancer_rule_holds():
    verdict = Verdict("unhealthy", "The load balancer says so.", "probe_against_balancer", 130.0, 120.0)
    facts = but(watched=Watched(Health.UNHEALTHY, verdict, polls((GOOD, 90)), NOW_S))
    decision = facts.decide()
    assert decision.action is Action.HOLD
    assert decision.reason == (
        "The load balancer says so, but the site answers while the load balancer calls its targets unhealthy "
        "(0 of the last 0 polls), so look at the health check: I did not act."
    )
