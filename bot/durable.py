"""The engine: runs each guard as a DBOS workflow whose every look outside is a checkpoint.

With bot/engine_client.py, bot/engine_mail.py and bot/engine_on_sqlite.py the only file that knows DBOS. Its rules
were measured (docs/decisions/engine.md): steps run at least once and return results instead of raising; nothing from
the database is ever unpickled; the version is pinned; the order of steps is a schema.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast, get_type_hints

import sqlalchemy as sa
import structlog
import uvloop
from dbos import (
    DBOS,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    SetEnqueueOptions,
)

from bot.chatops import answer
from bot.codec import decode, encode, prepare
from bot.command_ports import CommandWorld
from bot.engine_client import refuse_pickle
from bot.engine_mail import Mail, recorded_steps
from bot.engine_on_sqlite import look_for_mail_together, open_for_engine
from bot.failures import FAILURES, BotFailure, CannotStore
from bot.guard import guard, ordered
from bot.guard_starts import beginning, has_begun
from bot.ports import Acting, Freezing, Telling
from bot.queues import (
    APP_VERSION,
    COMMAND,
    COMMANDS,
    DEPLOY_STARTED,
    FREEZE_CHECK,
    GUARD,
    GUARDS,
    ORDERED,
    ORDERS,
    REVERT,
    REVERTS,
)
from bot.store_database import IDLE_S, database_url
from bot.watching import Eyes
from policies.asked import Asked, PullHead
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
from policies.limits import Plan, shared

log = structlog.get_logger()
T = TypeVar("T")

AWAY_PAUSE_S, LONGEST_AWAY_PAUSE_S = 0.5, 10.0
DATABASE_IS_AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
"""What a database says that is down, full, busy or shutting down; anything else would be said again."""
QUEUE_POLL_S = 0.2
GUARDS_POLL_S = 0.5
"""A look into a queue costs 5 ms of CPU, and nobody waits for a watch to begin half a second sooner."""
CHILD_POLL_S = 0.1
WATCH = "watch"
WATCHED_OR_INTERRUPTED = Watched | None
WATCH_IS_OVER = frozenset({WATCH, "DBOS.recv", "DBOS.asyncio_wait"})
"""The steps of a guard that are recorded when its watch has ended, and not before."""
THREADS = 64
"""Blocking calls (git, boto3, GitHub, the database) at once in one worker."""
LOOKUPS_AT_ONCE = "32"
"""Threads of the loop's own, for names of probed sites: libuv's four would make thousands of watches late."""
REVERTS_AT_ONCE = 8
COMMANDS_AT_ONCE = 50
APP_NAME = "rollback-bot"


refuse_pickle()
look_for_mail_together()


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


# --- steps ----------------------------------------------------------------------------------------


async def _checkpointed(method: Callable[..., Awaitable[T]], kind: Any, *arguments: Any) -> T:
    """Run `method` as one step. Its failure is a result too: raised again here, live and on replay alike."""
    return cast(T, await _step(method.__name__, kind, _outcome, method, kind, *arguments))


async def _step(name: str, kind: Any, run: Callable[..., Coroutine[Any, Any, Any]], *given: Any) -> Any:
    """Record as step `name` the outcome that `run` gives; what it says, live and on replay alike."""
    # Not preemptible: nobody cancels workflows, and the engine would ask every second about each that runs.
    return _opened(await DBOS.run_step_async({"name": name}, run, *given), kind)


async def _outcome(method: Callable[..., Awaitable[Any]], kind: Any, *arguments: Any) -> dict[str, Any]:
    """What `method` gave or why it failed, as plain data."""
    try:
        return {"done": encode(await _while_database_is_away(method, *arguments), kind)}
    except BotFailure as failure:
        return {"failed": type(failure).__name__, "reason": failure.reason}
    except Exception as error:
        log.exception("step.broke", step=method.__name__)
        reason = f"The bot itself failed ({type(error).__name__} in {method.__name__}); see its log."
        return {"failed": BotFailure.__name__, "reason": reason}


async def _while_database_is_away(method: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Run `method` until the database answers it: a restart of PostgreSQL or a full disk must not end a guard.
    The engine waits for its checkpoints in the same way, and every step may be run again."""
    pause_s = AWAY_PAUSE_S
    while True:
        try:
            return await method(*arguments)
        except CannotStore as failure:
            if not isinstance(failure.__cause__, DATABASE_IS_AWAY):
                raise
            log.warning("step.waits_for_database", step=method.__name__, reason=failure.reason)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_AWAY_PAUSE_S)


async def _known(outcome: dict[str, Any]) -> dict[str, Any]:
    return outcome


def _opened(outcome: Any, kind: Any) -> Any:
    if "failed" in outcome:
        raise FAILURES.get(outcome["failed"], BotFailure)(outcome["reason"])
    return decode(outcome["done"], kind)


class Desk(CommandWorld, Freezing, Protocol):
    """What the commands of people work with."""


