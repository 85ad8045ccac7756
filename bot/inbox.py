"""Takes in what was heard: one transaction stores the delivery and hands its work to the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import sqlalchemy as sa

from bot.queues import DEPLOY_STARTED, GUARD, guard_id, started_id
from bot.store import Delivery, DeployStatus, Store
from policies.facts import Deploy


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


class DurableInbox:
    """The inbox on the bot's database, which is the engine's too: a delivery's row and the work it brings
    are committed together."""

    def __init__(self, store: Store, engine: Enqueue) -> None:
        self._store = store
        self._engine = engine

    def accept(self, delivery_id: str, event: Heard, received_at_s: float) -> Accepted:
        """See Inbox."""
        work, deploy = _work_of(event), event.deploy
        delivery = Delivery(
            id=delivery_id,
            event=deploy.source,
            action=work.action,
            repository=deploy.repository,
            received_at_s=received_at_s,
            workflow_id=work.workflow_id,
            outcome="stored",
        )
        with self._store.transaction() as connection:
            fresh = self._store.accept_delivery(delivery, connection)
            if fresh:
                self._remember(work, deploy, received_at_s, connection)
        return Accepted(delivery_id, work.action, work.workflow_id, fresh)

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
