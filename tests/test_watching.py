"""Watching: polls, early looks at the container, a newer deploy, the recovery, and going on after a crash."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from bot.failures import CannotReadHealth
from bot.ports import UNDEPLOYED
from bot.store import Store
from bot.watching import Eyes
from policies.facts import (
    Baseline,
    CommitFacts,
    Deploy,
    Evidence,
    Health,
    HealthSample,
    Incident,
    IncidentState,
    ProbeSample,
    RepositoryAbout,
    TargetSample,
    TrafficSample,
)
from policies.limits import HealthLimits, Plan, RollbackLimits, Runtime
from tests.fakes import DEPLOY, EVIDENCE, MERGE, PLAN, PUSHED

FAST = replace(
    PLAN,
    runtime=Runtime(container="stagelog-api"),
    health=HealthLimits(
        interval_s=0.1,
        watch_for_s=3.0,
        budget_s=1.5,
        budget_before_first_good_s=1.5,
        budget_with_crash_s=0.6,
        first_good_after_s=0.6,
    ),
    rollback=RollbackLimits(verify_within_s=1.8, decide_within_s=1.8),
)
GOOD, BAD = ProbeSample(3, 0, 200), ProbeSample(0, 3, 502)


RUNNING = replace(EVIDENCE, exit_code=None, restarts=0, diagnosis=None)


@dataclass
class Outside:
    """What `Eyes` looks at: each answer can be set, also while a watch runs."""

    probe_answer: ProbeSample | CannotReadHealth = GOOD
    evidence: Evidence = RUNNING
    newer: str | None = None
    traffic: TrafficSample | None = None
    past: tuple[HealthSample, ...] | CannotReadHealth = ()
    deployed_s: float | None = None
    looks: int = 0
    captures: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    commit_facts: CommitFacts = MERGE
    asked: list[str] = field(default_factory=list)
    refreshed: int = 0

    async def probe(self, url: str) -> ProbeSample:
        self.looks += 1
        if isinstance(self.probe_answer, CannotReadHealth):
            raise self.probe_answer
        return self.probe_answer

    async def read(self, plan: Plan) -> tuple[TargetSample, ...]:
        return ()

    async def latest(self, plan: Plan) -> TrafficSample | None:
        return self.traffic

    async def history(self, plan: Plan, since_s: float, until_s: float) -> tuple[HealthSample, ...]:
        if isinstance(self.past, CannotReadHealth):
            raise self.past
        return self.past

    async def capture(self, deploy: Deploy, plan: Plan, latest: HealthSample | None) -> Evidence:
        self.captures += 1
        return self.evidence

    async def superseded_by(self, deploy: Deploy, *, right_now: bool = False) -> str | None:
        return self.newer

    def revert_deployed_at(self, incident: Incident, plan: Plan) -> float | None:
        return self.deployed_s

    async def bad_share(self, service: str) -> float | None:
        return None

    def about(self, repository: str) -> RepositoryAbout:
        return RepositoryAbout("main", True)

    def read_before(self, repository: str, sha: str, path: str) -> bytes | None:
        self.asked.append(sha)
        return self.files.get(MERGE.parents[0])

    def refresh(self, repository: str, branch: str) -> str:
        self.refreshed += 1
        return self.commit_facts.sha

    def commit(self, repository: str, branch: str, sha: str) -> CommitFacts:
        return self.commit_facts

    def read_file(self, repository: str, sha: str, path: str) -> bytes | None:
        return self.files.get(sha)


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def eyes(outside: Outside, store: Store) -> Eyes:
    return Eyes(
        repository=outside,  # type: ignore[arg-type]
        pull_requests=outside,  # type: ignore[arg-type]
        probe=outside,
        target_health=outside,
        traffic=outside,
        evidence=outside,
        samples=store,  # type: ignore[arg-type]
        history=outside,
        siblings=outside,
    )


def just_deployed(eyes: Eyes) -> Deploy:
    return replace(DEPLOY, completed_at_s=eyes._now(), started_at_s=eyes._now() - 1)


async def test_a_failing_service_uses_up_its_budget(eyes: Eyes, outside: Outside) -> None:
    outside.probe_answer = BAD
    watched = await eyes.watch(just_deployed(eyes), FAST, Baseline((), ""))
    assert watched.health is Health.UNHEALTHY and watched.verdict.limit == FAST.health.budget_s


async def test_a_healthy_service_is_watched_to_the_end(eyes: Eyes) -> None:
    watched = await eyes.watch(just_deployed(eyes), FAST, Baseline((), ""))
    assert watched.health is Health.HEALTHY


async def test_what_we_cannot_see_is_unknown_and_says_why(eyes: Eyes, outside: Outside) -> None:
    outside.probe_answer = CannotReadHealth("The name stagelog.example cannot be resolved here.")
    watched = await eyes.watch(just_deployed(eyes), FAST, Baseline((), ""))
    assert watched.health is not Health.UNHEALTHY
    assert watched.samples[-1].error == "The name stagelog.example cannot be resolved here."


async def test_a_crash_seen_early_shortens_the_budget(eyes: Eyes, outside: Outside) -> None:
    outside.probe_answer, outside.evidence = BAD, EVIDENCE
    watched = await eyes.watch(just_deployed(eyes), FAST, Baseline((), ""))
    assert watched.health is Health.UNHEALTHY and watched.verdict.limit == FAST.health.budget_with_crash_s
    assert watched.samples[-1].crash


async def test_the_container_is_looked_at_only_while_failing_and_not_at_every_poll(
    eyes: Eyes, outside: Outside
) -> None:
    await eyes.watch(just_deployed(eyes), FAST, Baseline((), ""))
    assert outside.captures == 0
    outside.probe_answer = BAD
    outside.looks = 0
    await eyes.watch(just_deployed(eyes), FAST, Baseline((), ""))
    assert 1 <= outside.captures < outside.looks


async def test_a_newer_deploy_ends_the_watch_without_a_judgement(eyes: Eyes, outside: Outside) -> None:
    outside.newer = "c" * 12
    watched = await eyes.watch(just_deployed(eyes), FAST, Baseline((), ""))
    assert watched.health is Health.UNKNOWN and watched.verdict.rule == "superseded"


async def test_a_second_run_of_the_watch_goes_on_where_the_first_was_cut_off(
    eyes: Eyes, outside: Outside, store: Store
) -> None:
    outside.probe_answer = BAD
    deploy = replace(DEPLOY, completed_at_s=eyes._now() - 1.5)
    earlier = [(deploy.completed_at_s + 0.1 * n, HealthSample(0.1 * n, BAD)) for n in range(1, 15)]
    store.add_samples(deploy.service, earlier)
    watched = await eyes.watch(deploy, FAST, Baseline((), ""))
    assert watched.health is Health.UNHEALTHY
    assert len(watched.samples) >= 14 and outside.looks <= 6


async def test_the_baseline_is_what_was_seen_before(eyes: Eyes, store: Store) -> None:
    deploy = just_deployed(eyes)
    store.add_samples(deploy.service, [(deploy.completed_at_s - 30, HealthSample(0.0, GOOD))])
    baseline = await eyes.baseline(deploy, PLAN)
    assert [round(sample.t_s) for sample in baseline.samples] == [-30]
    assert baseline.source == "looked at in the minutes before it"


WITH_GROUPS = replace(PLAN, target_groups=("stagelog-dev",))


async def test_cloudwatch_tells_of_before_where_we_did_not_look(eyes: Eyes, outside: Outside) -> None:
    deploy = just_deployed(eyes)
    outside.past = (HealthSample(deploy.completed_at_s - 90, traffic=TrafficSample(120.0, 0.0)),)
    baseline = await eyes.baseline(deploy, WITH_GROUPS)
    assert [round(sample.t_s) for sample in baseline.samples] == [-90]
    assert baseline.source == "CloudWatch's history"


async def test_an_unreadable_history_claims_nothing(eyes: Eyes, outside: Outside) -> None:
    outside.past = CannotReadHealth("No permission.")
    assert await eyes.baseline(just_deployed(eyes), WITH_GROUPS) == Baseline((), "")


async def test_what_users_got_is_part_of_a_poll(eyes: Eyes, outside: Outside) -> None:
    outside.traffic = TrafficSample(60.0, 0.25)
    assert (await eyes.look(WITH_GROUPS, 0.0)).traffic == outside.traffic


async def test_without_samples_the_baseline_claims_nothing(eyes: Eyes) -> None:
    assert await eyes.baseline(just_deployed(eyes), PLAN) == Baseline((), "")


def incident(eyes: Eyes, state: IncidentState = IncidentState.REVERTED) -> Incident:
    now_s = eyes._now()
    return Incident("i", just_deployed(eyes), state, "", now_s, pushed_at_s=now_s, reverted=PUSHED)


async def test_recovery_counts_from_the_deploy_of_the_revert(eyes: Eyes, outside: Outside) -> None:
    outside.deployed_s = eyes._now()
    recovery = await eyes.verify(incident(eyes), FAST)
    assert recovery.health is Health.HEALTHY


async def test_a_service_that_stays_bad_after_the_revert_has_not_recovered(
    eyes: Eyes, outside: Outside
) -> None:
    outside.probe_answer, outside.deployed_s = BAD, eyes._now()
    recovery = await eyes.verify(incident(eyes), FAST)
    assert recovery.health is Health.UNHEALTHY and recovery.verdict.rule != UNDEPLOYED


async def test_a_revert_whose_deploy_was_never_heard_of_is_said_so(eyes: Eyes, outside: Outside) -> None:
    outside.probe_answer = BAD
    recovery = await eyes.verify(incident(eyes), FAST)
    assert recovery.verdict.rule == UNDEPLOYED
    assert recovery.verdict.reason.startswith("No deploy of the revert was heard of")


async def test_a_hold_ends_when_the_service_is_well_again(eyes: Eyes) -> None:
    recovery = await eyes.until_recovered(incident(eyes, IncidentState.HELD), FAST)
    assert recovery is not None and recovery.health is Health.HEALTHY


async def test_a_hold_on_a_live_outage_ends_with_nothing(eyes: Eyes, outside: Outside) -> None:
    outside.probe_answer = BAD
    assert await eyes.until_recovered(incident(eyes, IncidentState.HELD), FAST) is None


async def test_the_plan_is_read_from_before_the_deploy(eyes: Eyes, outside: Outside) -> None:
    outside.files = {
        MERGE.parents[0]: b"environments: {develop: {branch: develop, url: 'https://before.example/'}}",
        MERGE.sha: b"environments: {develop: {branch: develop, url: 'https://after.example/'}}",
    }
    plan = await eyes.plan(DEPLOY)
    assert plan.url == "https://before.example/"


async def test_a_deploy_that_is_not_on_the_branch_is_a_preview(eyes: Eyes, outside: Outside) -> None:
    outside.commit_facts = replace(MERGE, on_branch=False)
    assert "is not on" in ((await eyes.plan(DEPLOY)).ignored or "")


async def test_an_invalid_file_means_observe_only_and_says_so(eyes: Eyes, outside: Outside) -> None:
    outside.files = {MERGE.parents[0]: b"mod: auto"}
    plan = await eyes.plan(DEPLOY)
    assert plan.mode.value == "observe" and "did you mean `mode`?" in plan.notices[0]


RUN = replace(DEPLOY, environment="", source="workflow_run", workflow="Deploy", url=None)
BY_WORKFLOW = (
    b"environments: {develop: {branch: develop, url: 'https://x.example/', trigger: {workflow_run: Deploy}}}"
)


async def test_a_workflow_that_deploys_nothing_we_guard_costs_no_clone(eyes: Eyes, outside: Outside) -> None:
    outside.files = {MERGE.parents[0]: BY_WORKFLOW}
    plan = await eyes.plan(replace(RUN, workflow="Lint"))
    assert "No environment" in (plan.ignored or "") and outside.refreshed == 0


async def test_a_workflow_that_deploys_is_guarded_in_its_environment(eyes: Eyes, outside: Outside) -> None:
    outside.files = {MERGE.parents[0]: BY_WORKFLOW}
    plan = await eyes.plan(RUN)
    assert plan.ignored is None and plan.environment == "develop" and outside.asked == [DEPLOY.sha]
