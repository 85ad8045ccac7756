"""The engine: runs each guard as a DBOS workflow whose every look outside is a checkpoint.

The only file that knows DBOS. Its rules were measured (docs/decisions/engine.md): steps run at least once
and return results instead of raising; nothing from the database is ever unpickled; the version is pinned; the
order of steps is a schema.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, SetEnqueueOptions
from dbos import _serialization as engine_serialization
from dbos._error import DBOSException

from bot.codec import decode, encode
from bot.failures import FAILURES, BotFailure, CannotStore
from bot.guard import guard
from bot.ports import Acting, Telling
from bot.queues import APP_VERSION, DEPLOY_STARTED, GUARD, GUARDS, ORDERS, REVERT, REVERTS
from bot.store_database import database_url
from bot.watching import Eyes
from policies.facts import (
    Baseline,
    Change,
    Deploy,
    Evidence,
    HealthSample,
    Incident,
    PersonOrder,
    Rails,
    Reverted,
    RollbackOrder,
    Watched,
)
from policies.limits import Plan

log = structlog.get_logger()
T = TypeVar("T")

QUEUE_POLL_S = 0.2
CHILD_POLL_S = 0.1
THREADS = 64
"""Blocking calls (git, boto3, GitHub, the database) at once in one worker."""
REVERTS_AT_ONCE = 8
APP_NAME = "rollback-bot"


def _refuse_pickle(*_anything: object) -> Any:
    raise CannotStore("A row of the engine is marked as pickle; the bot never runs code from its database.")


def refuse_pickle() -> None:
    """A row marked `py_pickle` would be executed whatever serializer is configured; make that refuse."""
    for method in ("serialize", "deserialize"):
        setattr(engine_serialization.DefaultSerializer, method, _refuse_pickle)


refuse_pickle()


def engine_url(url: str) -> str:
    """The address under which the engine finds the bot's own database."""
    parsed = database_url(url)
    if parsed.get_backend_name() == "sqlite":
        return parsed.render_as_string(hide_password=False)
    return parsed.set(drivername="postgresql").render_as_string(hide_password=False)


def migrate_engine(url: str) -> None:
    """Create or upgrade the engine's tables. May be repeated."""
    DBOS.migrate(engine_url(url))


def new_executor_id() -> str:
    """Unique for each start: two processes named alike would steal each other's live work."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


class EngineClient:
    """Hands work to the engine from a process that runs none; made lazily, one a process, fork-safe."""

    def __init__(self, engine: Callable[[], sa.Engine]) -> None:
        self._engine = engine
        self._client: DBOSClient | None = None
        self._made_for: tuple[int, sa.Engine] | None = None
        self._making = threading.Lock()

    def enqueue(self, connection: sa.Connection, workflow: str, workflow_id: str, deploy: Deploy) -> None:
        """Enqueue within `connection`'s transaction; a known `workflow_id` is a no-op. Raises CannotStore."""
        try:
            self._ours().enqueue_in_transaction(
                connection,
                {
                    "workflow_name": workflow,
                    "queue_name": GUARDS,
                    "workflow_id": workflow_id,
                    "app_version": APP_VERSION,
                },
                encode(deploy, Deploy),
            )
        except DBOSException as error:
            raise CannotStore(f"The engine did not take {workflow_id}: {error}") from error

    def hand_back(self, executor_ids: tuple[str, ...]) -> list[str]:
        """Enqueue again what these executors, known to be dead, left unfinished; the workflows' ids.
        May be repeated: a workflow that runs elsewhere by then is not theirs any more."""
        handed: list[str] = []
        for executor_id in executor_ids:
            left = self._ours().list_workflows(
                status="PENDING", executor_id=executor_id, load_input=False, load_output=False
            )
            for queue_name in {workflow.queue_name for workflow in left}:
                ids = [workflow.workflow_id for workflow in left if workflow.queue_name == queue_name]
                self._ours().resume_workflows(ids, queue_name=queue_name)
                handed += ids
        return handed

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


# --- steps ----------------------------------------------------------------------------------------


async def _checkpointed(method: Callable[..., Awaitable[T]], kind: Any, *arguments: Any) -> T:
    """Run `method` as one step. Its failure is a result too: raised again here, live and on replay alike."""

    async def run() -> Any:
        try:
            return {"done": encode(await method(*arguments), kind)}
        except BotFailure as failure:
            return {"failed": type(failure).__name__, "reason": failure.reason}
        except Exception as error:
            log.exception("step.broke", step=method.__name__)
            reason = f"The bot itself failed ({type(error).__name__} in {method.__name__}); see its log."
            return {"failed": BotFailure.__name__, "reason": reason}

    outcome = await DBOS.run_step_async({"name": method.__name__, "preemptible": True}, run)
    return cast(T, _opened(outcome, kind))


def _opened(outcome: Any, kind: Any) -> Any:
    if "failed" in outcome:
        raise FAILURES.get(outcome["failed"], BotFailure)(outcome["reason"])
    return decode(outcome["done"], kind)


