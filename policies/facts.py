"""The words everyone speaks: frozen facts about deploys, health, commits, evidence and decisions.

Times are seconds. `…_at_s` is an instant (Unix epoch); `t_s` is relative to the moment the deploy
completed (negative: before it). All collections are tuples, so that facts can be hashed and stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policies.facts_orders import PersonOrder as PersonOrder
from policies.facts_orders import Rails as Rails
from policies.facts_orders import RollbackOrder as RollbackOrder
from policies.facts_orders import Switch as Switch
from policies.limits import Plan


class Health(StrEnum):
    """What watching says. UNKNOWN is "could not look" and is never evidence against a deploy."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    PENDING = "pending"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer with its reason; `rule` names who answered, `number` and `limit` are what it compared."""

    status: str
    reason: str
    rule: str = ""
    number: float | None = None
    limit: float | None = None
    children: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Deploy:
    """One completed (or started) deployment of one commit to one environment."""

    id: str
    repository: str
    environment: str
    sha: str
    branch: str | None
    url: str | None
    source: str
    started_at_s: float | None
    completed_at_s: float
    workflow: str | None = None
    """The name of the workflow, where `source` is "workflow_run"."""

    @property
    def service(self) -> str:
        """The unit that is healthy or not: a repository in an environment."""
        return f"{self.repository}:{self.environment}"


# --- health ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProbeSample:
    """The HTTP probes of one poll: how many answered as they should, how many did not."""

    ok: int
    failed: int
    status: int | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class TargetSample:
    """One target of one target group as the load balancer sees it (state and reason in ALB's words)."""

    group: str
    target: str
    state: str
    reason: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class TrafficSample:
    """One CloudWatch minute: requests, and the share of them (0..1) that were answered 5xx."""

    requests_per_min: float
    rate_5xx: float


