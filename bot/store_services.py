"""Remembers which services are guarded and how, so that somebody looks at them between deploys too."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from bot.codec import NotThisFact, decode, decode_text, encode
from bot.failures import CannotStore
from bot.store_database import Database
from bot.tables import samples, services
from policies.facts import HealthSample
from policies.limits import Plan

MORE_THAN_TAKEN = 10
"""Services looked through for each that is taken: most of those that come first may be under guard."""
ROWS_AT_ONCE = 500


class ServiceMemory(Database):
    """The table `services`."""

    def note_service(self, service: str, plan: Plan, at_s: float) -> None:
        """Remember that `service` was guarded by `plan` at `at_s` (epoch). May be repeated. Raises CannotStore."""
        insert = self.insert(services).values(
            service=service, plan=encode(plan, Plan), guarded_at_s=at_s, sampled_at_s=at_s
        )
        new = insert.excluded
        with self.transaction() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=services.primary_key,
                    set_={
                        "plan": new.plan,
                        "guarded_at_s": new.guarded_at_s,
                        "sampled_at_s": new.sampled_at_s,
                    },
                )
            )

    def claim_due_services(
        self, now_s: float, every_s: float, guarded_since_s: float, at_most: int
    ) -> tuple[tuple[str, Plan], ...]:
        """Services that nobody sampled for `every_s` seconds, with their plans, now claimed by us: of several
        workers only one gets each. Services not guarded since `guarded_since_s` (epoch), and those that a guard
        is sampling anyway, are left alone. Raises CannotStore."""
        due = sa.and_(services.c.sampled_at_s <= now_s - every_s, services.c.guarded_at_s >= guarded_since_s)
        found = sa.select(services.c.service).where(due).order_by(services.c.sampled_at_s)
        claimed: list[tuple[str, Plan]] = []
        with self.transaction() as connection:
            names = connection.execute(found.limit(MORE_THAN_TAKEN * at_most)).scalars().all()
            if not names:
                return ()
            lately = sa.select(samples.c.service).where(
                samples.c.service.in_(names), samples.c.at_s > now_s - every_s
            )
            guarded = set(connection.execute(lately.distinct()).scalars())
            if guarded:
                connection.execute(
                    sa.update(services).where(services.c.service.in_(guarded)).values(sampled_at_s=now_s)
                )
            for name in [name for name in names if name not in guarded][:at_most]:
                plan = connection.execute(
                    sa.update(services)
                    .where(services.c.service == name, due)
                    .values(sampled_at_s=now_s)
                    .returning(services.c.plan)
                ).scalar_one_or_none()
                if plan is None:
                    continue  # another worker has it
                try:
                    claimed.append((name, decode(plan, Plan)))
                except NotThisFact:
                    continue  # written by another release; its next guard writes it anew
        return tuple(claimed)

    def latest_samples(self, since_s: float) -> Iterator[tuple[str, HealthSample]]:
        """The newest sample of every service seen at or after `since_s` (epoch), one after the other: of ten thousand
        services they would take 30 MB together. May be repeated. Raises CannotStore, also in the middle."""
        newest = (
            sa.select(samples.c.service, sa.func.max(samples.c.at_s).label("at_s"))
            .where(samples.c.at_s >= since_s)
            .group_by(samples.c.service)
            .subquery()
        )
        text = sa.cast(samples.c.sample, sa.Text).label("sample")
        query = sa.select(samples.c.service, text).join(
            newest, sa.and_(samples.c.service == newest.c.service, samples.c.at_s == newest.c.at_s)
        )
        with self.reading() as connection:
            for row in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query):
                try:
                    yield row.service, decode_text(row.sample, HealthSample)
                except NotThisFact as error:
                    raise CannotStore(f"A health sample in the database cannot be read: {error}") from None
