"""The Protocols between the story and the world: first the hands, then what the guard sees.

Every method may be called twice for the same purpose (the engine runs a step again after a crash), so whoever
fills a Protocol looks for the trace of its effect first. Failures are `bot.failures.BotFailure`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from policies.asked import PullHead
from policies.facts import (
    Baseline,
    Change,
    CommitFacts,
    Deploy,
    Evidence,
    HealthSample,
    Incident,
    PersonOrder,
    ProbeSample,
    PullRequestFacts,
    Rails,
    RepositoryAbout,
    Reverted,
    RollbackOrder,
    TargetSample,
    TrafficSample,
    Watched,
)
from policies.limits import Plan

UNDEPLOYED = "undeployed"
"""The rule of a verification's verdict when no deploy of the revert was heard of."""

# --- hands: one adapter a role --------------------------------------------------------------------


class HttpProbe(Protocol):
    """Asks the site as a user would."""

    async def probe(self, url: str) -> ProbeSample:
        """Ask `url` for one poll (a few GETs). A refused, broken, slow or 5xx answer is a failed probe; an
        error of our own (DNS, no route, an address we may not reach) raises CannotReadHealth."""
        ...


class TargetHealth(Protocol):
    """Reads target health from the load balancer."""

    async def read(self, plan: Plan) -> tuple[TargetSample, ...]:
        """The present state of every target of `plan.target_groups`. Raises CannotReadHealth."""
        ...


class Traffic(Protocol):
    """Reads what users got, minute by minute, from the load balancer's metrics."""

    async def latest(self, plan: Plan) -> TrafficSample | None:
        """The newest whole minute, None without traffic. Raises CannotReadHealth."""
        ...

    async def history(self, plan: Plan, since_s: float, until_s: float) -> tuple[HealthSample, ...]:
        """One sample a minute, oldest first; here `t_s` is epoch. Raises CannotReadHealth."""
        ...


class EvidenceCapture(Protocol):
    """Looks at load balancer, host and container before the redeploy destroys them."""

    async def capture(self, deploy: Deploy, plan: Plan, latest: HealthSample | None) -> Evidence:
        """Best effort within its own deadline (20 s): what could not be seen is a line of the evidence.
        Never raises BotFailure. `latest` is the poll that failed, for the load balancer's layer."""
        ...


class Repository(Protocol):
    """The kept mirror of a repository. All methods block; shas are full 40-hex."""

    def refresh(self, repository: str, branch: str) -> str:
        """Fetch `branch`; the sha of its head now. Raises CannotReadRepository."""
        ...

    def commit(self, repository: str, branch: str, sha: str) -> CommitFacts:
        """What `sha` is, relative to `branch` as last refreshed. Raises CannotReadRepository."""
        ...

    def between(
        self, repository: str, branch: str, good: str | None, sha: str, at_most: int
    ) -> tuple[CommitFacts, ...]:
        """First-parent walk from `sha` down to, without, `good`; newest first; stops at `at_most` + 1.
        Raises CannotReadRepository if `good` is not on that line."""
        ...

    def read_file(self, repository: str, sha: str, path: str) -> bytes | None:
        """The file as it stands in the tree of `sha`, None if there is none."""
        ...

    def revert(self, order: RollbackOrder, stop: Callable[[], str | None] = lambda: None) -> Reverted:
        """Revert and push. Looks for its trailer on the branch first; `stop` is asked right before each push
        and says why there may be none any more. Raises CannotRevert only when nothing could be tried; every
        other end is a value."""
        ...


class Deployments(Protocol):
    """What the forge knows of an environment's deployments. All methods block and raise CannotReachForge."""

    def deployed_sha(self, repository: str, environment: str) -> str | None:
        """The sha of the newest deployment that has begun, None where the forge knows none."""
        ...

    def deployed_before(self, repository: str, environment: str, sha: str) -> str | None:
        """The sha of the newest successful deployment that is older than those of `sha`, None if unknown."""
        ...


