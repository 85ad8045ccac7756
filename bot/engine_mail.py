"""Tells parked guards that a person's order waits for them, by one look into the engine's mail for all of them.

With bot/durable.py, bot/engine_client.py and bot/engine_on_sqlite.py the only files that know DBOS. Waiting for mail in
the engine's own way costs 12 KB a guard, and a task (measured, docs/bench-load.md).
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import sqlalchemy as sa
import structlog
from dbos._dbos import _get_dbos_instance

from bot.one_watch import Interrupted
from bot.queues import ORDERS
from bot.store_database import cannot_store

log = structlog.get_logger()

LOOK_EVERY_S = 0.2
"""As often as the engine looks into its queues: a person waits for it."""


def _database() -> Any:
    """The engine's own database of this process."""
    return _get_dbos_instance()._sys_db


class Mail:
    """The guards of this process that wait for an order; used on the engine's loop only."""

    def __init__(self) -> None:
        self._waiting: dict[str, Interrupted] = {}
        self._looking: asyncio.Task[None] | None = None

    def wait_for(self, workflow_id: str) -> Interrupted:
        """A future that is done as soon as an order for this workflow is there, or was there already; it stays
        unread, for the engine's `recv`. Whoever no longer waits cancels it."""
        loop = asyncio.get_running_loop()
        arrived: Interrupted = loop.create_future()
        self._waiting[workflow_id] = arrived
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(self._look(), context=contextvars.Context())
        return arrived

    async def _look(self) -> None:
        while self._waiting:
            for workflow_id in [one for one, arrived in self._waiting.items() if arrived.done()]:
                del self._waiting[workflow_id]
            try:
                unread = await asyncio.to_thread(unread_mail, _database())
            except Exception as error:  # whatever it was, look again: a person waits
                log.warning("mail.unreadable", error=repr(error))
                unread = set()
            for workflow_id, topic in unread:
                arrived = self._waiting.get(workflow_id) if topic == ORDERS else None
                if arrived is not None and not arrived.done():
                    arrived.set_result(None)
            await asyncio.sleep(LOOK_EVERY_S)


def unread_mail(database: Any) -> set[tuple[str, str]]:
    """The (workflow, topic) of all that waits to be read in the engine's `database`. Blocks."""
    rows = database.tables.notifications.c
    unread = sa.select(rows.destination_uuid, rows.topic).where(rows.consumed == sa.false()).distinct()
    with database.engine.connect() as connection:
        return {(workflow_id, topic) for workflow_id, topic in connection.execute(unread)}


async def recorded_steps(workflow_id: str) -> frozenset[str]:
    """The names of the steps that a workflow has on record. May be repeated. Raises CannotStore."""
    try:
        return await asyncio.to_thread(_recorded, workflow_id)
    except sa.exc.SQLAlchemyError as error:
        raise cannot_store(error) from error


def _recorded(workflow_id: str) -> frozenset[str]:
    database = _database()
    rows = database.tables.operation_outputs.c
    query = sa.select(rows.function_name).distinct().where(rows.workflow_uuid == workflow_id)
    with database.engine.connect() as connection:
        return frozenset(connection.execute(query).scalars())
