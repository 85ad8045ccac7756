"""Records what the engine wrote about a guard, and puts such a record into another database, whole or cut off.

`python -m tests.recorded_histories` records the histories that are missing from tests/histories/. Those that
are there were written by a release that people run: they are never recorded anew. A change of the steps'
order belongs behind `DBOS.patch`, and brings a history of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer

from bot import migrations
from bot.codec import encode
from bot.durable import Engine, migrate_engine, new_executor_id, register
from bot.engine_client import EngineClient
from bot.queues import GUARD, ORDERS
from bot.store import Store
from policies.facts import PersonOrder, Reverted, RevertOutcome
from policies.limits import Mode
from tests.fakes import BAD_BEFORE, DEPLOY, PLAN, SHA, WELL, FakeWorld
from tests.patience import PATIENCE_S

FOLDER = Path(__file__).parent / "histories"
TABLES = ("workflow_status", "workflow_input", "workflow_output", "operation_outputs")
NAMED = "RECORDED"
"""The workflow's id in a record; loading gives it another."""
ENDED = ("SUCCESS", "ERROR")


class RecordedWorld(FakeWorld):
    """A FakeWorld whose watch can wait until a person orders."""

    waits = False

    async def watch(self, *given: Any) -> Any:
        while self.waits:
            if given[3:] and given[3].done():
                return None
            await asyncio.sleep(0.02)
        return self.watched

    async def until_recovered(self, *_: Any) -> Any:
        while self.waits:
            await asyncio.sleep(0.02)
        return self.answers.pop(0) if self.answers else None


def _waiting(**given: Any) -> Callable[[], RecordedWorld]:
    def make() -> RecordedWorld:
        world = RecordedWorld(**given)
        world.waits = True
        return world

    return make


@dataclass(frozen=True)
class Tale:
    """A way a guard can go: its world, and what people say while it waits."""

    world: Callable[[], RecordedWorld]
    says: tuple[PersonOrder, ...] = ()


ORDER = PersonOrder("rollback", "maria", DEPLOY.completed_at_s + 5, reason="wrong prices")
PROPOSED = Reverted(
    RevertOutcome.PUSH_REJECTED, "The branch is protected.", (SHA,), revert_sha="d" * 40,
    proposed_branch="rollback-bot/1", at_s=DEPLOY.completed_at_s + 135,
)  # fmt: skip
TALES: dict[str, Tale] = {
    "rolled_back": Tale(RecordedWorld),
    "healthy": Tale(lambda: RecordedWorld(watched=WELL)),
    "ignored": Tale(lambda: RecordedWorld(plan_=replace(PLAN, ignored="A preview."))),
    "our_own_revert": Tale(lambda: RecordedWorld(of_incident="abc")),
    "proposed": Tale(lambda: RecordedWorld(reverted=PROPOSED)),
    "refused": Tale(lambda: RecordedWorld(reverted=Reverted(RevertOutcome.REFUSED, "Conflicts.", (SHA,)))),
    "observed": Tale(lambda: RecordedWorld(plan_=replace(PLAN, mode=Mode.OBSERVE))),
    "recovered_by_itself": Tale(lambda: RecordedWorld(baseline_=BAD_BEFORE, answers=[WELL])),
    "held_then_unanswered": Tale(lambda: RecordedWorld(baseline_=BAD_BEFORE)),
    "still_failing_after": Tale(
        lambda: RecordedWorld(recovery=replace(WELL, health=RecordedWorld().watched.health))
    ),
    "ordered_by_a_person": Tale(_waiting(), (ORDER,)),
}


class Routed:
    """Gives each workflow a world of its own, by the workflow's id."""

    def __init__(self, make: Callable[[str], FakeWorld]) -> None:
        self._make = make
        self.worlds: dict[str, FakeWorld] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        async def called(*args: Any, **named: Any) -> Any:
            guard = re.sub(r"-\d+$", "", str(DBOS.workflow_id))  # a revert is a child: "<guard>-18"
            if guard not in self.worlds:
                self.worlds[guard] = self._make(guard)
            return await getattr(self.worlds[guard], name)(*args, **named)

        called.__name__ = name
        return called


