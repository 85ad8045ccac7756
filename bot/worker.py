"""The worker process: takes work, says that it is alive, and takes over from workers that are not."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from bot.background import Background
from bot.database_place import make_data_dir, make_database_dir
from bot.durable import Engine, new_executor_id, register
from bot.engine_client import EngineClient
from bot.failures import BadSettings, BotFailure
from bot.freezes import SwitchExpiry
from bot.inbox import DurableInbox
from bot.process_memory import settle
from bot.redelivery import Redelivery
from bot.settings import Settings
from bot.signed_in import SignedIn
from bot.store import Store
from bot.wiring import Worker, worker_parts

log = structlog.get_logger()

BEAT_EVERY_S = 2.0
MISSED_S = 3 * BEAT_EVERY_S
PRUNE_EVERY_S = 3600.0
KEEP_SAMPLES_S = 7 * 86_400.0
KEEP_WORKFLOWS_S, KEEP_DELIVERIES_S = 14 * 86_400.0, 30 * 86_400.0
"""Longer than GitHub can deliver an event again (three days): until then the same event must be known."""
EVERYONE_S = -3600.0
"""Silent for "longer than minus an hour": everyone, whatever small differences clocks have."""


def run_worker(settings: Settings, build: Callable[[Settings], Worker] = worker_parts) -> None:
    """Run until SIGTERM or SIGINT; then stop at once and hand unfinished work back. Raises BadSettings.

    `build` makes the parts; the crash tests put something between them and the world."""
    make_data_dir(settings)
    make_database_dir(settings)
    with _only_worker_on_sqlite(settings):
        parts = build(settings)
        parts.store.check_schema()
        executor_id = new_executor_id()
        client = EngineClient(lambda: parts.store.engine)
        register(parts.eyes, parts.hands, parts.voice, parts.desk(client))
        engine = Engine(settings.database, executor_id, guards_at_once=settings.worker_guards)
        stopping = _stop_on_signal()
        parts.store.beat(executor_id, host=socket.gethostname())
        if settings.on_sqlite:
            # We hold the only worker's lock, so whoever else is on record is dead.
            _take_over(parts.store, client, executor_id, dead_after_s=EVERYONE_S)
        settle()
        engine.start()
        background = Background(parts.eyes, parts.store, parts.store)
        background.start()
        expiry = SwitchExpiry(parts.freezes)
        expiry.start()
        redelivery = Redelivery(parts.missed, parts.store, DurableInbox(parts.store, client), executor_id)
        redelivery.start()
        signed_in = SignedIn(parts.access, parts.store)
        signed_in.start()
        log.info(
            "worker.started", executor=executor_id, database="sqlite" if settings.on_sqlite else "postgresql"
        )
        try:
            _live(parts.store, client, executor_id, settings.worker_dead_after_s, stopping)
        finally:
            background.stop()
            expiry.stop()
            redelivery.stop()
            signed_in.stop()
            engine.stop()
            _leave(parts.store, client, executor_id)
            log.info("worker.stopped", executor=executor_id)


def _leave(store: Store, client: EngineClient, executor_id: str) -> None:
    """Hand back what was not finished; without a database the others find it by our silence."""
    try:
        client.hand_back((executor_id,))
        store.forget_executor(executor_id)
    except BotFailure as failure:
        log.warning("worker.could_not_hand_back", reason=failure.reason)


def _live(
    store: Store, client: EngineClient, executor_id: str, dead_after_s: float, stopping: threading.Event
) -> None:
    next_prune_s = beat_s = time.monotonic()
    patient_until_s = 0.0
    while not stopping.wait(BEAT_EVERY_S):
        try:
            store.beat(executor_id, host=socket.gethostname())
            if time.monotonic() - beat_s > MISSED_S:
                # The database, or we, were away: the others may be alive and just about to say so.
                patient_until_s = time.monotonic() + dead_after_s
            beat_s = time.monotonic()
            if beat_s >= patient_until_s:
                _take_over(store, client, executor_id, dead_after_s)
            if time.monotonic() >= next_prune_s:
                forget_old(store, client, time.time())
                next_prune_s = time.monotonic() + PRUNE_EVERY_S
        except BotFailure as failure:
            log.warning("worker.heartbeat_failed", reason=failure.reason)


def forget_old(store: Store, client: EngineClient, now_s: float) -> None:
    """Let go what nobody will ask for: polls, deliveries, and the engine's rows of what has ended. Incidents,
    deploys and the audit trail stay. May be repeated. Raises CannotStore."""
    store.prune_samples(now_s - KEEP_SAMPLES_S)
    store.prune_deliveries(now_s - KEEP_DELIVERIES_S)
    forgotten = client.forget_ended(now_s - KEEP_WORKFLOWS_S)
    if forgotten:
        log.info("engine.forgot", workflows=forgotten)


def _take_over(store: Store, client: EngineClient, executor_id: str, dead_after_s: float) -> None:
    for other in store.silent_executors(dead_after_s):
        if other == executor_id:
            continue
        with store.claim_silent(other, dead_after_s) as is_ours:
            if is_ours:
                handed = client.hand_back((other,))
                log.warning("worker.took_over", dead=other, workflows=len(handed))


def _stop_on_signal() -> threading.Event:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


@contextmanager
def _only_worker_on_sqlite(settings: Settings) -> Iterator[None]:
    """SQLite means one worker; the lock is freed by the kernel even after SIGKILL, so it also proves that
    every other executor on record is dead."""
    if not settings.on_sqlite:
        yield
        return
    path = Path(settings.data_dir) / "worker.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadSettings(
                f"Another worker is already running on {settings.data_dir}. SQLite serves one worker; "
                "stop it, or set DATABASE_URL to PostgreSQL for several."
            ) from None
        yield
    finally:
        os.close(descriptor)
