"""What docs/operations.md tells operators to do, done: retention, backup, restore, and hostile rows."""

from __future__ import annotations

import base64
import os
import pickle
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dbos import DBOS

from bot import migrations
from bot.durable import Engine, migrate_engine, new_executor_id, register
from bot.engine_client import EngineClient
from bot.queues import GUARD, ORDERS
from bot.store import Delivery, Store, SwitchName
from bot.worker import KEEP_DELIVERIES_S, KEEP_WORKFLOWS_S, forget_old
from policies.facts import Deploy, HealthSample, PersonOrder
from tests.fakes import DEPLOY, WELL
from tests.patience import until
from tests.postgres import Server
from tests.recorded_histories import RecordedWorld

DOCS = Path(__file__).resolve().parent.parent / "docs" / "operations.md"
DAY_S = 86_400.0


class Bench:
    """A migrated database of either kind, and an engine on it."""

    def __init__(self, url: str) -> None:
        migrations.migrate(url)
        migrate_engine(url)
        self.open(url)

    def open(self, url: str) -> None:
        self.url = url
        self.store = Store(url)
        self.client = EngineClient(lambda: self.store.engine)
        self.schema = "" if self.store.on_sqlite else "dbos."
        self.engine: Engine | None = None

    def start(self, world: RecordedWorld) -> None:
        DBOS.destroy(destroy_registry=True)
        register(world, world, world, world)  # type: ignore[arg-type]
        self.engine = Engine(self.url, new_executor_id(), guards_at_once=10)
        self.engine.start()

    def stop(self) -> None:
        if self.engine is not None:
            self.engine.stop()
            self.client.hand_back((self.engine.executor_id,))
            self.engine = None
        DBOS.destroy(destroy_registry=True)

    def close(self) -> None:
        self.stop()
        self.store.close()

    def hear(self, workflow_id: str, deploy: Deploy = DEPLOY) -> None:
        with self.store.transaction() as connection:
            self.client.enqueue(connection, GUARD, workflow_id, deploy)

    def change(self, statement: str, **values: Any) -> int:
        with self.store.transaction() as connection:
            return connection.execute(sa.text(statement.replace("{}", self.schema)), values).rowcount

    def one(self, query: str, **values: Any) -> Any:
        with self.store.reading() as connection:
            row = connection.execute(sa.text(query.replace("{}", self.schema)), values).first()
        return None if row is None else row[0]

    def status(self, workflow_id: str) -> str | None:
        found: str | None = self.one(
            "SELECT status FROM {}workflow_status WHERE workflow_uuid = :id", id=workflow_id
        )
        return found

    def wait(self, workflow_id: str, *states: str) -> str | None:
        until(lambda: self.status(workflow_id) in states, f"{workflow_id} is {' or '.join(states)}")
        return self.status(workflow_id)


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    made = Bench(database_url)
    yield made
    made.close()


# --- nothing from the database is ever executed ----------------------------------------------------


