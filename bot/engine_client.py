"""The engine's door for whoever does not run in it: hands work over, sends orders, takes back what the dead left.

With bot/durable.py, bot/engine_mail.py and bot/engine_on_sqlite.py the only file that knows DBOS.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions, WorkflowStatus
from dbos import _serialization as engine_serialization
from dbos._error import DBOSException

from bot.codec import decode, encode, prepare
from bot.failures import CannotStore
from bot.queues import (
    APP_VERSION,
    ORDERED,
    ORDERS,
    QUEUE_OF,
    Work,
    guard_id,
    ordered_id,
    ordered_prefix,
)
from bot.store_database import cannot_store
from policies.asked import Asked, PullHead
from policies.facts import Deploy, PersonOrder

ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
FORGET_AT_ONCE = 500
"""A transaction of some tens of milliseconds: on SQLite everybody else waits for it."""
UNFINISHED = frozenset({"PENDING", "ENQUEUED", "DELAYED"})


def _refuse_pickle(*_anything: object) -> Any:
    raise CannotStore("A row of the engine is marked as pickle; the bot never runs code from its database.")


def refuse_pickle() -> None:
    """A row marked `py_pickle` would be executed whatever serializer is configured; make that refuse."""
    for method in ("serialize", "deserialize"):
        setattr(engine_serialization.DefaultSerializer, method, _refuse_pickle)


refuse_pickle()


class EngineClient:
    """Hands work to the engine from a process that runs none; made lazily, one a process, fork-safe."""

    def __init__(self, engine: Callable[[], sa.Engine]) -> None:
        self._engine = engine
        self._client: DBOSClient | None = None
        self._made_for: tuple[int, sa.Engine] | None = None
        self._making = threading.Lock()

    def prepare(self) -> None:
        """Make now what the first piece of work would wait for. May be repeated. Raises CannotStore."""
        prepare((Asked, Deploy, PullHead))
        with _storing("the first connection"):
            self._ours()
            with self._engine().connect() as connection:
                connection.execute(sa.select(1))

    def enqueue(self, connection: sa.Connection, workflow: str, workflow_id: str, work: Work) -> None:
        """Enqueue within `connection`'s transaction; a known `workflow_id` is a no-op. Raises CannotStore."""
        with _storing(workflow_id):
            self._ours().enqueue_in_transaction(
                connection, _options(workflow, workflow_id), encode(work, type(work))
            )

    def start_ordered(self, deploy: Deploy, order: PersonOrder) -> None:
        """Start the rollback that a person ordered, unless one of this deploy is running or this very order
        was started before. May be repeated; two who order in the same moment start one. Raises CannotStore."""
        known = self._ours().list_workflows(
            name=ORDERED, workflow_id_prefix=ordered_prefix(deploy), load_output=False
        )
        if any(one.status in UNFINISHED or _started_by(one, order) for one in known):
            return
        workflow_id = ordered_id(deploy, len(known))
        with _storing(workflow_id):
            options = _options(ORDERED, workflow_id)
            self._ours().enqueue(options, encode(deploy, Deploy), encode(order, PersonOrder))

    def live(self, deploy: Deploy) -> str | None:
        """The workflow that is at work on `deploy` now: its guard, or a rollback that a person ordered."""
        ordered = self._ours().list_workflows(
            name=ORDERED, workflow_id_prefix=ordered_prefix(deploy), load_input=False, load_output=False
        )
        guards = self._ours().list_workflows(
            workflow_ids=[guard_id(deploy)], load_input=False, load_output=False
        )
        at_work = [one.workflow_id for one in (*guards, *ordered) if one.status in UNFINISHED]
        return at_work[-1] if at_work else None

    def send_order(self, workflow_id: str, order: PersonOrder) -> None:
        """Let a workflow hear `order`, once however often this is repeated. One that has ended takes it in
        silence, so look whether it acted. Raises CannotStore."""
        with _storing(workflow_id):
            self._ours().send(
                workflow_id, encode(order, PersonOrder), ORDERS, idempotency_key=f"{workflow_id}/{order.id}"
            )

    def hand_back(self, executor_ids: tuple[str, ...]) -> list[str]:
        """Enqueue again what these executors, known to be dead, left unfinished; the workflows' ids.
        May be repeated: a workflow that runs elsewhere by then is not theirs any more. Raises CannotStore."""
        handed: list[str] = []
        with _storing("back what a worker left"):
            for executor_id in executor_ids:
                left = self._ours().list_workflows(
                    status="PENDING", executor_id=executor_id, load_input=False, load_output=False
                )
                for queue_name in {workflow.queue_name for workflow in left}:
                    ids = [workflow.workflow_id for workflow in left if workflow.queue_name == queue_name]
                    self._ours().resume_workflows(ids, queue_name=queue_name)
                    handed += ids
        return handed

    def forget_ended(self, before_s: float) -> int:
        """Delete what the engine keeps of workflows that ended before `before_s` (epoch); how many. What people
        look at stands in our own tables and stays. May be repeated. Raises CannotStore."""
        before = datetime.fromtimestamp(before_s, UTC).isoformat()
        forgotten = 0
        while True:
            with _storing("the order to forget"):
                ended = self._ours().list_workflows(
                    status=list(ENDED),
                    completed_before=before,
                    limit=FORGET_AT_ONCE,
                    load_input=False,
                    load_output=False,
                )
                self._ours().delete_workflows([one.workflow_id for one in ended])
            forgotten += len(ended)
            if len(ended) < FORGET_AT_ONCE:
                return forgotten

    def _ours(self) -> DBOSClient:
        engine = self._engine()
        with self._making:
            if self._client is None or self._made_for != (os.getpid(), engine):
                self._client = DBOSClient(
                    system_database_engine=engine,
                    serializer=DBOSPortableJSONSerializer(),
                    lazy=True,
                    retry_connection_errors=False,
                )
                self._made_for = (os.getpid(), engine)
            return self._client


@contextmanager
def _storing(what: str) -> Iterator[None]:
    try:
        yield
    except DBOSException as error:
        raise CannotStore(f"The engine did not take {what}: {error}") from error
    except sa.exc.SQLAlchemyError as error:
        raise cannot_store(error) from error


def _options(workflow: str, workflow_id: str) -> EnqueueOptions:
    return {
        "workflow_name": workflow,
        "queue_name": QUEUE_OF[workflow],
        "workflow_id": workflow_id,
        "app_version": APP_VERSION,
    }


def _started_by(workflow: WorkflowStatus, order: PersonOrder) -> bool:
    given: Any = workflow.input
    arguments: list[Any] = list(given.get("args", ())) if isinstance(given, dict) else []
    return len(arguments) > 1 and decode(arguments[1], PersonOrder).id == order.id
