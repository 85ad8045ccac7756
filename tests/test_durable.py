"""The engine: guards survive it, run once, hear people, and nothing from its database is ever executed."""

from __future__ import annotations

import asyncio
import base64
import pickle
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer

from bot import durable, migrations
from bot.codec import encode
from bot.durable import Engine, migrate_engine, new_executor_id, register
from bot.engine_client import EngineClient
from bot.failures import CannotRevert
from bot.queues import APP_VERSION, GUARD, GUARDS, ORDERS
from bot.store import Store
from policies.facts import Deploy, IncidentState, PersonOrder, Reverted, RollbackOrder
from tests.fakes import DEPLOY, PUSHED, WELL, FakeWorld
from tests.patience import PATIENCE_S, until


class Bench:
    """One SQLite database, and engines that are started and stopped on it like worker processes."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/rollback.db"
        migrations.migrate(self.url)
        migrate_engine(self.url)
        self.store = Store(self.url)
        self.client = EngineClient(lambda: self.store.engine)
        self.raw = DBOSClient(
            system_database_engine=self.store.engine, serializer=DBOSPortableJSONSerializer()
        )
        self.engine: Engine | None = None

    def start(self, world: FakeWorld) -> Engine:
        DBOS.destroy(destroy_registry=True)
        register(world, world, world, world)  # type: ignore[arg-type]
        self.engine = Engine(self.url, new_executor_id(), guards_at_once=10)
        self.engine.start()
        return self.engine

    def stop(self) -> None:
        if self.engine is not None:
            self.engine.stop()
            self.client.hand_back((self.engine.executor_id,))
            self.engine = None

    def hear(self, deploy: Deploy, workflow_id: str = "guard-1") -> None:
        with self.store.transaction() as connection:
            self.client.enqueue(connection, GUARD, workflow_id, deploy)

    def result(self, workflow_id: str = "guard-1") -> str:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            status = self.raw.retrieve_workflow(workflow_id).get_status()
            if status.status in ("SUCCESS", "ERROR"):
                return str(status.output or status.error)
            time.sleep(0.05)
        raise AssertionError(f"{workflow_id} did not end within {PATIENCE_S:g} s")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.stop()
    made.store.close()
    DBOS.destroy(destroy_registry=True)


class SlowWorld(FakeWorld):
    """A world whose watch lasts until it is let go, and whose steps are counted."""

    let_go = False
    watches = 0

    async def watch(self, deploy, plan, baseline, interrupted=None):  # type: ignore[no-untyped-def]
        self.watches += 1
        while not self.let_go:
            if interrupted is not None and interrupted.done():
                return None
            await asyncio.sleep(0.02)
        return self.watched

    async def until_recovered(self, incident, plan):  # type: ignore[no-untyped-def]
        return None


def test_a_guard_runs_to_its_end_through_the_engine(bench: Bench) -> None:
    world = SlowWorld()
    world.let_go = True
    bench.start(world)
    bench.hear(DEPLOY)
    assert bench.result() == WELL.verdict.reason
    assert [incident.state for incident in world.told][-1] is IncidentState.RECOVERED


def test_the_same_deploy_heard_twice_is_guarded_once(bench: Bench) -> None:
    world = SlowWorld()
    world.let_go = True
    bench.start(world)
    bench.hear(DEPLOY)
    bench.hear(DEPLOY)
    bench.result()
    bench.hear(DEPLOY)
    time.sleep(0.6)
    assert world.watches == 1


def test_a_stopped_workers_guard_goes_on_in_the_next(bench: Bench) -> None:
    first = SlowWorld()
    bench.start(first)
    bench.hear(DEPLOY)
    until(lambda: first.watches == 1, "the first one watches")
    bench.stop()
    second = SlowWorld()
    second.let_go = True
    bench.start(second)
    assert bench.result() == WELL.verdict.reason
    assert second.did.count("revert") == 1


def test_a_person_is_heard_while_the_guard_watches(bench: Bench) -> None:
    world = SlowWorld()
    bench.start(world)
    bench.hear(DEPLOY)
    until(lambda: world.watches == 1, "it watches")
    order = PersonOrder("rollback", "maria", DEPLOY.completed_at_s + 5, reason="wrong prices")
    bench.raw.send("guard-1", encode(order, PersonOrder), ORDERS)
    assert bench.result() == WELL.verdict.reason
    assert [made.ordered_by for made in world.orders] == ["maria"]


def test_a_person_is_heard_again_while_the_guard_holds(bench: Bench) -> None:
    class Holding(SlowWorld):
        async def until_recovered(self, incident, plan):  # type: ignore[no-untyped-def]
            while not self.orders:
                await asyncio.sleep(0.02)

    from tests.fakes import BAD_BEFORE

    world = Holding(baseline_=BAD_BEFORE)
    world.let_go = True
    bench.start(world)
    bench.hear(DEPLOY)
    until(lambda: any(incident.state is IncidentState.HELD for incident in world.told), "it is held")
    order = PersonOrder("approve", "maria", DEPLOY.completed_at_s + 300)
    bench.raw.send("guard-1", encode(order, PersonOrder), ORDERS)
    bench.result()
    assert [made.ordered_by for made in world.orders] == ["maria"]


def test_a_failure_in_a_step_is_the_same_failure_outside_it(bench: Bench) -> None:
    world = SlowWorld(reverted=CannotRevert("The disk is full."))
    world.let_go = True
    bench.start(world)
    bench.hear(DEPLOY)
    assert bench.result() == "The disk is full."
    assert world.told[-1].state is IncidentState.FAILED


def test_a_mistake_of_ours_ends_in_a_sentence_not_in_a_traceback(bench: Bench) -> None:
    class Broken(SlowWorld):
        async def change(self, deploy, plan):  # type: ignore[no-untyped-def]
            raise ZeroDivisionError("oops")

    world = Broken()
    world.let_go = True
    bench.start(world)
    bench.hear(DEPLOY)
    assert "The bot itself failed (ZeroDivisionError in change)" in bench.result()
    assert world.orders == []


def test_two_rollbacks_of_one_branch_never_run_at_the_same_time(bench: Bench) -> None:
    class Counting(SlowWorld):
        running = 0
        most = 0

        async def revert(self, order: RollbackOrder) -> Reverted:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.3)
            self.running -= 1
            return PUSHED

    world = Counting()
    world.let_go = True
    bench.start(world)
    for number in range(3):
        bench.hear(replace(DEPLOY, id=str(number)), f"guard-{number}")
    for number in range(3):
        bench.result(f"guard-{number}")
    assert world.most == 1


class Payload:
    """Unpickling this would write a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (open, (self.path, "w"))