@dataclass
class Stage:
    """One SQLite database with an engine on it."""

    folder: Path
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.url = f"sqlite:///{self.folder}/rollback.db"
        migrations.migrate(self.url)
        migrate_engine(self.url)
        self.store = Store(self.url)
        self.client = EngineClient(lambda: self.store.engine)
        self.raw = DBOSClient(
            system_database_engine=self.store.engine, serializer=DBOSPortableJSONSerializer()
        )
        self._engine: Engine | None = None

    def start(self, routed: Routed, registered: Callable[[Routed], None] | None = None) -> None:
        DBOS.destroy(destroy_registry=True)
        if registered is None:
            register(routed, routed, routed, routed)  # type: ignore[arg-type]
        else:
            registered(routed)
        self._engine = Engine(self.url, new_executor_id(), guards_at_once=100)
        self._engine.start()

    def stop(self) -> None:
        if self._engine is not None:
            self._engine.stop()
        DBOS.destroy(destroy_registry=True)
        self.store.close()

    def ended(self, workflow_id: str) -> tuple[str, str]:
        """Its status and its output (or error) at its end."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = self.raw.retrieve_workflow(workflow_id).get_status()
            if found.status in ENDED:
                return found.status, str(found.output if found.status == "SUCCESS" else found.error)
            time.sleep(0.03)
        raise AssertionError(f"{workflow_id} did not end within {PATIENCE_S:g} s")

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """All the engine has on record, by table."""
        tables = sa.MetaData()
        tables.reflect(self.store.engine, only=list(TABLES))
        with self.store.reading() as connection:
            return {
                name: [dict(row._mapping) for row in connection.execute(sa.select(tables.tables[name]))]
                for name in TABLES
            }

    def put(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        tables = sa.MetaData()
        tables.reflect(self.store.engine, only=list(TABLES))
        with self.store.transaction() as connection:
            for name in TABLES:
                columns = set(tables.tables[name].columns.keys())
                for row in rows[name]:
                    kept = {key: value for key, value in row.items() if key in columns}
                    connection.execute(sa.insert(tables.tables[name]).values(kept))


def steps_of(record: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The guard's own steps in the order in which they were written."""
    return [row for row in record["operation_outputs"] if row["workflow_uuid"] == NAMED]


def cut(
    record: dict[str, list[dict[str, Any]]], steps: int | None, workflow_id: str
) -> dict[str, list[dict[str, Any]]]:
    """The record of a worker that died after so many of the guard's steps (None: after all of them), as the
    workflow `workflow_id`."""
    renamed = json.loads(json.dumps(record).replace(NAMED, workflow_id))
    kept = {row["function_id"] for row in steps_of(record)[:steps]}
    renamed["operation_outputs"] = [
        row
        for row in renamed["operation_outputs"]
        if row["workflow_uuid"] != workflow_id or row["function_id"] in kept
    ]
    renamed["workflow_output"] = [
        row for row in renamed["workflow_output"] if row["workflow_uuid"] != workflow_id
    ]
    for row in renamed["workflow_status"]:
        if row["workflow_uuid"] == workflow_id:
            row.update(status="PENDING", executor_id="dead", output=None, error=None, completed_at=None)
    return renamed


def record_all(tales: dict[str, Tale], folder: Path) -> dict[str, dict[str, Any]]:
    """Play them on a database in `folder`; by name, what the engine wrote and how it ended."""
    stage = Stage(folder)
    try:
        stage.start(Routed(lambda name: tales[name].world()))
        for name, tale in tales.items():
            with stage.store.transaction() as connection:
                stage.client.enqueue(connection, GUARD, name, DEPLOY)
            for order in tale.says:
                stage.raw.send(name, encode(order, PersonOrder), ORDERS)
        ended = {name: stage.ended(name) for name in tales}
        assert {status for status, _ in ended.values()} == {"SUCCESS"}, ended
        rows = stage.rows()
    finally:
        stage.stop()
    return {name: {"ended": ended[name][1], "rows": _rows_of(rows, name)} for name in tales}


def _rows_of(rows: dict[str, list[dict[str, Any]]], name: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of one guard and of its revert, under the name that `cut` replaces."""
    ours = re.compile(rf"{re.escape(name)}(-\d+)?")
    found: dict[str, list[dict[str, Any]]] = {}
    for table, all_rows in rows.items():
        found[table] = [
            {
                key: NAMED + value.removeprefix(name)
                if isinstance(value, str) and ours.fullmatch(value)
                else value
                for key, value in row.items()
            }
            for row in all_rows
            if ours.fullmatch(row["workflow_uuid"])
        ]
    for row in found["workflow_status"]:
        row["executor_id"] = "recorded"
    return found


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    missing = {name: tale for name, tale in TALES.items() if not (FOLDER / f"{name}.json").exists()}
    with tempfile.TemporaryDirectory() as folder:
        for name, made in record_all(missing, Path(folder)).items():
            (FOLDER / f"{name}.json").write_text(json.dumps(made, sort_keys=True) + "\n")
            print(f"{name}: {len(steps_of(made['rows']))} steps, {made['ended']}")


if __name__ == "__main__":
    sys.exit(main())