class PullRequests(Protocol):
    """The forge's side of a commit. All methods block and raise CannotReachForge."""

    def of_commit(self, repository: str, sha: str) -> tuple[PullRequestFacts, ...]:
        """Merged pull requests that brought `sha`, best match first."""
        ...

    def say(self, repository: str, number: int, marker: str, body: str, fresh: bool = False) -> str:
        """Create or edit the one comment of ours that carries `marker`; its URL. `fresh`: where the text is
        another, replace it by a new comment, because GitHub notifies nobody of an edit."""
        ...

    def propose(self, repository: str, head: str, base: str, title: str, body: str) -> PullRequestFacts:
        """Open the pull request `head` → `base`, or return the open one there already is."""
        ...

    def about(self, repository: str) -> RepositoryAbout: ...

    def read_before(self, repository: str, sha: str, path: str) -> bytes | None:
        """The file as it stood in the first parent of `sha`, without a clone; None if there is none."""
        ...


# --- what the guard sees --------------------------------------------------------------------------


class Watching(Protocol):
    """Eyes."""

    async def plan(self, deploy: Deploy) -> Plan:
        """The configuration in force for this deploy, read from the first parent of its commit."""
        ...

    async def baseline(self, deploy: Deploy, plan: Plan) -> Baseline:
        """Health before the deploy."""
        ...

    async def watch_or_order(
        self, deploy: Deploy, plan: Plan, baseline: Baseline
    ) -> tuple[Watched | None, PersonOrder | None]:
        """Poll until health is judged or time is up, or until a person orders something; one of the two."""
        ...

    async def recovered_or_order(
        self, incident: Incident, plan: Plan
    ) -> tuple[Watched | None, PersonOrder | None]:
        """While holding or asking: poll until the service recovered, a person answered, or
        `decide_within_s` is up (then neither)."""
        ...

    async def verify(self, incident: Incident, plan: Plan) -> Watched:
        """Wait for the deploy of the revert, then watch until it is healthy or `verify_within_s` is up."""
        ...


class Acting(Protocol):
    """Hands."""

    async def capture(self, deploy: Deploy, plan: Plan, latest: HealthSample | None) -> Evidence: ...

    async def change(self, deploy: Deploy, plan: Plan) -> Change:
        """Refresh the mirror and tell what the deploy brought. Raises CannotReadRepository."""
        ...

    async def rails(self, deploy: Deploy, plan: Plan) -> Rails:
        """Switches, caps and the deployed sha as they are now. A switch that cannot be read is on."""
        ...

    async def revert(self, order: RollbackOrder) -> Reverted:
        """One at a time per repository and branch, across workers. Raises CannotRevert."""
        ...

    async def propose(self, incident: Incident, plan: Plan) -> Reverted:
        """Open the pull request for `incident.reverted`, which the branch did not accept. Raises
        CannotReachForge."""
        ...


class Telling(Protocol):
    """Voice and memory."""

    async def reverted_by_us(self, deploy: Deploy, plan: Plan) -> str | None:
        """The open incident whose revert this deploy brings; noted, so that its guard can verify."""
        ...

    async def record(self, incident: Incident, what: str, stamp: str = "") -> Incident:
        """Store the incident with one more moment in its timeline (`what`, now); the incident as stored.
        `stamp` names a field (`decided_at_s`, `closed_at_s`) that takes the moment's time as well."""
        ...

    async def tell(self, incident: Incident, plan: Plan) -> None:
        """Write the incident's comment on each of its pull requests; a failure is logged, not raised."""
        ...

    async def close(self, deploy: Deploy, plan: Plan | None, watched: Watched | None, note: str) -> str:
        """Note how the guard of this deploy ended in our own tables; returns `note`."""
        ...


class Hearing(Protocol):
    """Ears."""

    async def order_now(self) -> PersonOrder | None:
        """What a person ordered meanwhile, oldest first; None at once where there is nothing more."""
        ...


class Freezing(Protocol):
    """The branch of a rollback that failed is kept from getting worse."""

    async def freeze(self, incident: Incident, plan: Plan) -> None:
        """Freeze `plan.branch` until a person lifts it; a failure is logged, not raised."""
        ...

    async def mark_head(self, head: PullHead) -> None:
        """Put the failing check on a new commit of a pull request, if its branch is still frozen."""
        ...


class World(Watching, Acting, Telling, Hearing, Protocol):
    """All a guard can reach; the engine's checkpointed steps in production, a fake in tests."""

    async def freeze(self, incident: Incident, plan: Plan) -> None:
        """See `Freezing.freeze`."""
        ...
