"""Ready-made incidents in every state, for tests of what people read about them."""

from __future__ import annotations

from dataclasses import replace

from bot.ports import UNDEPLOYED
from policies.facts import (
    Action,
    Baseline,
    Change,
    CommitFacts,
    CommitShape,
    Culprit,
    Decision,
    Deploy,
    Diagnosis,
    Evidence,
    Health,
    HealthSample,
    Incident,
    IncidentState,
    Layer,
    LayerStatus,
    Moment,
    ProbeSample,
    PullRequestFacts,
    Reverted,
    RevertHelps,
    RevertOutcome,
    RollbackOrder,
    Verdict,
    Watched,
)
from policies.limits import Mode, Plan

DEPLOYED_AT_S = 1_777_903_200.0  # 2026-05-04 14:00:00 UTC
BAD = "b7c1f0e" + "0" * 33
GOOD = "1a2b3c4" + "0" * 33
REVERT = "9a8b7c6" + "0" * 33
DJANGO_LINE = (
    "django.core.exceptions.ImproperlyConfigured: You're using the staticfiles app without having set the "
    "STATIC_ROOT setting to a filesystem path."
)
LOG = f"""Collecting static files
Traceback (most recent call last):
  File "/app/manage.py", line 22, in <module>
    main()
{DJANGO_LINE}
DJANGO_SECRET_KEY=[redacted]
"""

PLAN = Plan(
    mode=Mode.AUTO, branch="develop", url="https://api.example.com/", config_from=".github/rollback.yml"
)
PULL = PullRequestFacts(
    number=42,
    title="Presigned uploads",
    author="dana",
    url="https://github.com/acme/stagelog/pull/42",
    head_ref="feature/uploads-presign",
    base_ref="develop",
)
DEPLOY = Deploy(
    id="d-42",
    repository="acme/stagelog",
    environment="develop",
    sha=BAD,
    branch="develop",
    url="https://api.example.com/",
    source="deployment_status",
    started_at_s=DEPLOYED_AT_S - 40,
    completed_at_s=DEPLOYED_AT_S,
)
MERGE = CommitFacts(
    sha=BAD,
    parents=(GOOD, "c" * 40),
    subject="Merge pull request #42 from acme/feature/uploads-presign",
    shape=CommitShape.MERGE,
    on_branch=True,
    paths=("app/config/settings.py",),
)
CHANGE = Change(branch="develop", head=BAD, culprits=(Culprit(MERGE, PULL),), last_good=GOOD)
EVIDENCE = Evidence(
    captured_at_s=DEPLOYED_AT_S + 71,
    layers=(
        Layer(
            "load balancer",
            LayerStatus.FAILING,
            "502 Bad Gateway",
            ("i-0aa: Target.Timeout",),
        ),
        Layer("host", LayerStatus.OK, "the SSM agent answers"),
        Layer(
            "container",
            LayerStatus.FAILING,
            "stagelog-api exited with code 1",
            ("Exited (1) 12 seconds ago",),
        ),
    ),
    container="stagelog-api",
    container_status="Exited (1) 12 seconds ago",
    exit_code=1,
    restarts=3,
    image="stagelog:b7c1f0e",
    log=LOG,
    redacted=1,
    diagnosis=Diagnosis(
        kind="django_setting",
        line=DJANGO_LINE,
        advice="Set STATIC_ROOT before relanding, and run `python manage.py check --deploy` in the image.",
        revert_helps=RevertHelps.YES,
    ),
    seconds=2.4,
)


def polls(pattern: str, start_s: float = 10.0) -> tuple[HealthSample, ...]:
    """Polls every 10 s: `+` good, `-` bad, anything else could not look."""
    probes = {"+": ProbeSample(3, 0, 200), "-": ProbeSample(0, 3, 502)}
    return tuple(
        HealthSample(
            start_s + 10.0 * n, probe=probes.get(mark), error=None if mark in probes else "timed out"
        )
        for n, mark in enumerate(pattern)
    )