class CheckpointedWorld:
    """Fills `ports.World`: every call is a step of the running workflow."""

    def __init__(self, eyes: Eyes, hands: Acting, voice: Telling) -> None:
        self._eyes = eyes
        self._hands = hands
        self._voice = voice

    async def plan(self, deploy: Deploy) -> Plan:
        return await _checkpointed(self._eyes.plan, Plan, deploy)

    async def baseline(self, deploy: Deploy, plan: Plan) -> Baseline:
        return await _checkpointed(self._eyes.baseline, Baseline, deploy, plan)

    async def watch_or_order(
        self, deploy: Deploy, plan: Plan, baseline: Baseline
    ) -> tuple[Watched | None, PersonOrder | None]:
        watching = _checkpointed(self._eyes.watch, Watched, deploy, plan, baseline)
        return await self._or_order(watching, 10 * plan.health.watch_for_s)

    async def recovered_or_order(
        self, incident: Incident, plan: Plan
    ) -> tuple[Watched | None, PersonOrder | None]:
        waiting = _checkpointed(self._eyes.until_recovered, Watched | None, incident, plan)
        return await self._or_order(waiting, 2 * plan.rollback.decide_within_s)

    async def _or_order(
        self, looking: Coroutine[Any, Any, Watched | None], at_most_s: float
    ) -> tuple[Watched | None, PersonOrder | None]:
        """Look until it ends or a person orders, whichever is first."""
        look = asyncio.create_task(looking)
        mail = asyncio.create_task(DBOS.recv_async(ORDERS, timeout_seconds=at_most_s))
        done, pending = await DBOS.asyncio_wait([look, mail], return_when=asyncio.FIRST_COMPLETED)
        if mail in done and mail.result() is not None:
            for task in pending:
                task.cancel()
            return None, decode(mail.result(), PersonOrder)
        watched = await look
        mail.cancel()
        return watched, None

    async def verify(self, incident: Incident, plan: Plan) -> Watched:
        return await _checkpointed(self._eyes.verify, Watched, incident, plan)

    async def capture(self, deploy: Deploy, plan: Plan, latest: HealthSample | None) -> Evidence:
        return await _checkpointed(self._hands.capture, Evidence, deploy, plan, latest)

    async def change(self, deploy: Deploy, plan: Plan) -> Change:
        return await _checkpointed(self._hands.change, Change, deploy, plan)

    async def rails(self, deploy: Deploy, plan: Plan) -> Rails:
        return await _checkpointed(self._hands.rails, Rails, deploy, plan)

    async def revert(self, order: RollbackOrder) -> Reverted:
        """A workflow of its own on a partitioned queue: one at a time per repository and branch."""
        with SetEnqueueOptions(
            queue_partition_key=f"{order.repository}@{order.branch}", app_version=APP_VERSION
        ):
            handle = await DBOS.enqueue_workflow_async(
                REVERTS, _workflows()[REVERT], encode(order, RollbackOrder)
            )
        outcome = await handle.get_result(polling_interval_sec=CHILD_POLL_S)
        return cast(Reverted, _opened(outcome, Reverted))

    async def propose(self, incident: Incident, plan: Plan) -> Reverted:
        return await _checkpointed(self._hands.propose, Reverted, incident, plan)

    async def reverted_by_us(self, deploy: Deploy, plan: Plan) -> str | None:
        return await _checkpointed(self._voice.reverted_by_us, str | None, deploy, plan)

    async def record(self, incident: Incident, what: str, stamp: str = "") -> Incident:
        return await _checkpointed(self._voice.record, Incident, incident, what, stamp)

    async def tell(self, incident: Incident, plan: Plan) -> None:
        await _checkpointed(self._voice.tell, type(None), incident, plan)

    async def close(self, deploy: Deploy, plan: Plan | None, watched: Watched | None, note: str) -> str:
        return await _checkpointed(self._voice.close, str, deploy, plan, watched, note)


# --- workflows ------------------------------------------------------------------------------------

_REGISTERED: dict[str, Any] = {}


def _workflows() -> dict[str, Any]:
    return _REGISTERED


def register(eyes: Eyes, hands: Acting, voice: Telling) -> None:
    """Make the workflows known under their fixed names; before `Engine.start`, once a process."""
    world = CheckpointedWorld(eyes, hands, voice)

    @DBOS.workflow(name=GUARD, max_recovery_attempts=None)
    async def run_guard(deploy: Any) -> str:
        return await guard(decode(deploy, Deploy), world)

    @DBOS.workflow(name=DEPLOY_STARTED, max_recovery_attempts=None)
    async def run_deploy_started(deploy: Any) -> None:
        await _checkpointed(eyes.note_start, type(None), decode(deploy, Deploy))

    @DBOS.workflow(name=REVERT, max_recovery_attempts=None)
    async def run_revert(order: Any) -> Any:
        try:
            done = await _checkpointed(hands.revert, Reverted, decode(order, RollbackOrder))
        except BotFailure as failure:
            return {"failed": type(failure).__name__, "reason": failure.reason}
        return {"done": encode(done, Reverted)}

    _REGISTERED.update({GUARD: run_guard, DEPLOY_STARTED: run_deploy_started, REVERT: run_revert})


class Engine:
    """The running engine of one worker process."""

    def __init__(self, url: str, executor_id: str, *, guards_at_once: int) -> None:
        self.executor_id = executor_id
        self._guards_at_once = guards_at_once
        config: DBOSConfig = {
            "name": APP_NAME,
            "system_database_url": engine_url(url),
            "application_version": APP_VERSION,
            "executor_id": executor_id,
            "serializer": DBOSPortableJSONSerializer(),
            "run_migrations": False,
            "log_level": "WARNING",
            "max_executor_threads": THREADS,
            "notification_listener_polling_interval_sec": QUEUE_POLL_S,
        }
        DBOS(config=config)

    def start(self) -> None:
        """Begin to take work."""
        DBOS.launch()
        DBOS.register_queue(
            GUARDS,
            worker_concurrency=self._guards_at_once,
            polling_interval_sec=QUEUE_POLL_S,
            on_conflict="always_update",
        )
        DBOS.register_queue(
            REVERTS,
            partition_concurrency=1,
            worker_concurrency=REVERTS_AT_ONCE,
            polling_interval_sec=QUEUE_POLL_S,
            on_conflict="always_update",
        )

    def stop(self) -> None:
        """Stop at once; what was running stays PENDING for `EngineClient.hand_back`."""
        DBOS.destroy(workflow_completion_timeout_sec=0)
