"""Takes in what was heard: one transaction stores the delivery and hands its work to the engine."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

import sqlalchemy as sa

from bot.failures import CannotStore
from bot.queues import DEPLOY_STARTED, GUARD, guard_id, started_id
from bot.store import Delivery, DeployStatus, Store
from policies.facts import Deploy

MOST_AT_ONCE = 50
AT_ONCE_S = 1.0
"""A transaction that took longer to fail waited for the database; trying for each again would wait again."""
PATIENCE_S = 7.0
"""Longest wait for one's turn: GitHub gives up after ten seconds."""


@dataclass(frozen=True, slots=True)
class DeployStarted:
    """A deploy is on its way: health before it can still be seen."""

    deploy: Deploy


@dataclass(frozen=True, slots=True)
class DeployCompleted:
    """A deploy is in place: guard it."""

    deploy: Deploy


@dataclass(frozen=True, slots=True)
class DeployFailed:
    """A deploy ended without taking effect: nothing to guard, and it no longer overlaps another."""

    deploy: Deploy


Heard = DeployStarted | DeployCompleted | DeployFailed


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a delivery: `action` is "baseline", "guard" or "note"; not fresh: it is known."""

    delivery_id: str
    action: str
    workflow_id: str | None
    fresh: bool


class Inbox(Protocol):
    """Where webhooks leave what they heard."""

    def accept(self, delivery_id: str, event: Heard, received_at_s: float) -> Accepted:
        """Store durably. `received_at_s`: epoch. The same delivery, or the same deploy by another delivery,
        has one effect: may be repeated. Raises CannotStore; then nothing was stored."""
        ...


class Enqueue(Protocol):
    """The engine's door for a process that runs none of its work: `bot.durable.EngineClient`."""

    def enqueue(self, connection: sa.Connection, workflow: str, workflow_id: str, deploy: Deploy) -> None:
        """Enqueue within `connection`'s transaction; a known `workflow_id` is a no-op. Raises
        CannotStore."""
        ...


@dataclass(frozen=True, slots=True)
class _Work:
    action: str
    status: DeployStatus
    workflow: str | None = None
    workflow_id: str | None = None


@dataclass(slots=True)
class _Entry:
    """One delivery on its way into the database."""

    delivery_id: str
    event: Heard
    received_at_s: float
    accepted: Accepted | None = None
    failed: CannotStore | None = None
    given_up: bool = False

    @property
    def done(self) -> bool:
        return self.accepted is not None or self.failed is not None

    def outcome(self) -> Accepted:
        if self.accepted is None:
            raise self.failed or CannotStore("The database is too busy to store this now; send it again.")
        return self.accepted


class DurableInbox:
    """The inbox on the bot's database, which is the engine's too: a delivery's row and the work it brings
    are committed together."""

    def __init__(self, store: Store, engine: Enqueue) -> None:
        self._store = store
        self._engine = engine
        self._waiting: deque[_Entry] = deque()
        self._turn = threading.Lock()

    def accept(self, delivery_id: str, event: Heard, received_at_s: float) -> Accepted:
        """See Inbox. SQLite has one writer: whoever gets the turn commits for all who wait for it, so that
        a burst costs a few commits instead of one each."""
        entry = _Entry(delivery_id, event, received_at_s)
        if not self._store.on_sqlite:
            self._store_all([entry])
            return entry.outcome()
        self._waiting.append(entry)
        if self._turn.acquire(timeout=PATIENCE_S):
            try:
                if not entry.done:
                    self._store_all(self._next_batch())
            finally:
                self._turn.release()
        else:
            entry.given_up = True
        return entry.outcome()

    def _next_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        while self._waiting and len(batch) < MOST_AT_ONCE:
            entry = self._waiting.popleft()
            if not entry.given_up:
                batch.append(entry)
        return batch

    def _store_all(self, batch: list[_Entry]) -> None:
        """One transaction; where that fails at once, one each: nobody fails for another's sake."""
        began_s = time.monotonic()
        try:
            with self._store.transaction() as connection:
                accepted = [self._accept(entry, connection) for entry in batch]
        except CannotStore as failure:
            busy = time.monotonic() - began_s > AT_ONCE_S
            for entry in batch:
                if busy or len(batch) == 1:
                    entry.failed = failure
                else:
                    self._store_all([entry])
            return
        for entry, said in zip(batch, accepted, strict=True):
            entry.accepted = said

    def _accept(self, entry: _Entry, connection: sa.Connection) -> Accepted:
        work, deploy = _work_of(entry.event), entry.event.deploy
        delivery = Delivery(
            id=entry.delivery_id,
            event=deploy.source,
            action=work.action,
            repository=deploy.repository,
            received_at_s=entry.received_at_s,
            workflow_id=work.workflow_id,
            outcome="stored",
        )
        fresh = self._store.accept_delivery(delivery, connection)
        if fresh:
            self._remember(work, deploy, entry.received_at_s, connection)
        return Accepted(entry.delivery_id, work.action, work.workflow_id, fresh)

    def _remember(self, work: _Work, deploy: Deploy, received_at_s: float, connection: sa.Connection) -> None:
        if deploy.environment:
            # Which environment a workflow run deploys, only configuration knows: the guard notes it then.
            if deploy.started_at_s is None and work.status is not DeployStatus.STARTED:
                deploy = replace(deploy, started_at_s=self._store.started_at(deploy, connection))
            self._store.note_deploy(deploy, work.status, received_at_s, connection)
        if work.workflow is not None and work.workflow_id is not None:
            self._engine.enqueue(connection, work.workflow, work.workflow_id, deploy)


def _work_of(event: Heard) -> _Work:
    match event:
        case DeployStarted(deploy):
            return _Work("baseline", DeployStatus.STARTED, DEPLOY_STARTED, started_id(deploy))
        case DeployCompleted(deploy):
            return _Work("guard", DeployStatus.SUCCEEDED, GUARD, guard_id(deploy))
        case DeployFailed():
            return _Work("note", DeployStatus.FAILED)