def test_a_hostile_row_is_never_executed(bench: Bench, tmp_path: Path) -> None:
    """A row marked py_pickle would be unpickled whatever serializer is configured."""
    proof = tmp_path / "executed"
    world = SlowWorld()
    world.let_go = True
    bench.hear(DEPLOY, "guard-hostile")
    inputs = base64.b64encode(pickle.dumps({"args": (Payload(str(proof)),), "kwargs": {}})).decode()
    with bench.store.engine.begin() as connection:
        changed = connection.execute(
            sa.text(
                "UPDATE workflow_status SET inputs = :inputs, serialization = 'py_pickle' "
                "WHERE workflow_uuid = 'guard-hostile'"
            ),
            {"inputs": inputs},
        )
        assert changed.rowcount == 1
    bench.start(world)
    bench.hear(DEPLOY, "guard-after")
    assert bench.result("guard-after") == WELL.verdict.reason, "the queue goes on after the hostile row"
    time.sleep(0.5)
    assert not proof.exists()


def test_pickle_itself_refuses() -> None:
    from dbos._serialization import DefaultSerializer

    with pytest.raises(Exception, match="never runs code from its database"):
        DefaultSerializer().deserialize(base64.b64encode(pickle.dumps(1)).decode())
    assert APP_VERSION == "1" and GUARDS == "guards" and durable.GUARD == "guard"
