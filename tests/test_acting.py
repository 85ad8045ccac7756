"""What a deploy brought: one merge, a rebased pull request, several, and a history that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from bot.acting import MOST_COMMITS, Hands
from bot.failures import CannotReadRepository
from policies.culprits import choose
from policies.facts import CommitFacts, CommitShape, Deploy, Incident, PullRequestFacts, Switch
from policies.limits import RollbackLimits
from tests.fakes import DEPLOY, MERGE, PLAN, PULL_REQUEST, SHA


def commit(number: int, shape: CommitShape = CommitShape.PLAIN) -> CommitFacts:
    return replace(MERGE, sha=f"{number:040x}", parents=(f"{number - 1:040x}",), shape=shape)


@dataclass
class Outside:
    """The mirror, the forge and the memory, as far as `Hands.change` asks them."""

    line: list[CommitFacts] = field(default_factory=list)
    pulls: dict[str, int] = field(default_factory=dict)
    good: str | None = None
    ran_before: str | None = None
    broken: bool = False
    failed: Incident | None = None

    def refresh(self, repository: str, branch: str) -> str:
        return SHA

    def commit(self, repository: str, branch: str, sha: str) -> CommitFacts:
        return next(each for each in self.line if each.sha == sha)

    def between(
        self, repository: str, branch: str, good: str | None, sha: str, at_most: int
    ) -> tuple[CommitFacts, ...]:
        if self.broken:
            raise CannotReadRepository("The branch was reset.")
        shas = [each.sha for each in self.line]
        return tuple(self.line[: shas.index(good) if good else None][: at_most + 1])

    def of_commit(self, repository: str, sha: str) -> tuple[PullRequestFacts, ...]:
        number = self.pulls.get(sha)
        return () if number is None else (replace(PULL_REQUEST, number=number),)

    def deployed_sha(self, repository: str, environment: str) -> str | None:
        return SHA

    def deployed_before(self, repository: str, environment: str, sha: str) -> str | None:
        return self.ran_before

    def last_good(self, service: str, before_s: float) -> str | None:
        return self.good

    def overlapping(self, deploy: Deploy) -> tuple[str, ...]:
        return ()

    def rollbacks_since(self, service: str, since_s: float) -> int:
        return 1

    def last_rollback(self, service: str) -> Incident | None:
        return self.failed

    def cancelled_by(self, incident_id: str) -> str | None:
        return None

    def switches(self, service: str, branch: str | None, now_s: float) -> tuple[Switch, ...]:
        return ()


def hands(outside: Outside) -> Hands:
    return Hands(
        repository=outside,  # type: ignore[arg-type]
        pull_requests=outside,  # type: ignore[arg-type]
        deployments=outside,
        evidence=outside,  # type: ignore[arg-type]
        memory=outside,
    )


def deploy_of(outside: Outside) -> Deploy:
    return replace(DEPLOY, sha=outside.line[0].sha)


async def numbers(outside: Outside) -> list[int | None]:
    change = await hands(outside).change(deploy_of(outside), PLAN)
    return [culprit.pull_request.number if culprit.pull_request else None for culprit in change.culprits]


async def test_a_first_deploy_that_is_a_merge_is_that_merge() -> None:
    line = [commit(9, CommitShape.MERGE), commit(8, CommitShape.MERGE)]
    outside = Outside(line, {line[0].sha: 42, line[1].sha: 41})
    assert await numbers(outside) == [42]


async def test_a_rebased_pull_request_is_all_of_its_commits() -> None:
    line = [commit(9), commit(8), commit(7), commit(6)]
    outside = Outside(line, {line[0].sha: 42, line[1].sha: 42, line[2].sha: 42, line[3].sha: 41})
    assert await numbers(outside) == [42, 42, 42]


async def test_a_squash_is_one_commit() -> None:
    line = [commit(9), commit(8)]
    outside = Outside(line, {line[0].sha: 42, line[1].sha: 41})
    assert await numbers(outside) == [42]


async def test_everything_since_the_last_good_deploy_goes_back() -> None:
    line = [commit(n, CommitShape.MERGE) for n in (9, 8, 7, 6)]
    outside = Outside(line, {each.sha: 40 + n for n, each in enumerate(line)}, good=line[2].sha)
    assert await numbers(outside) == [40, 41]


async def test_a_first_deploy_of_several_merges_is_all_since_what_ran_before() -> None:
    line = [commit(n, CommitShape.MERGE) for n in (9, 8, 7, 6)]
    outside = Outside(line, {each.sha: 40 + n for n, each in enumerate(line)}, ran_before=line[3].sha)
    assert await numbers(outside) == [40, 41, 42]


async def test_many_commits_of_one_pull_request_are_one_merge() -> None:
    line = [commit(n) for n in range(20, 0, -1)]
    outside = Outside(line, dict.fromkeys((each.sha for each in line[:8]), 42), good=line[8].sha)
    change = await hands(outside).change(deploy_of(outside), PLAN)
    choice = choose(change, RollbackLimits(max_merges=1))
    assert choice.verdict.status == "pass" and len(choice.commits) == 8


async def test_a_good_deploy_that_cannot_be_found_leaves_the_range_unknown() -> None:
    line = [commit(9, CommitShape.MERGE)]
    outside = Outside(line, {line[0].sha: 42}, good="f" * 40, broken=True)
    change = await hands(outside).change(deploy_of(outside), PLAN)
    assert change.unknown == "The branch was reset."
    assert choose(change, RollbackLimits()).verdict.status == "ask"


async def test_a_range_that_is_too_long_is_not_taken_for_whole() -> None:
    line = [commit(n, CommitShape.MERGE) for n in range(200, 0, -1)]
    outside = Outside(line, good=line[-1].sha)
    change = await hands(outside).change(deploy_of(outside), PLAN)
    assert len(change.culprits) == MOST_COMMITS + 1
    assert change.unknown is not None and "more than 50 commits" in change.unknown


async def test_a_redeploy_of_what_was_healthy_brought_nothing() -> None:
    line = [commit(9, CommitShape.MERGE)]
    change = await hands(Outside(line, good=line[0].sha)).change(replace(DEPLOY, sha=line[0].sha), PLAN)
    assert change.culprits == () and "was healthy when it was deployed before" in (change.unknown or "")


@pytest.mark.parametrize(("hours_ago", "remembered"), [(1, True), (25, False)])
async def test_a_rollback_that_did_not_help_is_remembered_for_a_day(hours_ago: int, remembered: bool) -> None:
    from tests.test_acquittal import rolled_back

    now_s = DEPLOY.completed_at_s + 200_000
    failed = replace(rolled_back("the failure budget", acquitted="no"), pushed_at_s=now_s - hours_ago * 3600)
    outside = Outside([commit(9)], failed=failed)
    acting = hands(outside)
    acting._now = lambda: now_s
    rails = await acting.rails(DEPLOY, PLAN)
    assert (rails.last_rollback_failed is not None) is remembered
    assert (rails.rollbacks_last_hour, rails.rollbacks_last_day, rails.read_at_s) == (1, 1, now_s)
