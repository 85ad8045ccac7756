"""Remembers health samples: from them a watch goes on after a crash, and baselines and strips are drawn."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from bot.codec import NotThisFact, decode_text, encode_text
from bot.failures import CannotStore
from bot.store_database import Database
from bot.tables import samples as sample_rows
from policies.facts import HealthSample

ROWS_AT_ONCE = 2000
_ON_SQLITE = sa.text(
    "INSERT INTO samples (service, at_s, sample) VALUES (:service, :at_s, :sample) ON CONFLICT DO NOTHING"
)
_ON_POSTGRESQL = sa.text(
    "INSERT INTO samples (service, at_s, sample) SELECT service, at_s, sample "
    "FROM json_to_recordset(CAST(:rows AS json)) AS given (service text, at_s double precision, sample json) "
    "ON CONFLICT DO NOTHING"
)
"""One statement with all rows in one text: a statement a row, or arrays that the driver writes out element by
element, cost us several times as much."""


class SampleMemory(Database):
    """The table `samples`: one row for each poll of a service."""

    def add_samples(self, service: str, samples: Iterable[tuple[float, HealthSample]]) -> None:
        """Keep samples of one service as (epoch, sample). May be repeated: an instant that is known stays.
        Raises CannotStore."""
        self.add_samples_of_many((service, at_s, sample) for at_s, sample in samples)

    def add_samples_of_many(self, samples: Iterable[tuple[str, float, HealthSample]]) -> None:
        """Keep samples of several services, as (service, epoch, sample), in one transaction: ten thousand
        watches share one write. May be repeated. Raises CannotStore."""
        try:
            rows = [
                {"service": service, "at_s": at_s, "sample": encode_text(sample, HealthSample)}
                for service, at_s, sample in samples
            ]
        except NotThisFact as error:
            raise CannotStore(f"A health sample cannot be stored: {error}") from None
        if not rows:
            return
        with self.transaction() as connection:
            if self.on_sqlite:
                connection.execute(_ON_SQLITE, rows)
                return
            for start in range(0, len(rows), ROWS_AT_ONCE):
                connection.execute(_ON_POSTGRESQL, {"rows": _as_json(rows[start : start + ROWS_AT_ONCE])})

    def samples(
        self, service: str, since_s: float, until_s: float = float("inf")
    ) -> tuple[tuple[float, HealthSample], ...]:
        """What was seen of `service` from `since_s` to `until_s` (epoch, both included), oldest first, as
        (epoch, sample). May be repeated. Raises CannotStore."""
        query = (
            sa.select(sample_rows.c.at_s, sa.cast(sample_rows.c.sample, sa.Text).label("sample"))
            .where(sample_rows.c.service == service, sample_rows.c.at_s >= since_s)
            .order_by(sample_rows.c.at_s)
        )
        if until_s != float("inf"):
            query = query.where(sample_rows.c.at_s <= until_s)
        with self.reading() as connection:
            rows = connection.execute(query).all()
        try:
            return tuple((row.at_s, decode_text(row.sample, HealthSample)) for row in rows)
        except NotThisFact as error:
            raise CannotStore(f"A health sample in the database cannot be read: {error}") from None

    def prune_samples(self, before_s: float) -> int:
        """Forget what was seen before `before_s` (epoch); how many rows. May be repeated."""
        with self.transaction() as connection:
            return connection.execute(sa.delete(sample_rows).where(sample_rows.c.at_s < before_s)).rowcount


def _as_json(rows: list[dict[str, Any]]) -> str:
    """The samples are JSON text already, and stay as they were written."""
    written = (
        f'{{"service":{json.dumps(row["service"])},"at_s":{row["at_s"]!r},"sample":{row["sample"]}}}'
        for row in rows
    )
    return f"[{','.join(written)}]"
