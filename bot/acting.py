"""Hands: reads what a deploy brought and what bounds us, and carries out the order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import takewhile
from typing import Protocol

from bot.comments import revert_pull_request
from bot.failures import CannotReadRepository
from bot.ports import Deployments, EvidenceCapture, PullRequests, Repository
from policies.eligibility import why_not_push
from policies.facts import (
    Change,
    CommitFacts,
    CommitShape,
    Culprit,
    Deploy,
    Evidence,
    HealthSample,
    Incident,
    Rails,
    Reverted,
    RollbackOrder,
    Switch,
)
from policies.limits import Plan

HOUR_S, DAY_S = 3600.0, 86_400.0
MOST_COMMITS = 50
"""More than this in one deploy is for a person to sort out, and would cost a request to GitHub each."""
MOST_MERGES = 50
"""As many as `max_merges` may be set to: what a person is asked about must be the whole of a range."""


class ActingMemory(Protocol):
    """What acting needs to remember; `bot.store.Store` in production."""

    def last_good(self, service: str, before_s: float) -> str | None: ...

    def overlapping(self, deploy: Deploy) -> tuple[str, ...]: ...

    def rollbacks_since(self, service: str, since_s: float) -> int: ...

    def last_rollback(self, service: str) -> Incident | None: ...

    def switches(self, service: str, branch: str | None, now_s: float) -> tuple[Switch, ...]: ...

    def cancelled_by(self, incident_id: str) -> str | None: ...


class Hands:
    """Fills `ports.Acting`; the engine adds that reverts of one branch run one at a time."""

    def __init__(
        self,
        *,
        repository: Repository,
        pull_requests: PullRequests,
        deployments: Deployments,
        evidence: EvidenceCapture,
        memory: ActingMemory,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._repository = repository
        self._pull_requests = pull_requests
        self._deployments = deployments
        self._evidence = evidence
        self._memory = memory
        self._now = now

    async def capture(self, deploy: Deploy, plan: Plan, latest: HealthSample | None) -> Evidence:
        return await self._evidence.capture(deploy, plan, latest)

    async def change(self, deploy: Deploy, plan: Plan) -> Change:
        """What the deploy brought since the last good one, newest first. May be repeated. Raises
        CannotReadRepository, CannotReachForge."""
        return await asyncio.to_thread(self._change, deploy, plan)

    def _change(self, deploy: Deploy, plan: Plan) -> Change:
        head = self._repository.refresh(deploy.repository, plan.branch)
        good = self._memory.last_good(deploy.service, deploy.completed_at_s)
        if good is None and deploy.source == "deployment_status":
            # Not judged by us, but it was what ran before: a first deploy of several merges is all of them.
            good = self._deployments.deployed_before(deploy.repository, deploy.environment, deploy.sha)
        culprits: tuple[Culprit, ...] = ()
        unknown = None
        if good == deploy.sha:
            unknown = f"{deploy.sha[:12]} was healthy when it was deployed before, so it brought nothing new"
        elif good is None:
            culprits = self._newest_pull_request(deploy, plan)
        else:
            try:
                commits = self._repository.between(
                    deploy.repository, plan.branch, good, deploy.sha, MOST_COMMITS
                )
            except CannotReadRepository as failure:
                unknown = failure.reason
                culprits = self._newest_pull_request(deploy, plan)
            else:
                culprits = tuple(self._culprits(deploy, commits))
                if len(commits) > MOST_COMMITS:
                    unknown = f"it brought more than {MOST_COMMITS} commits since {good[:12]}"
        return Change(plan.branch, head, culprits, good, unknown)

    def _newest_pull_request(self, deploy: Deploy, plan: Plan) -> tuple[Culprit, ...]:
        """The deployed commit; where its pull request was merged by rebase, all of its commits."""
        newest = self._repository.commit(deploy.repository, plan.branch, deploy.sha)
        (first,) = self._culprits(deploy, (newest,))
        if first.pull_request is None or newest.shape is not CommitShape.PLAIN:
            return (first,)
        line = self._repository.between(deploy.repository, plan.branch, None, deploy.sha, MOST_COMMITS)
        same = takewhile(
            lambda each: (
                each.pull_request is not None
                and first.pull_request is not None
                and each.pull_request.number == first.pull_request.number
            ),
            self._culprits(deploy, line[1:]),
        )
        return (first, *same)

    def _culprits(self, deploy: Deploy, commits: Iterable[CommitFacts]) -> Iterator[Culprit]:
        for commit in commits:
            found = self._pull_requests.of_commit(deploy.repository, commit.sha)
            yield Culprit(commit, found[0] if found else None)

    async def rails(self, deploy: Deploy, plan: Plan) -> Rails:
        """Read again right before acting. May be repeated. Raises CannotStore, CannotReachForge."""
        return await asyncio.to_thread(self._rails, deploy, plan)

    def _rails(self, deploy: Deploy, plan: Plan) -> Rails:
        now_s = self._now()
        deployed = None
        if deploy.source == "deployment_status":
            deployed = self._deployments.deployed_sha(deploy.repository, deploy.environment)
        return Rails(
            read_at_s=now_s,
            switches=self._memory.switches(deploy.service, plan.branch, now_s),
            rollbacks_last_hour=self._memory.rollbacks_since(deploy.service, now_s - HOUR_S),
            rollbacks_last_day=self._memory.rollbacks_since(deploy.service, now_s - DAY_S),
            deployed_sha_now=deployed,
            overlapping_deploys=self._memory.overlapping(deploy),
            last_rollback_failed=self._failed_lately(deploy, now_s),
        )

    def _failed_lately(self, deploy: Deploy, now_s: float) -> str | None:
        last = self._memory.last_rollback(deploy.service)
        if last is None or not last.acquitted or (last.pushed_at_s or 0.0) < now_s - DAY_S:
            return None
        return f"incident {last.id}: {last.acquitted}"

    async def revert(self, order: RollbackOrder) -> Reverted:
        """Revert and push; safe to run again, because the reverter looks for its trailer first. What people said
        since the decision is looked at once more right before the push."""
        reverted = await asyncio.to_thread(self._repository.revert, order, lambda: self._why_stop(order))
        return reverted if reverted.at_s is not None else replace(reverted, at_s=self._now())

    def _why_stop(self, order: RollbackOrder) -> str | None:
        if (person := self._memory.cancelled_by(order.incident_id)) is not None:
            return f"{person} cancelled it"
        now_s = self._now()
        service = f"{order.repository}:{order.environment}"
        return why_not_push(order, self._memory.switches(service, order.branch, now_s), now_s)

    async def propose(self, incident: Incident, plan: Plan) -> Reverted:
        """Open the pull request for a revert that the branch did not take; the open one is found again."""
        reverted = incident.reverted
        if reverted is None or reverted.proposed_branch is None:
            raise ValueError("There is no pushed branch to propose.")
        title, body = revert_pull_request(incident, plan)
        pull_request = await asyncio.to_thread(
            self._pull_requests.propose,
            incident.deploy.repository,
            reverted.proposed_branch,
            plan.branch,
            title,
            body,
        )
        return replace(reverted, pull_request=pull_request)