@dataclass(frozen=True, slots=True)
class HealthSample:
    """One poll. Any part may be missing; `error` says why we could not look."""

    t_s: float
    probe: ProbeSample | None = None
    targets: tuple[TargetSample, ...] | None = None
    traffic: TrafficSample | None = None
    siblings_bad: float | None = None
    crash: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """Health before the deploy, and where that knowledge comes from (empty: nothing is known)."""

    samples: tuple[HealthSample, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Watched:
    """How a watch ended: the verdict, what was seen (the tail of it), and when it ended."""

    health: Health
    verdict: Verdict
    samples: tuple[HealthSample, ...]
    ended_at_s: float


# --- commits and pull requests --------------------------------------------------------------------


class CommitShape(StrEnum):
    """What kind of commit a deploy brought; it decides how (and whether) it is reverted."""

    PLAIN = "plain"
    MERGE = "merge"
    OCTOPUS = "octopus"
    FOXTROT = "foxtrot"
    ROOT = "root"


@dataclass(frozen=True, slots=True)
class CommitFacts:
    """What git says of a commit relative to the branch it was deployed from."""

    sha: str
    parents: tuple[str, ...]
    subject: str
    shape: CommitShape
    on_branch: bool
    paths: tuple[str, ...] = ()
    already_reverted_by: str | None = None
    rollback_deploy: str | None = None
    relands: str | None = None
    committed_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class PullRequestFacts:
    """The pull request that brought a commit to the branch."""

    number: int
    title: str
    author: str
    url: str
    head_ref: str = ""
    base_ref: str = ""
    merged: bool = True


@dataclass(frozen=True, slots=True)
class RepositoryAbout:
    """What the forge says of a repository as a whole."""

    default_branch: str
    private: bool


@dataclass(frozen=True, slots=True)
class Culprit:
    """One commit that a rollback would revert, with the pull request it came from, if any."""

    commit: CommitFacts
    pull_request: PullRequestFacts | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What a deploy brought, newest first, and the branch's head when it was read."""

    branch: str
    head: str
    culprits: tuple[Culprit, ...]
    last_good: str | None = None
    unknown: str | None = None
    """Why the range could not be told (force-push, missing history); a person must choose then."""


# --- evidence -------------------------------------------------------------------------------------


class LayerStatus(StrEnum):
    OK = "ok"
    FAILING = "failing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the runbook (load balancer, host, container): a sentence and the facts under it."""

    name: str
    status: LayerStatus
    summary: str
    details: tuple[str, ...] = ()


class RevertHelps(StrEnum):
    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The likely cause, read from a log: its class, the line that says so, and what to do."""

    kind: str
    line: str
    advice: str
    revert_helps: RevertHelps


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was captured before the redeploy destroys it. `log` is cleaned already; raw text is never kept."""

    captured_at_s: float
    layers: tuple[Layer, ...]
    container: str | None = None
    container_status: str | None = None
    exit_code: int | None = None
    restarts: int | None = None
    image: str | None = None
    log: str = ""
    redacted: int = 0
    diagnosis: Diagnosis | None = None
    seconds: float = 0.0

    @property
    def failing_layer(self) -> Layer | None:
        """The first layer, in the runbook's order, that is failing."""
        return next((layer for layer in self.layers if layer.status is LayerStatus.FAILING), None)


# --- deciding -------------------------------------------------------------------------------------


class Action(StrEnum):
    ROLL_BACK = "roll_back"
    HOLD = "hold"
    ASK = "ask"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Decision:
    """May we act? The answer, the sentence for it, every gate's own verdict, and the order if it is yes."""

    action: Action
    reason: str
    gates: tuple[Verdict, ...] = ()
    order: RollbackOrder | None = None


# --- acting ---------------------------------------------------------------------------------------


class RevertOutcome(StrEnum):
    REVERTED = "reverted"
    ALREADY_REVERTED = "already_reverted"
    CONFLICT = "conflict"
    REFUSED = "refused"
    PUSH_REJECTED = "push_rejected"
    STOPPED = "stopped"
    """A switch or a person came between the decision and the push; nothing was pushed."""


@dataclass(frozen=True, slots=True)
class Reverted:
    """What came of a revert: on the branch, on `proposed_branch` for a pull request, or nowhere and why.

    `commits` are the commits that take the change back, oldest first: those made now (the last is `revert_sha`),
    or those found to have done it before. `conflicts` are paths."""

    outcome: RevertOutcome
    reason: str
    commits: tuple[str, ...] = ()
    revert_sha: str | None = None
    tree: str | None = None
    conflicts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    proposed_branch: str | None = None
    pull_request: PullRequestFacts | None = None
    command: str | None = None
    at_s: float | None = None


class IncidentState(StrEnum):
    DETECTED = "detected"
    HELD = "held"
    ASKED = "asked"
    REVERTING = "reverting"
    REVERTED = "reverted"
    PROPOSED = "proposed"
    RECOVERED = "recovered"
    FAILED = "failed"
    CLOSED = "closed"


FINAL_STATES = frozenset({IncidentState.RECOVERED, IncidentState.FAILED, IncidentState.CLOSED})


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of an incident's timeline."""

    at_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Incident:
    """The life of one bad deploy, as the comment, the page and the audit tell it."""

    id: str
    deploy: Deploy
    state: IncidentState
    reason: str
    opened_at_s: float
    decided_at_s: float | None = None
    pushed_at_s: float | None = None
    closed_at_s: float | None = None
    watched: Watched | None = None
    baseline: Baseline | None = None
    evidence: Evidence | None = None
    change: Change | None = None
    decision: Decision | None = None
    reverted: Reverted | None = None
    recovery: Watched | None = None
    asked_until_s: float | None = None
    timeline: tuple[Moment, ...] = ()
    plan: Plan | None = None
    """With `rails` and `person`: the facts that the decision was made from, so that it can be replayed."""
    rails: Rails | None = None
    person: PersonOrder | None = None
    acquitted: str = ""
    """Why the deploy is thought not to have been the cause after all; empty while it is."""
