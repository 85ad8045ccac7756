"""The facts of a decision: those of the usual case, and ways to change one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from policies.eligibility import may_roll_back
from policies.facts import (
    Baseline,
    Change,
    Deploy,
    Diagnosis,
    Evidence,
    Health,
    PersonOrder,
    Rails,
    RevertHelps,
    Switch,
    Watched,
)
from policies.health import judge_health
from policies.limits import HealthLimits, Mode, Plan, RollbackLimits
from tests.test_culprits import change, culprit, sha
from tests.watches import BAD, BLIND, GOOD, good_before, polls

NOW_S = 1_000_400.0
DEPLOY = Deploy(
    id="d-1",
    repository="acme/stagelog",
    environment="develop",
    sha=sha(5),
    branch="develop",
    url=None,
    source="deployment_status",
    started_at_s=None,
    completed_at_s=1_000_000.0,
)
PLAN = Plan(mode=Mode.AUTO, branch="develop", config_from=".github/rollback.yml")
BASELINE = Baseline(good_before(), "seen since the deploy started")
SEEN = (
    "Since this deploy the service used 180 s of its 180 s failure budget "
    "(it has not been good once since; 100 % bad at present)"
)
WAS_FINE = "it was healthy before (0 % bad; 30 polls, seen since the deploy started)"


def watched(samples, limits: HealthLimits = PLAN.health) -> Watched:
    verdict = judge_health(BASELINE.samples, samples, limits)
    return Watched(Health(verdict.status), verdict, samples, DEPLOYED_AT + samples[-1].t_s)


DEPLOYED_AT = DEPLOY.completed_at_s
SICK = watched(polls((BAD, 19), siblings_bad=0.0))
WELL = watched(polls((GOOD, 90)))


@dataclass(frozen=True)
class Facts:
    """Those of the usual case, to be changed one at a time."""

    deploy: Deploy = DEPLOY
    plan: Plan = PLAN
    baseline: Baseline = BASELINE
    watched: Watched | None = SICK
    change: Change = field(default_factory=lambda: change(culprit(5, 42)))
    evidence: Evidence | None = None
    rails: Rails = field(default_factory=lambda: Rails(deployed_sha_now=DEPLOY.sha))
    person: PersonOrder | None = None
    now_s: float = NOW_S

    def decide(self):
        return may_roll_back(incident_id="i-1", **{k: getattr(self, k) for k in self.__annotations__})


def but(**changes: Any) -> Facts:
    return replace(Facts(), **changes)


def rails(**changes: Any) -> Rails:
    return replace(Rails(deployed_sha_now=DEPLOY.sha), **changes)


def switch(name: str, reason: str = "", until_s: float | None = None, on: bool = True) -> Rails:
    return rails(switches=(Switch(name, on, reason, until_s),))


def said(kind: str, helps: RevertHelps) -> Evidence:
    return Evidence(0.0, (), diagnosis=Diagnosis(kind, "…", "…", helps))


def person(verb: str = "rollback", reason: str = "") -> PersonOrder:
    return PersonOrder(verb, "@dana", NOW_S, reason)


def mode(which: Mode, **rollback: Any) -> Plan:
    return replace(PLAN, mode=which, rollback=RollbackLimits(**rollback))


MANY = change(*(culprit(n, 40 + n) for n in (5, 4, 3)))
MOVED = rails(deployed_sha_now=sha(7))
MIGRATION = change(culprit(5, 42, paths=("README.md", "app/migrations/0007_x.py")))
OUTAGE = watched(polls((BAD, 19), siblings_bad=0.8))
ALREADY = Baseline(polls((BAD, 30), begin_s=-300.0), "seen since the deploy started")
UNSEEN = watched(polls((BLIND, 90)))
BUSY = rails(overlapping_deploys=("d-2", "d-3"))
LATER_S = SICK.ended_at_s + 600.0