class CheckpointedWorld:
    """Fills `ports.World`: every call is a step of the running workflow."""

    def __init__(self, eyes: Eyes, hands: Acting, voice: Telling, freezing: Freezing) -> None:
        self._eyes = eyes
        self._hands = hands
        self._voice = voice
        self._freezing = freezing
        self._mail = Mail()

    async def plan(self, deploy: Deploy) -> Plan:
        return shared(await _checkpointed(self._eyes.plan, Plan, deploy))

    async def baseline(self, deploy: Deploy, plan: Plan) -> Baseline:
        return await _checkpointed(self._eyes.baseline, Baseline, deploy, plan)

    async def watch_or_order(
        self, deploy: Deploy, plan: Plan, baseline: Baseline
    ) -> tuple[Watched | None, PersonOrder | None]:
        has_begun()
        parked = await self._parked(deploy, plan, baseline)
        if parked is None:
            watching = _checkpointed(self._eyes.watch, Watched, deploy, plan, baseline)
        else:
            watching = _step(WATCH, Watched, _known, parked)
        return await self._or_order(watching, 10 * plan.health.watch_for_s)

    async def _parked(self, deploy: Deploy, plan: Plan, baseline: Baseline) -> dict[str, Any] | None:
        """The watch's outcome; None: an order came first, or what came first is on record already.

        Nearly all of a guard's life is spent here. In a step beside a `recv` it would take three tasks and twice
        the memory, so only the end of the watch goes through them, in the order in which they always stood."""
        workflow_id = str(DBOS.workflow_id)
        if not WATCH_IS_OVER.isdisjoint(await _while_database_is_away(recorded_steps, workflow_id)):
            return None
        arrived = self._mail.wait_for(workflow_id)
        try:
            outcome = await _outcome(
                self._eyes.watch, WATCHED_OR_INTERRUPTED, deploy, plan, baseline, arrived
            )
        finally:
            arrived.cancel()
        return None if outcome == {"done": None} else outcome

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

    async def order_now(self) -> PersonOrder | None:
        mail = await DBOS.recv_async(ORDERS, timeout_seconds=0)
        return None if mail is None else decode(mail, PersonOrder)

    async def freeze(self, incident: Incident, plan: Plan) -> None:
        await _checkpointed(self._freezing.freeze, type(None), incident, plan)

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


def _answer_of(name: str) -> Any:
    """The type of what a method of `CommandWorld` returns."""
    return get_type_hints(getattr(CommandWorld, name))["return"]


class CheckpointedDesk:
    """Fills `chatops.CommandWorld` over another one: every call is a step, recorded by its own return type."""

    def __init__(self, desk: CommandWorld) -> None:
        self._desk = desk

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._desk, name)
        kind = _answer_of(name)

        async def step(*arguments: Any) -> Any:
            return await _checkpointed(method, kind, *arguments)

        return step


# --- workflows ------------------------------------------------------------------------------------

_REGISTERED: dict[str, Any] = {}


def _workflows() -> dict[str, Any]:
    return _REGISTERED


def register(eyes: Eyes, hands: Acting, voice: Telling, desk: Desk) -> None:
    """Make the workflows known under their fixed names; before `Engine.start`, once a process."""
    world = CheckpointedWorld(eyes, hands, voice, desk)
    commands = cast(CommandWorld, CheckpointedDesk(desk))
    steps = (name for name in dir(CommandWorld) if not name.startswith("_"))
    prepare((Asked, Deploy, PullHead, Incident, Plan, *map(_answer_of, steps)))

    @DBOS.workflow(name=GUARD, max_recovery_attempts=None)
    async def run_guard(deploy: Any) -> str:
        async with beginning():
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

    @DBOS.workflow(name=ORDERED, max_recovery_attempts=None)
    async def run_ordered(deploy: Any, order: Any) -> str:
        return await ordered(decode(deploy, Deploy), decode(order, PersonOrder), world)

    @DBOS.workflow(name=COMMAND, max_recovery_attempts=None)
    async def run_command(asked: Any) -> str:
        return await answer(decode(asked, Asked), commands)

    @DBOS.workflow(name=FREEZE_CHECK, max_recovery_attempts=None)
    async def run_freeze_check(head: Any) -> None:
        await _checkpointed(desk.mark_head, type(None), decode(head, PullHead))

    _REGISTERED.update({GUARD: run_guard, DEPLOY_STARTED: run_deploy_started, REVERT: run_revert})


class Engine:
    """The running engine of one worker process."""

    def __init__(self, url: str, executor_id: str, *, guards_at_once: int) -> None:
        self.executor_id = executor_id
        self._guards_at_once = guards_at_once
        self._on_sqlite = open_for_engine(url) if engine_url(url).startswith("sqlite") else None
        config: DBOSConfig = {
            "name": APP_NAME,
            "system_database_url": engine_url(url),
            "system_database_engine": self._on_sqlite,
            "application_version": APP_VERSION,
            "executor_id": executor_id,
            "serializer": DBOSPortableJSONSerializer(),
            "run_migrations": False,
            "log_level": "WARNING",
            "max_executor_threads": THREADS,
            "notification_listener_polling_interval_sec": QUEUE_POLL_S,
            "sys_db_idle_transaction_timeout_sec": IDLE_S,
        }
        DBOS(config=config)

    def start(self) -> None:
        """Begin to take work."""
        # Thousands of watches on one loop: asyncio's own costs them more than twice the CPU.
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        os.environ.setdefault("UV_THREADPOOL_SIZE", LOOKUPS_AT_ONCE)
        DBOS.launch()
        DBOS.register_queue(
            GUARDS,
            worker_concurrency=self._guards_at_once,
            polling_interval_sec=GUARDS_POLL_S,
            on_conflict="always_update",
        )
        DBOS.register_queue(
            REVERTS,
            partition_concurrency=1,
            worker_concurrency=REVERTS_AT_ONCE,
            polling_interval_sec=QUEUE_POLL_S,
            on_conflict="always_update",
        )

        DBOS.register_queue(
            COMMANDS,
            worker_concurrency=COMMANDS_AT_ONCE,
            polling_interval_sec=QUEUE_POLL_S,
            on_conflict="always_update",
        )

    def stop(self) -> None:
        """Stop at once; what was running stays PENDING for `EngineClient.hand_back`."""
        DBOS.destroy(workflow_completion_timeout_sec=0)
        if self._on_sqlite is not None:
            self._on_sqlite.dispose()
