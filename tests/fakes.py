"""Fakes of our own ports, once: each answers a value or raises a failure, both set by the test."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bot.failures import BotFailure
from policies.facts import (
    Baseline,
    Change,
    CommitFacts,
    CommitShape,
    Culprit,
    Deploy,
    Diagnosis,
    Evidence,
    Health,
    HealthSample,
    Incident,
    Layer,
    LayerStatus,
    Moment,
    PersonOrder,
    ProbeSample,
    PullRequestFacts,
    Rails,
    Reverted,
    RevertHelps,
    RevertOutcome,
    RollbackOrder,
    Verdict,
    Watched,
)
from policies.limits import Mode, Plan

SHA, PARENT, TIP, REVERT = (letter * 40 for letter in "abcd")
COMPLETED_S = 1_800_000_000.0

DEPLOY = Deploy(
    id="501",
    repository="acme/stagelog",
    environment="develop",
    sha=SHA,
    branch="develop",
    url="https://stagelog.example/",
    source="deployment_status",
    started_at_s=COMPLETED_S - 20,
    completed_at_s=COMPLETED_S,
)
PLAN = Plan(mode=Mode.AUTO, branch="develop", url=DEPLOY.url, config_from=".github/rollback.yml")
GOOD_BEFORE = Baseline(
    tuple(HealthSample(t_s=-60.0 + 10 * n, probe=ProbeSample(3, 0, 200)) for n in range(6)), "6 samples"
)
BAD_BEFORE = Baseline(
    tuple(HealthSample(t_s=-60.0 + 10 * n, probe=ProbeSample(0, 3, 502)) for n in range(6)), "6 samples"
)
FAILING = Watched(
    Health.UNHEALTHY,
    Verdict("unhealthy", "The service used 121 s of its 120 s failure budget.", "budget", 121.0, 120.0),
    tuple(HealthSample(t_s=10.0 * n, probe=ProbeSample(0, 3, 502)) for n in range(1, 14)),
    COMPLETED_S + 130,
)
WELL = Watched(
    Health.HEALTHY,
    Verdict("healthy", "It used 0 s of its 120 s failure budget.", "budget", 0.0, 120.0),
    tuple(HealthSample(t_s=10.0 * n, probe=ProbeSample(3, 0, 200)) for n in range(1, 14)),
    COMPLETED_S + 900,
)
PULL_REQUEST = PullRequestFacts(
    42, "Presigned uploads", "dana", "https://github.com/acme/stagelog/pull/42", "feature/uploads", "develop"
)
MERGE = CommitFacts(
    SHA,
    (PARENT, TIP),
    "Merge pull request #42",
    CommitShape.MERGE,
    on_branch=True,
    paths=("app/settings.py",),
)
CHANGE = Change("develop", SHA, (Culprit(MERGE, PULL_REQUEST),))
EVIDENCE = Evidence(
    captured_at_s=COMPLETED_S + 132,
    layers=(Layer("container", LayerStatus.FAILING, "stagelog-api exited with 1."),),
    container="stagelog-api",
    exit_code=1,
    log="django.core.exceptions.ImproperlyConfigured: STATIC_ROOT",
    diagnosis=Diagnosis("django_setting", "ImproperlyConfigured", "Set it.", RevertHelps.YES),
)
PUSHED = Reverted(
    RevertOutcome.REVERTED, "Reverted.", (SHA,), revert_sha=REVERT, tree="e" * 40, at_s=COMPLETED_S + 135
)


@dataclass
class FakeWorld:
    """Fills `ports.World`. A field that holds a BotFailure is raised instead of returned."""

    plan_: Plan | BotFailure = PLAN
    baseline_: Baseline = GOOD_BEFORE
    watched: Watched | PersonOrder = FAILING
    evidence: Evidence = EVIDENCE
    change_: Change | BotFailure = CHANGE
    rails_: list[Rails | BotFailure] = field(default_factory=list)
    answers: list[Watched | PersonOrder | None] = field(default_factory=list)
    reverted: Reverted | BotFailure = PUSHED
    proposed: PullRequestFacts | BotFailure = PULL_REQUEST
    recovery: Watched = WELL
    of_incident: str | None = None
    mail: list[PersonOrder] = field(default_factory=list)

    frozen: list[str] = field(default_factory=list)
    orders: list[RollbackOrder] = field(default_factory=list)
    told: list[Incident] = field(default_factory=list)
    recorded: list[Incident] = field(default_factory=list)
    did: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    clock_s: float = COMPLETED_S + 130

    async def plan(self, deploy: Deploy) -> Plan:
        return _given(self.plan_)

    async def baseline(self, deploy: Deploy, plan: Plan) -> Baseline:
        return self.baseline_

    async def watch_or_order(
        self, deploy: Deploy, plan: Plan, baseline: Baseline
    ) -> tuple[Watched | None, PersonOrder | None]:
        self.did.append("watch")
        return _either(self.watched)

    async def recovered_or_order(
        self, incident: Incident, plan: Plan
    ) -> tuple[Watched | None, PersonOrder | None]:
        answer = self.answers.pop(0) if self.answers else None
        if answer is None:
            self.clock_s += plan.rollback.decide_within_s
        return _either(answer)

    async def verify(self, incident: Incident, plan: Plan) -> Watched:
        self.did.append("verify")
        return self.recovery

    async def capture(self, deploy: Deploy, plan: Plan, latest: HealthSample | None) -> Evidence:
        self.did.append("capture")
        return self.evidence

    async def change(self, deploy: Deploy, plan: Plan) -> Change:
        return _given(self.change_)

    async def rails(self, deploy: Deploy, plan: Plan) -> Rails:
        rails = _given(self.rails_.pop(0)) if self.rails_ else Rails(deployed_sha_now=deploy.sha)
        return replace(rails, read_at_s=self.clock_s)

    async def revert(self, order: RollbackOrder) -> Reverted:
        self.did.append("revert")
        self.orders.append(order)
        return _given(self.reverted)

    async def propose(self, incident: Incident, plan: Plan) -> Reverted:
        self.did.append("propose")
        assert incident.reverted is not None
        return replace(incident.reverted, pull_request=_given(self.proposed))

    async def order_now(self) -> PersonOrder | None:
        return self.mail.pop(0) if self.mail else None

    async def freeze(self, incident: Incident, plan: Plan) -> None:
        self.frozen.append(f"{incident.deploy.repository}@{plan.branch}")

    async def reverted_by_us(self, deploy: Deploy, plan: Plan) -> str | None:
        return self.of_incident

    async def record(self, incident: Incident, what: str, stamp: str = "") -> Incident:
        self.clock_s += 1
        incident = replace(incident, timeline=(*incident.timeline, Moment(self.clock_s, what)))
        if stamp:
            incident = replace(incident, **{stamp: self.clock_s})
        self.recorded.append(incident)
        return incident

    async def tell(self, incident: Incident, plan: Plan) -> None:
        self.did.append("tell")
        self.told.append(incident)

    async def close(self, deploy: Deploy, plan: Plan | None, watched: Watched | None, note: str) -> str:
        self.closed.append(note)
        return note


def _either(answer: Watched | PersonOrder | None) -> tuple[Watched | None, PersonOrder | None]:
    if isinstance(answer, PersonOrder):
        return None, answer
    return answer, None


def _given(value):  # type: ignore[no-untyped-def]
    if isinstance(value, BotFailure):
        raise value
    return value