class Payload:
    """Unpickling this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return (open, (self.path, "w"))


def poison(path: Path, *, as_arguments: bool = False) -> str:
    payload: Any = Payload(path)
    return base64.b64encode(
        pickle.dumps({"args": (payload,), "kwargs": {}} if as_arguments else payload)
    ).decode()


def test_hostile_inputs_outputs_and_messages_are_never_executed(bench: Bench, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    waiting = RecordedWorld()
    waiting.waits = True
    bench.start(waiting)
    for name in ("step", "message", "failure"):
        bench.hear(name, replace(DEPLOY, id=name))
        bench.wait(name, "PENDING")
    baselines = "SELECT count(*) FROM {}operation_outputs WHERE function_name = 'baseline'"
    until(lambda: bench.one(baselines) >= 3, "three baselines are on record")
    bench.stop()

    hostile = poison(proof)
    bench.hear("input")
    for statement, values in (
        ("UPDATE {}workflow_status SET serialization = 'py_pickle' WHERE workflow_uuid = 'input'", {}),
        (
            "UPDATE {}workflow_input SET inputs = :value WHERE workflow_uuid = 'input'",
            {"value": poison(proof, as_arguments=True)},
        ),
        (
            "UPDATE {}operation_outputs SET output = :value, serialization = 'py_pickle' "
            "WHERE workflow_uuid = 'step' AND function_name = 'plan'",
            {"value": hostile},
        ),
        (
            "UPDATE {}operation_outputs SET output = NULL, error = :value, serialization = 'py_pickle' "
            "WHERE workflow_uuid = 'failure' AND function_name = 'plan'",
            {"value": hostile},
        ),
    ):
        assert bench.change(statement, **values) == 1, statement
    order = PersonOrder("rollback", "maria", DEPLOY.completed_at_s + 5)
    bench.client.send_order("message", order)
    changed = bench.change(
        "UPDATE {}notifications SET message = :value, serialization = 'py_pickle' "
        "WHERE destination_uuid = 'message' AND topic = :topic",
        value=hostile,
        topic=ORDERS,
    )
    assert changed == 1

    well = RecordedWorld(watched=WELL)
    bench.start(well)
    bench.hear("after", replace(DEPLOY, id="after"))
    assert bench.wait("after", "SUCCESS", "ERROR") == "SUCCESS", "the queue goes on after hostile rows"
    time.sleep(1.0)
    assert not proof.exists()
    assert well.orders == [], "and nobody's order was made of them"


# --- retention -------------------------------------------------------------------------------------


def test_the_engines_old_rows_go_and_our_own_tables_stay(bench: Bench) -> None:
    bench.start(RecordedWorld())
    for name in ("old", "new"):
        bench.hear(name, replace(DEPLOY, id=name))
        bench.wait(name, "SUCCESS")
    bench.stop()
    bench.hear("waiting", replace(DEPLOY, id="waiting"))
    now_s = time.time()
    long_ago_ms = int((now_s - KEEP_WORKFLOWS_S - DAY_S) * 1000)
    aged = "UPDATE {}workflow_status SET completed_at = :at WHERE workflow_uuid LIKE 'old%'"
    assert bench.change(aged, at=long_ago_ms) == 2, "the guard and its revert"
    bench.store.note_deploy(DEPLOY, "succeeded")
    old_s = now_s - KEEP_DELIVERIES_S - DAY_S
    for name, at_s in (("d-old", old_s), ("d-new", now_s)):
        bench.store.accept_delivery(Delivery(name, "e", "guard", "acme/stagelog", at_s, None, "stored"))
    bench.store.add_samples("acme/stagelog:develop", [(now_s - 40 * DAY_S, HealthSample(t_s=0.0))])

    forget_old(bench.store, bench.client, now_s)
    forget_old(bench.store, bench.client, now_s)

    for table in ("workflow_status", "workflow_input", "workflow_output", "operation_outputs"):
        left = f"SELECT count(*) FROM {{}}{table} WHERE workflow_uuid LIKE 'old%'"
        assert bench.one(left) == 0, table
    assert bench.status("new") == "SUCCESS"
    assert bench.status("waiting") == "ENQUEUED"
    assert (bench.store.delivery("d-old"), bench.store.delivery("d-new") is not None) == (None, True)
    assert bench.store.samples("acme/stagelog:develop", 0.0) == ()
    assert [one.deploy.id for one in bench.store.deploys_heard()] == [DEPLOY.id]


# --- backup and restore ----------------------------------------------------------------------------


def documented(heading: str) -> list[str]:
    """The lines of the first shell block below a heading of docs/operations.md."""
    text = DOCS.read_text()
    block = re.search(rf"^#+ {re.escape(heading)}$.*?^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block is not None, f"docs/operations.md has no commands below {heading!r}"
    return block[1].splitlines()


def do(lines: list[str], folder: Path, **variables: str) -> None:
    """Run the documented lines as a person would paste them."""
    done = subprocess.run(
        ["sh", "-eu", "-c", "\n".join(lines)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def remember_things(bench: Bench) -> None:
    """A finished guard, a switch, and a guard that is in the middle of its watch."""
    first = RecordedWorld()
    bench.start(first)
    bench.hear("finished")
    bench.wait("finished", "SUCCESS")
    bench.stop()
    bench.store.save_incident(first.recorded[-1])
    now_s = time.time()
    bench.store.set_switch(SwitchName.KILL, "acme/other", actor="lee", reason="release", now_s=now_s)
    waiting = RecordedWorld()
    waiting.waits = True
    bench.start(waiting)
    bench.hear("midway", replace(DEPLOY, id="midway"))
    bench.wait("midway", "PENDING")


def check_restored(bench: Bench) -> None:
    assert len(bench.store.incidents()) == 1
    assert [row.target for row in bench.store.all_switches(time.time())] == ["acme/other"]
    assert bench.status("finished") == "SUCCESS"
    for executor in bench.store.silent_executors(-3600.0):
        bench.store.forget_executor(executor)
    bench.client.hand_back(
        (str(bench.one("SELECT executor_id FROM {}workflow_status WHERE workflow_uuid='midway'")),)
    )
    bench.start(RecordedWorld(watched=WELL))
    assert bench.wait("midway", "SUCCESS", "ERROR") == "SUCCESS", "what was under way goes on"


def test_backup_and_restore_on_sqlite_while_the_bot_runs(tmp_path: Path) -> None:
    data = tmp_path / "var"
    data.mkdir()
    bench = Bench(f"sqlite:///{data / 'rollback.db'}")
    variables = {"DATA_DIR": str(data), "BACKUP": str(tmp_path / "backup.db")}
    try:
        remember_things(bench)
        do(documented("Backup on SQLite"), tmp_path, **variables)
        bench.stop()
        bench.store.close()
        for path in data.glob("rollback.db*"):
            path.write_bytes(b"a disk that died")
        do(documented("Restore on SQLite"), tmp_path, **variables)
        assert sqlite3.connect(data / "rollback.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)
        bench.open(bench.url)
        check_restored(bench)
    finally:
        bench.close()


def test_backup_and_restore_on_postgresql_while_the_bot_runs(postgres_server: Server, tmp_path: Path) -> None:
    path = f"{postgres_server.binaries}:{os.environ['PATH']}"
    if shutil.which("pg_dump", path=path) is None:
        pytest.skip("pg_dump is not installed beside this PostgreSQL")
    url = postgres_server.new_database()
    bench = Bench(url)
    fresh = postgres_server.new_database()
    variables = {
        "DATABASE_URL": url,
        "NEW_DATABASE_URL": fresh,
        "BACKUP": str(tmp_path / "backup.dump"),
        "PATH": path,
    }
    try:
        remember_things(bench)
        do(documented("Backup on PostgreSQL"), tmp_path, **variables)
        bench.stop()
        bench.store.close()
        do(documented("Restore on PostgreSQL"), tmp_path, **variables)
        bench.open(fresh)
        check_restored(bench)
    finally:
        bench.close()


def test_the_documented_figures_are_those_of_the_code() -> None:
    text = DOCS.read_text()
    for what, seconds in (("engine", KEEP_WORKFLOWS_S), ("deliveries", KEEP_DELIVERIES_S)):
        assert f"{seconds / DAY_S:.0f} days" in text, what
