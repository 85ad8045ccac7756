"""Orders of people through the engine: heard once, never lost, stopped up to the push, one rollback for two."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from dbos import DBOS

from bot.desk import settled
from bot.durable import register
from bot.engine_client import EngineClient
from bot.failures import CannotStore
from bot.queues import COMMAND, command_id, guard_id, ordered_id
from bot.rollback import incident_id
from bot.store import Store
from policies.facts import Evidence, Incident, IncidentState, PersonOrder
from policies.limits import Mode
from tests.command_worlds import FakeDesk, asked
from tests.fakes import DEPLOY, EVIDENCE, PLAN, FakeWorld
from tests.patience import until
from tests.test_durable import Bench, SlowWorld

ORDER = PersonOrder(
    "rollback", "dana", DEPLOY.completed_at_s + 60, "wrong prices", id="comment-7", pull_request=42
)
GUARD_ID = guard_id(DEPLOY)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.stop()
    made.store.close()
    DBOS.destroy(destroy_registry=True)


class SlowEvidence(SlowWorld):
    """A world in which evidence takes until it is let go."""

    captured = False

    async def capture(self, deploy, plan, latest) -> Evidence:  # type: ignore[no-untyped-def]
        while not self.captured:
            await asyncio.sleep(0.02)
        return EVIDENCE


def ended(world: FakeWorld) -> Incident:
    return world.told[-1]


def test_cancel_during_evidence_is_not_lost_and_nothing_is_pushed(bench: Bench) -> None:
    world = SlowEvidence()
    world.let_go = True
    bench.start(world)
    bench.hear(DEPLOY, GUARD_ID)
    until(lambda: world.told, "it is told")
    bench.client.send_order(GUARD_ID, PersonOrder("cancel", "lee", 5.0, id="comment-9"))
    world.captured = True
    assert bench.result(GUARD_ID) == "Cancelled by lee before anything was pushed."
    assert world.orders == [] and ended(world).state is IncidentState.CLOSED
    assert ended(world).person == PersonOrder("cancel", "lee", 5.0, id="comment-9")


def test_a_second_word_before_the_push_changes_nothing(bench: Bench) -> None:
    world = SlowEvidence()
    world.let_go = True
    bench.start(world)
    bench.hear(DEPLOY, GUARD_ID)
    until(lambda: world.told, "it is told")
    bench.client.send_order(GUARD_ID, replace(ORDER, verb="approve", actor="lee"))
    world.captured = True
    bench.result(GUARD_ID)
    assert len(world.orders) == 1 and ended(world).state is IncidentState.RECOVERED


def test_an_order_that_is_sent_twice_is_heard_once(bench: Bench) -> None:
    class Holding(SlowWorld):
        waits = 0

        async def until_recovered(self, incident, plan):  # type: ignore[no-untyped-def]
            self.waits += 1
            await asyncio.sleep(0.5)
            return

    from tests.fakes import BAD_BEFORE

    world = Holding(baseline_=BAD_BEFORE, rails_=[])
    bench.start(world)
    bench.hear(DEPLOY, GUARD_ID)
    until(lambda: world.watches == 1, "it watches")
    for _ in range(3):
        bench.client.send_order(GUARD_ID, ORDER)
    bench.result(GUARD_ID)
    assert [order.ordered_by for order in world.orders] == ["dana"]


def test_what_the_first_command_needs_is_made_before_it(bench: Bench, tmp_path: Path) -> None:
    bench.client.prepare()
    bench.client.prepare()
    away = Store(f"sqlite:///{tmp_path}/rollback.db/under-a-file/rollback.db")
    with pytest.raises(CannotStore):
        EngineClient(lambda: away.engine).prepare()


def test_who_is_at_work_on_a_deploy(bench: Bench) -> None:
    assert bench.client.live(DEPLOY) is None
    world = SlowWorld()
    bench.start(world)
    bench.hear(DEPLOY, GUARD_ID)
    until(lambda: world.watches == 1, "it watches")
    assert bench.client.live(DEPLOY) == GUARD_ID
    world.let_go = True
    bench.result(GUARD_ID)
    assert bench.client.live(DEPLOY) is None


@pytest.mark.parametrize("first", ["approve", "cancel"])
def test_of_yes_and_no_in_the_same_instant_one_wins_and_each_is_told_which(bench: Bench, first: str) -> None:
    class Asking(SlowWorld):
        async def until_recovered(self, incident, plan):  # type: ignore[no-untyped-def]
            await asyncio.Event().wait()

    world = Asking(plan_=replace(PLAN, mode=Mode.APPROVE))
    world.let_go = True
    bench.start(world)
    bench.hear(DEPLOY, GUARD_ID)
    until(lambda: world.told and world.told[-1].state is IncidentState.ASKED, "it is asked")
    yes = replace(ORDER, verb="approve", at_s=world.clock_s, id="comment-8")
    no = replace(ORDER, verb="cancel", actor="lee", at_s=world.clock_s, id="comment-9")
    with ThreadPoolExecutor(2) as pool:
        said = (yes, no) if first == "approve" else (no, yes)
        for sent in [pool.submit(bench.client.send_order, GUARD_ID, one) for one in said]:
            sent.result()
    bench.result(GUARD_ID)
    told = {one.verb: settled(world.recorded[-1], one) for one in (yes, no)}
    heard = [verb for verb, followed in told.items() if followed is not None and followed.heard]
    assert None not in told.values() and len(heard) == 1, told
    assert (len(world.orders), ended(world).state) == (
        (1, IncidentState.RECOVERED) if heard == ["approve"] else (0, IncidentState.CLOSED)
    )


def test_two_who_order_at_once_start_one_rollback(bench: Bench) -> None:
    world = SlowEvidence()
    bench.start(world)
    bench.client.start_ordered(DEPLOY, ORDER)
    bench.client.start_ordered(DEPLOY, replace(ORDER, actor="lee", id="comment-8"))
    bench.client.start_ordered(DEPLOY, ORDER)
    until(lambda: world.told, "it is told")
    assert bench.client.live(DEPLOY) == ordered_id(DEPLOY, 0)
    world.captured = True
    bench.result(ordered_id(DEPLOY, 0))
    assert [order.ordered_by for order in world.orders] == ["dana"]
    bench.client.start_ordered(DEPLOY, ORDER)  # the step runs again after everything is over
    time.sleep(0.6)
    assert len(world.orders) == 1


def test_a_later_order_opens_an_incident_of_its_own(bench: Bench) -> None:
    world = SlowEvidence()
    world.captured = True
    bench.start(world)
    bench.client.start_ordered(DEPLOY, ORDER)
    bench.result(ordered_id(DEPLOY, 0))
    bench.client.start_ordered(DEPLOY, replace(ORDER, id="comment-8"))
    bench.result(ordered_id(DEPLOY, 1))
    assert len({incident.id for incident in world.told}) == 2
    assert incident_id(DEPLOY) not in {incident.id for incident in world.told}


def test_one_comment_is_one_workflow_however_often_it_is_heard(bench: Bench) -> None:
    DBOS.destroy(destroy_registry=True)
    desk = FakeDesk(role_="maintain")
    world = SlowWorld()
    bench.start(world)
    bench.stop()
    DBOS.destroy(destroy_registry=True)
    register(world, world, world, desk)  # type: ignore[arg-type]
    from bot.durable import Engine, new_executor_id

    bench.engine = Engine(bench.url, new_executor_id(), guards_at_once=10)
    bench.engine.start()
    request = asked("/rollback hold 2h")
    for _ in range(3):
        with bench.store.transaction() as connection:
            bench.client.enqueue(connection, COMMAND, command_id(request), request)
    assert bench.result(command_id(request)) == "Held."
    with bench.store.transaction() as connection:
        bench.client.enqueue(connection, COMMAND, command_id(request), request)
    time.sleep(0.6)
    assert len(desk.replies) == 1 and len(desk.set_) == 1
