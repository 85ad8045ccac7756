"""After downtime nothing stays missed: failed deliveries come again, unheard deployments are found, once each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bot.engine_client import EngineClient
from bot.failures import CannotReachForge
from bot.github_access import GitHubAccess
from bot.github_missed import Attempt, GitHubMissed
from bot.inbox import DurableInbox
from bot.redelivery import PEOPLE_WITHIN_S, WITHIN_S, Redelivery, due
from bot.store import Store
from tests.crash_stories import Nursery, everything_wrong, unfinished
from tests.crash_world import BRANCH, LightWorld, Story
from tests.faulty_http import answered
from tests.patience import until

NOW_S = 1_800_000_000.0


# --- which deliveries are due ----------------------------------------------------------------------


def attempt(
    number: int, code: int, ago_s: float, guid: str = "a", event: str = "deployment_status"
) -> Attempt:
    return Attempt(number, guid, event, code, NOW_S - ago_s)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([], []),
        ([attempt(1, 202, 100)], []),
        ([attempt(1, 0, 5)], [1]),
        ([attempt(1, 503, 5)], [1]),
        ([attempt(1, 401, 5)], [1]),
        ([attempt(1, 400, 5)], []),
        ([attempt(1, 413, 5)], []),
        ([attempt(1, 503, 300), attempt(2, 202, 100)], []),
        ([attempt(1, 202, 300), attempt(2, 503, 100)], []),
        ([attempt(1, 503, 300), attempt(2, 503, 30)], []),
        ([attempt(1, 503, 300), attempt(2, 503, 61)], [2]),
        ([attempt(1, 503, 600), attempt(2, 503, 400), attempt(3, 0, 100)], []),
        ([attempt(1, 503, 600), attempt(2, 503, 400), attempt(3, 0, 121)], [3]),
        ([attempt(1, 503, 100, "a"), attempt(2, 0, 200, "b")], [2, 1]),
        ([attempt(1, 503, PEOPLE_WITHIN_S + 1, event="issue_comment")], []),
        ([attempt(1, 503, PEOPLE_WITHIN_S - 1, event="issue_comment")], [1]),
    ],
)
def test_what_is_delivered_again(attempts: list[Attempt], expected: list[int]) -> None:
    assert [one.id for one in due(attempts, NOW_S)] == expected


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0, 202, 400, 503]), st.floats(0, 90_000))))
def test_nothing_that_was_taken_is_ever_asked_for_again(given_: list[tuple[str, int, float]]) -> None:
    attempts = [attempt(n, code, ago_s, guid) for n, (guid, code, ago_s) in enumerate(given_)]
    taken = {one.guid for one in attempts if one.code == 202}
    asked = [one.guid for one in due(attempts, NOW_S)]
    assert not taken & set(asked)
    assert len(asked) == len(set(asked))


# --- against the stand-in --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightWorld]:
    made = LightWorld(tmp_path_factory.mktemp("redelivery"), aws=False, build_s=0.05)
    yield made
    made.stop()


class Downtime:
    """A story whose bot is not there when the deploy is told."""

    def __init__(self, world: LightWorld, folder: Path, name: str) -> None:
        self.world = world
        self.story: Story = world.story(name, world.fresh_database(f"sqlite:///{folder}/{name}.db"))
        self.store = Store(self.story.database)
        self.missed = GitHubMissed(
            GitHubAccess(world.github.api_url, world.github.url, world.app.id, str(world.folder / "app.pem"))
        )
        self.inbox = DurableInbox(self.store, EngineClient(lambda: self.store.engine))

    def redelivery(self, now: Any = time.time) -> Redelivery:
        return Redelivery(self.missed, self.store, self.inbox, "me", now=now)

    def merge_unheard(self) -> None:
        """The bad merge is deployed and nobody answers GitHub."""
        merged = self.world.merge(self.story)
        until(lambda: self.deployed(merged), "the deploy")
        until(self.world.github.webhooks.idle, "all deliveries were tried")

    def deployed(self, sha: str) -> bool:
        deployments = list(self.story.repository.deployments.values())
        return any(d.sha == sha and d.statuses and d.statuses[-1].state == "success" for d in deployments)

    def guards(self) -> int:
        query = sa.text("SELECT count(*) FROM workflow_status WHERE name = 'guard'")
        with self.store.reading() as connection:
            return int(connection.execute(query).scalar_one())


@pytest.fixture
def down(world: LightWorld, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Downtime]:
    world.github.webhooks.deliveries.clear()
    made = Downtime(world, tmp_path, f"down-{abs(hash(request.node.name)) % 10**8}")
    yield made
    made.store.close()


def test_what_failed_while_the_bot_was_down_is_delivered_again_once(down: Downtime) -> None:
    down.merge_unheard()
    failed = {one.guid for one in down.world.github.webhooks.deliveries}
    assert failed, "nothing was tried"
    with down.world.hearing(down.story):
        assert set(down.redelivery().redeliver()) == failed
        until(down.world.github.webhooks.idle, "delivered again")
        assert down.guards() == 1
        assert down.redelivery().redeliver() == (), "what was taken is not asked for again"
        assert down.guards() == 1


def test_a_bot_that_is_still_down_is_not_asked_without_end(down: Downtime) -> None:
    down.merge_unheard()
    first = down.redelivery().redeliver()
    until(down.world.github.webhooks.idle, "tried again")
    assert first and down.redelivery().redeliver() == ()
    later = down.redelivery(now=lambda: time.time() + 61).redeliver()
    assert set(later) == set(first)


def test_more_deliveries_than_a_page_are_all_looked_at(down: Downtime) -> None:
    down.merge_unheard()
    deliveries = down.world.github.webhooks.deliveries
    (one,) = [d for d in deliveries if d.event == "deployment_status" and b'"state":"success"' in d.body][:1]
    fine = [replace(one, id=10_000 + n, guid=f"fine-{n}", status_code=200, status="OK") for n in range(250)]
    deliveries[:] = [one, *fine]
    assert down.redelivery().redeliver() == (one.guid,)


def test_old_failures_are_left_alone(down: Downtime) -> None:
    down.merge_unheard()
    assert down.redelivery(now=lambda: time.time() + WITHIN_S + 60).redeliver() == ()


def test_a_deployment_that_nobody_told_of_is_found(down: Downtime) -> None:
    """The repository was guarded before; now its hook delivers nothing at all."""
    world, story = down.world, down.story
    with world.hearing(story):
        world.deploy(story.repository, story.base)
        until(world.github.webhooks.idle, "told")
    assert down.guards() == 1
    hook, world.github.webhooks.url = world.github.webhooks.url, None
    try:
        down.merge_unheard()
    finally:
        world.github.webhooks.url = hook
    (taken,) = down.redelivery().reconcile()
    assert down.guards() == 2
    heard = {one.deploy.id: one for one in down.store.deploys_heard(story.service)}
    deploy = heard[taken].deploy
    deployment = story.repository.deployments[int(taken)]
    assert (deploy.sha, deploy.branch, deploy.environment) == (story.merge, BRANCH, "develop")
    assert deploy.url == deployment.statuses[-1].environment_url
    assert deploy.completed_at_s == int(deployment.statuses[-1].created_s)
    assert down.redelivery().reconcile() == ()
    assert down.guards() == 2


def test_told_twice_by_hook_and_by_reconciling_has_one_effect(down: Downtime) -> None:
    world, story = down.world, down.story
    with world.hearing(story):
        world.deploy(story.repository, story.base)
        until(world.github.webhooks.idle, "told")
    down.merge_unheard()
    assert len(down.redelivery().reconcile()) == 1
    with world.hearing(story):
        down.redelivery().redeliver()
        until(world.github.webhooks.idle, "delivered again")
    assert down.guards() == 2


def test_repositories_that_were_never_guarded_are_not_read(down: Downtime) -> None:
    down.merge_unheard()
    assert down.redelivery().reconcile() == ()


def test_a_plain_token_has_no_hook_to_ask_and_still_reconciles(down: Downtime) -> None:
    world, story = down.world, down.story
    with world.hearing(story):
        world.deploy(story.repository, story.base)
        until(world.github.webhooks.idle, "told")
    down.merge_unheard()
    token = world.github.personal_token("dana")
    missed = GitHubMissed(GitHubAccess(world.github.api_url, world.github.url, token=token))
    redelivery = Redelivery(missed, down.store, down.inbox, "me")
    assert redelivery.redeliver() == ()
    assert len(redelivery.reconcile()) == 1


def test_a_hook_that_cannot_be_read_does_not_stop_the_reconciling(down: Downtime) -> None:
    world, story = down.world, down.story
    with world.hearing(story):
        world.deploy(story.repository, story.base)
        until(world.github.webhooks.idle, "told")
    down.merge_unheard()
    down.store.beat("me")
    world.github.faults.at("GET", r"/app/hook/deliveries", *[answered(500)] * 8)
    try:
        with pytest.raises(CannotReachForge):
            down.redelivery().round()
    finally:
        world.github.faults.clear()
    assert down.guards() == 2


def test_of_several_workers_one_asks(down: Downtime) -> None:
    down.merge_unheard()
    down.store.beat("a-first")
    down.store.beat("me")
    before = len(down.world.github.webhooks.deliveries)
    down.redelivery().round()
    assert len(down.world.github.webhooks.deliveries) == before


def test_a_bot_that_was_down_for_the_deploy_still_puts_it_back(down: Downtime, tmp_path: Path) -> None:
    """The whole story: web and worker are gone while the bad merge is deployed, then start."""
    down.merge_unheard()
    nursery = Nursery()
    try:
        with down.world.hearing(down.story) as store:
            worker = nursery.worker(down.story.environment, tmp_path, "late")
            until(lambda: len(store.deploys_heard(down.story.service)) >= 2, "the revert's deploy")
            until(lambda: store.incidents() and not unfinished(store), "the end")
            assert worker.stop() == 0
            assert everything_wrong(down.world, down.story, store) == []
    finally:
        nursery.close()
