"""What the engine needs on SQLite to carry thousands of guards: a turn to write, and one look for everybody's mail.

With bot/durable.py, bot/engine_mail.py and bot/engine_client.py the only files that know DBOS.
"""

from __future__ import annotations

import re
import time
from typing import Any

import sqlalchemy as sa
import structlog
from dbos._sys_db_sqlite import SQLiteSystemDatabase

from bot.engine_mail import unread_mail
from bot.store_database import open_engine, writers_turn

log = structlog.get_logger()

PATIENCE_S = 30.0
"""As the engine's own for a connection and for SQLite; after so long in the queue SQLite's waiting has to do."""
CONNECTIONS = 20
_HAS_TURN = "rollback-bot has the writers' turn"
_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)


def open_for_engine(url: str) -> sa.Engine:
    """An engine for DBOS on the bot's SQLite file, whose writers queue with the bot's own.

    SQLite lets whoever finds it busy sleep and try again, first come or not: with the checkpoints of some dozen
    threads in the way, a sample or a delivery was seen to wait for more than five seconds."""
    engine = open_engine(url, pool_size=CONNECTIONS, patience_s=PATIENCE_S)
    sa.event.listen(engine, "connect", _small_cache)
    turn = writers_turn(engine.url)

    @sa.event.listens_for(engine, "before_cursor_execute")
    def take(connection: sa.Connection, _cursor: Any, statement: str, *_more: Any) -> None:
        if not _WRITES.match(statement):
            return
        about = connection.connection.record_info
        if about is not None and not about.get(_HAS_TURN) and turn.acquire(timeout=PATIENCE_S):
            about[_HAS_TURN] = True

    @sa.event.listens_for(engine, "checkin")
    def give(_connection: Any, record: Any) -> None:
        # Held by the connection, not by the thread: one that is only collected comes back in some other thread.
        if record.record_info.pop(_HAS_TURN, False):
            turn.release()

    return engine


def _small_cache(connection: Any, _record: Any) -> None:
    """Each connection may keep 2 MB of pages, and the engine's steps never read the same ones twice."""
    connection.execute("PRAGMA cache_size=-256")


def look_for_mail_together() -> None:
    """Make the engine ask once for the messages of all that wait. It asks once for each of them: with 5,000
    guards that was most of a core. Nobody here waits for the engine's events or streams."""
    SQLiteSystemDatabase._notification_listener = _listen  # type: ignore[method-assign,assignment]


def _listen(database: SQLiteSystemDatabase) -> None:
    while database._run_background_processes:
        time.sleep(database._notification_listener_polling_interval_sec)
        try:
            found = unread_mail(database)
            if not found:
                continue
            for _key, (workflow_id, topic, _shard), waiter in database.notifications_map.snapshot():
                if (workflow_id, topic) in found:
                    waiter.set()
        except Exception as error:  # as the engine's own: whatever it was, look again
            if database._run_background_processes:
                log.warning("mail.unreadable", error=repr(error))
