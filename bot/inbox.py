"""Takes in what was heard: one transaction stores the delivery and hands its work to the engine."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

import sqlalchemy as sa

from bot.failures import CannotStore
from bot.queues import (
    COMMAND,
    DEPLOY_STARTED,
    FREEZE_CHECK,
    GUARD,
    Work,
    command_id,
    freeze_check_id,
    guard_id,
    started_id,
)
from bot.store import Delivery, DeployStatus, Store
from policies.asked import GITHUB, Asked, PullHead
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


@dataclass(frozen=True, slots=True)
class CommentHeard:
    """Somebody asks the bot for something."""

    asked: Asked


@dataclass(frozen=True, slots=True)
class HeadMoved:
    """A pull request has a new head; it matters while its branch is frozen."""

    head: PullHead


class Patience:
    """How long whoever sent a delivery waits for it to be stored. Asked right before the commit, so that what
    was answered "not taken" is not taken after all."""

    def __init__(self) -> None:
        self._deciding = threading.Lock()
        self._given_up = False
        self._committing = False

    def may_commit(self) -> bool:
        """Whether somebody still waits; from then on it can no longer be given up."""
        with self._deciding:
            self._committing = not self._given_up
            return self._committing

    def give_up(self) -> bool:
        """Whether it is certain that nothing will be stored; False: it is being committed right now."""
        with self._deciding:
            self._given_up = not self._committing
            return self._given_up


DeployHeard = DeployStarted | DeployCompleted | DeployFailed
Heard = DeployHeard | CommentHeard | HeadMoved


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a delivery: `action` is "baseline", "guard", "note", "command" or "freeze"; not fresh:
    it is known. `needless` says why nothing was stored, where nothing had to be."""

    delivery_id: str
    action: str
    workflow_id: str | None
    fresh: bool
    needless: str = ""


class Inbox(Protocol):
    """Where webhooks leave what they heard."""

    def accept(
        self, delivery_id: str, event: Heard, received_at_s: float, patience: Patience | None = None
    ) -> Accepted:
        """Store durably. `received_at_s`: epoch. The same delivery, or the same deploy by another delivery,
        has one effect: may be repeated. Raises CannotStore, also where `patience` was given up; then nothing
        was stored."""
        ...


class Enqueue(Protocol):
    """The engine's door for a process that runs none of its work: `bot.engine_client.EngineClient`."""

    def enqueue(self, connection: sa.Connection, workflow: str, workflow_id: str, work: Work) -> None:
        """Enqueue within `connection`'s transaction; a known `workflow_id` is a no-op. Raises
        CannotStore."""
        ...


@dataclass(frozen=True, slots=True)
class _Work:
    action: str
    status: DeployStatus
    workflow: str | None = None
    workflow_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the row of a delivery says of it."""

    event: str
    repository: str
    action: str


@dataclass(slots=True)
class _Entry:
    """One delivery on its way into the database."""

    delivery_id: str
    event: Heard
    received_at_s: float
    accepted: Accepted | None = None
    failed: CannotStore | None = None
    given_up: bool = False
    patience: Patience | None = None

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

    def accept(
        self, delivery_id: str, event: Heard, received_at_s: float, patience: Patience | None = None
    ) -> Accepted:
        """See Inbox. SQLite has one writer: whoever gets the turn commits for all who wait for it, so that
        a burst costs a few commits instead of one each. What may be given up is committed for itself."""
        entry = _Entry(delivery_id, event, received_at_s, patience=patience)
        if not self._store.on_sqlite or patience is not None:
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
                if any(entry.patience and not entry.patience.may_commit() for entry in batch):
                    raise CannotStore("It took too long to store this, so it was not; send it again.")
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
        match entry.event:
            case CommentHeard(asked):
                heard_as = "issue_comment" if asked.place == GITHUB else asked.place
                stored = _Stored(heard_as, asked.repository, "command")
                return self._accept_work(entry, stored, COMMAND, command_id(asked), asked, connection)
            case HeadMoved(head):
                return self._accept_head(entry, head, connection)
            case deploy_heard:
                return self._accept_deploy(entry, deploy_heard, connection)

    def _accept_deploy(self, entry: _Entry, event: DeployHeard, connection: sa.Connection) -> Accepted:
        work, deploy = _work_of(event), event.deploy
        stored = _Stored(deploy.source, deploy.repository, work.action)
        fresh = self._note_delivery(entry, stored, work.workflow_id, connection)
        if fresh:
            self._remember(work, deploy, entry.received_at_s, connection)
        return Accepted(entry.delivery_id, work.action, work.workflow_id, fresh)

    def _accept_head(self, entry: _Entry, head: PullHead, connection: sa.Connection) -> Accepted:
        frozen_at_s = self._store.frozen_since(head.repository, head.base, entry.received_at_s, connection)
        if frozen_at_s is None:
            return Accepted(entry.delivery_id, "note", None, False, f"{head.base} is not frozen")
        stored = _Stored("pull_request", head.repository, "freeze")
        workflow_id = freeze_check_id(head, frozen_at_s)
        return self._accept_work(entry, stored, FREEZE_CHECK, workflow_id, head, connection)

    def _accept_work(
        self,
        entry: _Entry,
        stored: _Stored,
        workflow: str,
        workflow_id: str,
        work: Work,
        connection: sa.Connection,
    ) -> Accepted:
        fresh = self._note_delivery(entry, stored, workflow_id, connection)
        if fresh:
            self._engine.enqueue(connection, workflow, workflow_id, work)
        return Accepted(entry.delivery_id, stored.action, workflow_id, fresh)

    def _note_delivery(
        self, entry: _Entry, stored: _Stored, workflow_id: str | None, connection: sa.Connection
    ) -> bool:
        delivery = Delivery(
            id=entry.delivery_id,
            event=stored.event,
            action=stored.action,
            repository=stored.repository,
            received_at_s=entry.received_at_s,
            workflow_id=workflow_id,
            outcome="stored",
        )
        return self._store.accept_delivery(delivery, connection)

    def _remember(self, work: _Work, deploy: Deploy, received_at_s: float, connection: sa.Connection) -> None:
        if deploy.environment:
            # Which environment a workflow run deploys, only configuration knows: the guard notes it then.
            if deploy.started_at_s is None and work.status is not DeployStatus.STARTED:
                deploy = replace(deploy, started_at_s=self._store.started_at(deploy, connection))
            self._store.note_deploy(deploy, work.status, received_at_s, connection)
        if work.workflow is not None and work.workflow_id is not None:
            self._engine.enqueue(connection, work.workflow, work.workflow_id, deploy)


def _work_of(event: DeployHeard) -> _Work:
    match event:
        case DeployStarted(deploy):
            return _Work("baseline", DeployStatus.STARTED, DEPLOY_STARTED, started_id(deploy))
        case DeployCompleted(deploy):
            return _Work("guard", DeployStatus.SUCCEEDED, GUARD, guard_id(deploy))
        case DeployFailed():
            return _Work("note", DeployStatus.FAILED)