WATCHED = Watched(
    Health.UNHEALTHY,
    Verdict(
        "unhealthy",
        "Since this deploy the service used 66 s of its 60 s failure budget; its container crashed twice.",
        "health",
        66.0,
        60.0,
    ),
    polls("-------"),
    DEPLOYED_AT_S + 70,
)
GATES = (
    Verdict("pass", "no switch is on", "switches"),
    Verdict("pass", "it was 0 % bad before the deploy", "baseline", 0.0, 0.3),
    Verdict("pass", "develop had 0 rollbacks in the last hour", "max_per_hour", 0.0, 2.0),
)
ORDER = RollbackOrder(
    incident_id="3f2a9c41d07e",
    deploy_id="d-42",
    repository="acme/stagelog",
    environment="develop",
    branch="develop",
    commits=(BAD,),
    expected_head=BAD,
    ordered_by="the failure budget",
    reason="It was healthy before, and its siblings are healthy: roll back #42.",
    good_tree_of=GOOD,
)
DETECTED = Incident(
    id="3f2a9c41d07e",
    deploy=DEPLOY,
    state=IncidentState.DETECTED,
    reason=WATCHED.verdict.reason,
    opened_at_s=DEPLOYED_AT_S + 70,
    watched=WATCHED,
    baseline=Baseline(polls("++++++", -60.0), "our own samples"),
    timeline=(Moment(DEPLOYED_AT_S + 70, "Detected."),),
)
DECIDED = replace(
    DETECTED,
    evidence=EVIDENCE,
    change=CHANGE,
    decided_at_s=DEPLOYED_AT_S + 73,
    decision=Decision(Action.ROLL_BACK, ORDER.reason, GATES, ORDER),
    reason=ORDER.reason,
    timeline=(
        *DETECTED.timeline,
        Moment(DEPLOYED_AT_S + 72, "Evidence captured in 1.6 s."),
        Moment(DEPLOYED_AT_S + 73, "Decided: roll back."),
    ),
)
REVERTING = replace(DECIDED, state=IncidentState.REVERTING)
DONE = Reverted(
    RevertOutcome.REVERTED,
    "Reverted #42 and pushed to develop.",
    commits=(REVERT,),
    revert_sha=REVERT,
    tree="e" * 40,
    at_s=DEPLOYED_AT_S + 75,
)
REVERTED = replace(
    DECIDED,
    state=IncidentState.REVERTED,
    reverted=DONE,
    reason=DONE.reason,
    pushed_at_s=DEPLOYED_AT_S + 75,
    timeline=(*DECIDED.timeline, Moment(DEPLOYED_AT_S + 75, "Revert pushed.")),
)
RECOVERED = replace(
    REVERTED,
    state=IncidentState.RECOVERED,
    reason="The site has been good for 30 s since the revert was deployed.",
    closed_at_s=DEPLOYED_AT_S + 147,
    recovery=Watched(
        Health.HEALTHY,
        Verdict(
            "healthy", "The site has been good for 30 s since the revert was deployed.", "health", 30.0, 30.0
        ),
        polls("--+++", 80.0),
        DEPLOYED_AT_S + 146,
    ),
    timeline=(*REVERTED.timeline, Moment(DEPLOYED_AT_S + 147, "Ended: recovered.")),
)
NOT_RECOVERED = replace(
    RECOVERED,
    state=IncidentState.FAILED,
    reason="It is still failing 15 min after the revert was deployed. "
    "The deploy of b7c1f0e0 was probably not the cause.",
    acquitted="health did not come back after the revert was deployed",
    closed_at_s=DEPLOYED_AT_S + 975,
    recovery=Watched(
        Health.UNHEALTHY,
        Verdict("unhealthy", "It is still failing 15 min after the revert was deployed.", "health"),
        polls("-" * 40, 80.0),
        DEPLOYED_AT_S + 975,
    ),
)
CONFLICT = replace(
    DECIDED,
    state=IncidentState.FAILED,
    reason="The revert of b7c1f0e0 conflicts with later changes, so nothing was pushed.",
    closed_at_s=DEPLOYED_AT_S + 75,
    reverted=Reverted(
        RevertOutcome.CONFLICT,
        "The revert of b7c1f0e0 conflicts with later changes, so nothing was pushed.",
        conflicts=("app/config/settings.py", "odd `name`.py"),
        command=f"git revert -m 1 {BAD}",
    ),
)
PROPOSED = replace(
    DECIDED,
    state=IncidentState.PROPOSED,
    reason="develop is protected, so the revert is proposed as a pull request.",
    reverted=Reverted(
        RevertOutcome.PUSH_REJECTED,
        "develop is protected (GH006), so the revert is proposed as a pull request.",
        commits=(REVERT,),
        revert_sha=REVERT,
        proposed_branch="rollback/3f2a9c41d07e",
        pull_request=PullRequestFacts(
            43, "Revert #42", "rollback-bot[bot]", "https://github.com/acme/stagelog/pull/43"
        ),
    ),
)
MERGED_AND_RECOVERED = replace(RECOVERED, reverted=PROPOSED.reverted, pushed_at_s=None)
UNHEARD = Watched(
    Health.UNHEALTHY,
    Verdict(
        "unhealthy", "No deploy of the revert was heard of, and the service is still failing.", UNDEPLOYED
    ),
    polls("-" * 5, 80.0),
    DEPLOYED_AT_S + 975,
)
NOT_DEPLOYED = replace(NOT_RECOVERED, recovery=UNHEARD, reason=UNHEARD.verdict.reason, acquitted="")
NOT_MERGED = replace(NOT_DEPLOYED, reverted=PROPOSED.reverted, pushed_at_s=None)
NOT_OURS = (
    f"{WATCHED.verdict.reason[:-1]}, but it was 80 % bad before the deploy (limit 30 %): I did not act."
)
HELD = replace(
    DECIDED,
    state=IncidentState.HELD,
    decision=Decision(
        Action.HOLD,
        NOT_OURS,
        (GATES[0], Verdict("hold", "it was 80 % bad before the deploy", "baseline", 0.8, 0.3), GATES[2]),
    ),
    reason=NOT_OURS,
)
ASKED = replace(
    HELD,
    state=IncidentState.ASKED,
    asked_until_s=DEPLOYED_AT_S + 1_273,
    decision=Decision(
        Action.ASK, "mode is approve: shall I roll back #42?", (Verdict("ask", "mode is approve", "mode"),)
    ),
    reason="mode is approve: shall I roll back #42?",
)
WOULD_HAVE = (
    f"{WATCHED.verdict.reason[:-1]}; it was healthy before: I would have rolled back #42, but mode is observe "
    "(built-in defaults). Set `mode: auto` to let me."
)
OBSERVED = replace(
    DECIDED,
    state=IncidentState.CLOSED,
    closed_at_s=DEPLOYED_AT_S + 73,
    decision=Decision(Action.OBSERVE, WOULD_HAVE, GATES),
    reason=WOULD_HAVE,
)
BY_ITSELF = replace(
    HELD,
    state=IncidentState.CLOSED,
    reason="The service recovered without a rollback. The site has been good for 90 s.",
    closed_at_s=DEPLOYED_AT_S + 300,
    recovery=Watched(
        Health.HEALTHY,
        Verdict("healthy", "The site has been good for 90 s."),
        polls("--+++", 80.0),
        DEPLOYED_AT_S + 299,
    ),
)
CANCELLED = replace(
    HELD, state=IncidentState.CLOSED, reason="Cancelled by dana.", closed_at_s=DEPLOYED_AT_S + 200
)

EVERY = {
    "detected": DETECTED,
    "held": HELD,
    "asked": ASKED,
    "reverting": REVERTING,
    "reverted": REVERTED,
    "proposed": PROPOSED,
    "recovered": RECOVERED,
    "recovered_by_merge": MERGED_AND_RECOVERED,
    "failed_not_recovered": NOT_RECOVERED,
    "failed_not_deployed": NOT_DEPLOYED,
    "failed_not_merged": NOT_MERGED,
    "failed_conflict": CONFLICT,
    "closed_observed": OBSERVED,
    "closed_by_itself": BY_ITSELF,
    "closed_cancelled": CANCELLED,
}
