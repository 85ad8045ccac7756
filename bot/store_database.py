"""The way to the database: one engine a process, transactions, and failures as one sentence."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from bot.failures import BadSettings, CannotStore

BUSY_S = 5.0
"""Longest wait for a lock: a webhook must be answered well inside GitHub's ten seconds."""

IDLE_S = BUSY_S
"""Longest pause inside a transaction: a process that is frozen in one (SIGSTOP, a paused machine) loses it, and with
it the rows it holds; else nobody could take over what it guards for as long as it stays frozen."""

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def database_url(given: str) -> sa.URL:
    """`given` with the driver we use; `postgres://` is understood too. Raises BadSettings."""
    try:
        url = sa.make_url(given)
    except (sa.exc.ArgumentError, ValueError):  # a port that is no number
        raise BadSettings(
            "DATABASE_URL is not a database address. Use sqlite:////path/rollback.db or "
            "postgresql://user@host/name."
        ) from None
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in ("sqlite", "postgresql+psycopg"):
        return url
    raise BadSettings(
        f"DATABASE_URL names {url.drivername}, which the bot cannot use: "
        "take sqlite (one machine) or postgresql (many)."
    )


def writers_turn(url: sa.URL) -> threading.Lock:
    """Whoever writes to this SQLite file in this process holds it meanwhile; any thread may give it back."""
    with _making_turns:
        return _turns.setdefault(str(url.database), threading.Lock())


_turns: dict[str, threading.Lock] = {}
_making_turns = threading.Lock()


def open_engine(given: str, *, pool_size: int = 10, patience_s: float = BUSY_S) -> sa.Engine:
    """An engine for `given`; connects on first use. Raises BadSettings for an address we cannot use, CannotStore
    for a folder that cannot be made."""
    url = database_url(given)
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url, pool_size, patience_s)
    return sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=BUSY_S,
        pool_pre_ping=True,
        json_serializer=_as_json,
        connect_args={
            "connect_timeout": 4,
            "tcp_user_timeout": 8000,
            "application_name": "rollback-bot",
            "options": (
                f"-c lock_timeout={BUSY_S * 1000:.0f} -c statement_timeout=15000 "
                f"-c idle_in_transaction_session_timeout={IDLE_S * 1000:.0f}"
            ),
        },
    )


def _open_sqlite(url: sa.URL, pool_size: int, patience_s: float) -> sa.Engine:
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotStore(
                f"The folder of the database cannot be made: {error.strerror}. Set DATA_DIR to a folder "
                "that the bot may write."
            ) from None
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=patience_s,
        json_serializer=_as_json,
        connect_args={"timeout": patience_s, "check_same_thread": False},
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # A transaction that will write takes the lock when it begins: one that reads first and upgrades
        # later is refused at once, whatever the busy timeout.
        connection.isolation_level = "IMMEDIATE"
        connection.execute(f"PRAGMA busy_timeout={patience_s * 1000:.0f}")
        connection.execute("PRAGMA journal_mode=WAL")
        # With NORMAL a power cut takes the last commits with it, and with them deliveries that were answered 202.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    return engine


def _as_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def plain(text: str) -> str:
    """`text` without what a database refuses to hold (NUL, lone surrogates)."""
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


class Database:
    """One database address; its engine is opened on first use and never shared over a fork."""

    def __init__(self, given: str) -> None:
        self.url = database_url(given)
        self._given = given
        self._engine: sa.Engine | None = None
        self._pid = 0
        self._opening = threading.Lock()
        self._prepared: dict[str, sa.Executable] = {}
        self._writing = writers_turn(self.url)

    @property
    def on_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @property
    def engine(self) -> sa.Engine:
        """This process's engine. May be repeated; raises CannotStore."""
        engine = self._engine
        if engine is None or self._pid != os.getpid():
            with self._opening:
                if self._engine is not None and self._pid != os.getpid():
                    # A socket inherited over fork belongs to the parent: forget it, do not close it.
                    self._engine.dispose(close=False)
                    self._engine = None
                if self._engine is None:
                    self._engine = open_engine(self._given)
                    self._pid = os.getpid()
                engine = self._engine
        return engine

    def close(self) -> None:
        """Give the connections back. May be repeated; the next use opens them again."""
        with self._opening:
            if self._engine is not None:
                self._engine.dispose(close=self._pid == os.getpid())
                self._engine = None

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """All of the block or none of it. Raises CannotStore for whatever the database says."""
        with self._turn():
            try:
                with self.engine.begin() as connection:
                    yield connection
            except sa.exc.SQLAlchemyError as error:
                raise cannot_store(error) from error

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite has one writer, and whoever finds it busy sleeps a while and tries again, first come or
        not: threads that queue here instead wait 20 ms where some waited seconds."""
        if not self.on_sqlite:
            yield
            return
        if not self._writing.acquire(timeout=BUSY_S):
            raise CannotStore(f"The database was busy for {BUSY_S:.0f} s; nothing was stored. Try again.")
        try:
            yield
        finally:
            self._writing.release()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read with. Raises CannotStore."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise cannot_store(error) from error

    def insert(self, table: sa.Table) -> Any:
        """An INSERT of this database's dialect, which knows ON CONFLICT."""
        return sqlite.insert(table) if self.on_sqlite else postgresql.insert(table)

    def prepared(self, table: sa.Table, build: Callable[[Any], sa.Executable]) -> sa.Executable:
        """`build(self.insert(table))`, built once: building a statement costs more than running it."""
        statement = self._prepared.get(build.__qualname__)
        if statement is None:
            statement = self._prepared[build.__qualname__] = build(self.insert(table))
        return statement

    def now_s(self) -> sa.ColumnElement[float]:
        """The database's own clock: several machines compare their heartbeats by one clock."""
        if self.on_sqlite:
            return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Float)
        return sa.literal_column("extract(epoch from clock_timestamp())::double precision", sa.Float)


def cannot_store(error: sa.exc.SQLAlchemyError) -> CannotStore:
    """What the database said as a sentence, without statement and values (they may hold payloads)."""
    said = getattr(error, "orig", None)
    text = str(said if said is not None else error).strip()
    first = text.splitlines()[0][:200] if text else type(error).__name__
    return CannotStore(
        f"The database did not answer as it should ({first}). Check DATABASE_URL, the disk and "
        "`rollback-bot migrate`; nothing that was not stored was acknowledged."
    )
