"""Remembers which processes are alive by the database's clock, so that a dead one's work is handed on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from bot.store_database import Database
from bot.tables import executors

HANDING_ON_S = 60.0
"""Longest time in which one worker hands on what another left, however much that is."""


class ExecutorMemory(Database):
    """The table `executors`: one row for each start of a process."""

    def beat(self, executor_id: str, role: str = "worker", host: str = "", version: str = "") -> None:
        """Say that this process is alive now. May be repeated (that is its purpose). Raises CannotStore."""
        now_s = self.now_s()
        insert = self.insert(executors).values(
            id=executor_id, role=role, host=host, version=version, started_at_s=now_s, beat_at_s=now_s
        )
        with self.transaction() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=executors.primary_key, set_={"beat_at_s": insert.excluded.beat_at_s}
                )
            )

    def forget_executor(self, executor_id: str) -> None:
        """This process ended in order, or its work was handed on. May be repeated. Raises CannotStore."""
        with self.transaction() as connection:
            connection.execute(sa.delete(executors).where(executors.c.id == executor_id))

    @contextmanager
    def claim_silent(self, executor_id: str, dead_after_s: float) -> Iterator[bool]:
        """Whether it is ours to hand on what that process left; after the block it is forgotten.

        False where another worker is at it, or the process has spoken again: work that was handed on and is
        running by then must not be handed on a second time. May be repeated. Raises CannotStore."""
        if self.on_sqlite:  # one worker, and one writer: the block itself writes
            yield True
            self.forget_executor(executor_id)
            return
        silent = executors.c.beat_at_s < self.now_s() - dead_after_s
        row = sa.select(executors.c.id).where(executors.c.id == executor_id, silent)
        with self.transaction() as connection:
            # It pauses while the work is handed on elsewhere, and must not lose its turn meanwhile.
            connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{HANDING_ON_S:g}s'")
            is_ours = connection.execute(row.with_for_update(skip_locked=True)).first() is not None
            yield is_ours
            if is_ours:
                connection.execute(sa.delete(executors).where(executors.c.id == executor_id))

    def silent_executors(self, dead_after_s: float, role: str = "worker") -> tuple[str, ...]:
        """Ids of processes that have said nothing for more than `dead_after_s` seconds. May be repeated."""
        return self._executors(role, executors.c.beat_at_s < self.now_s() - dead_after_s)

    def live_executors(self, dead_after_s: float, role: str = "worker") -> tuple[str, ...]:
        """Ids of processes that said something within `dead_after_s` seconds. May be repeated."""
        return self._executors(role, executors.c.beat_at_s >= self.now_s() - dead_after_s)

    def last_beat_age_s(self, role: str = "worker") -> float | None:
        """Seconds since any process of that role was heard; None if there is none. May be repeated."""
        query = sa.select(self.now_s() - sa.func.max(executors.c.beat_at_s)).where(executors.c.role == role)
        with self.reading() as connection:
            age_s: float | None = connection.execute(query).scalar_one_or_none()
        return None if age_s is None else max(0.0, age_s)

    def _executors(self, role: str, which: sa.ColumnElement[bool]) -> tuple[str, ...]:
        query = sa.select(executors.c.id).where(executors.c.role == role, which).order_by(executors.c.id)
        with self.reading() as connection:
            return tuple(connection.execute(query).scalars())
