"""Remembers what was heard: deliveries, every deploy, and how the guard of each one ended."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from bot.store_database import Database, plain
from bot.tables import deliveries, deploys
from policies.facts import Deploy

STALE_START_S = 3600.0
"""A deploy that began this long before another and was never heard of again is no longer running: its
job was cancelled, or its end was not told to us."""


class DeployStatus(StrEnum):
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


HEALTHY = "healthy"
"""The verdict that makes a deploy a good one to go back to."""


class Delivery(NamedTuple):
    """One webhook delivery that became work."""

    id: str
    event: str
    action: str
    repository: str
    received_at_s: float
    workflow_id: str | None
    outcome: str


class HeardDeploy(NamedTuple):
    """A deploy as it stands in our table."""

    deploy: Deploy
    status: DeployStatus
    verdict: str | None
    verdict_reason: str | None
    heard_at_s: float


class DeployMemory(Database):
    """The tables `deliveries` and `deploys`."""

    def accept_delivery(
        self,
        delivery: Delivery,
        connection: sa.Connection | None = None,
    ) -> bool:
        """Note a delivery; False if its id was noted before. Within `connection`'s transaction if given.
        May be repeated. Raises CannotStore."""
        if connection is None:
            with self.transaction() as own:
                return self.accept_delivery(delivery, own)
        values = {k: plain(v) if isinstance(v, str) else v for k, v in delivery._asdict().items()}
        statement = self.prepared(deliveries, _insert_delivery)
        return connection.execute(statement, values).first() is not None

    def delivery(self, delivery_id: str) -> Delivery | None:
        """The delivery of that id, if it became work. May be repeated."""
        query = sa.select(deliveries).where(deliveries.c.id == plain(delivery_id))
        with self.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Delivery(**row._mapping)

    def note_deploy(
        self,
        deploy: Deploy,
        status: DeployStatus | str,
        heard_at_s: float | None = None,
        connection: sa.Connection | None = None,
    ) -> None:
        """Note that a deploy started, succeeded or failed. `heard_at_s`: epoch, default: the deploy's time.

        May be repeated, in any order: an end is never taken back by a late start, and a known start, branch
        or address stays where the later news does not carry it. Raises CannotStore.
        """
        if connection is None:
            with self.transaction() as own:
                self.note_deploy(deploy, status, heard_at_s, own)
            return
        status = DeployStatus(status)
        ended = status is not DeployStatus.STARTED
        started_at_s = deploy.started_at_s if ended else (deploy.started_at_s or deploy.completed_at_s)
        values = {
            "repository": deploy.repository,
            "environment": deploy.environment,
            "deploy_id": deploy.id,
            "service": deploy.service,
            "sha": deploy.sha,
            "branch": deploy.branch,
            "url": deploy.url,
            "source": deploy.source,
            "workflow": deploy.workflow,
            "status": str(status),
            "started_at_s": started_at_s,
            "completed_at_s": deploy.completed_at_s if ended else None,
            "heard_at_s": deploy.completed_at_s if heard_at_s is None else heard_at_s,
        }
        connection.execute(self.prepared(deploys, _upsert_deploy), values)

    def judge_deploy(self, deploy: Deploy, verdict: str, reason: str = "", at_s: float | None = None) -> None:
        """Note how the guard of `deploy` ended: "healthy", "rolled back", … `at_s`: epoch, default: its
        completion. May be repeated; the last verdict stands. Raises CannotStore."""
        with self.transaction() as connection:
            self.note_deploy(deploy, DeployStatus.SUCCEEDED, None, connection)
            connection.execute(
                sa.update(deploys)
                .where(_is(deploy))
                .values(
                    verdict=plain(verdict),
                    verdict_reason=plain(reason),
                    judged_at_s=deploy.completed_at_s if at_s is None else at_s,
                )
            )

    def deploy_of(self, service: str, sha: str, since_s: float = 0.0) -> Deploy | None:
        """The newest completed deploy of `sha` to `service` since `since_s` (epoch). May be repeated."""
        found = self.deploys_heard(service, sha=sha, since_s=since_s, limit=1, completed=True)
        return found[0].deploy if found else None

    def deploys_heard(
        self,
        service: str | None = None,
        *,
        sha: str | None = None,
        since_s: float = 0.0,
        limit: int = 50,
        completed: bool = False,
    ) -> tuple[HeardDeploy, ...]:
        """Deploys as we know them, newest first. May be repeated. Raises CannotStore."""
        when = sa.func.coalesce(deploys.c.completed_at_s, deploys.c.started_at_s)
        query = sa.select(deploys).where(when >= since_s).order_by(when.desc()).limit(limit)
        if service is not None:
            query = query.where(deploys.c.service == service)
        if sha is not None:
            query = query.where(deploys.c.sha == sha)
        if completed:
            query = query.where(deploys.c.status == DeployStatus.SUCCEEDED)
        with self.reading() as connection:
            return tuple(_heard(row) for row in connection.execute(query))

    def last_good(self, service: str, before_s: float) -> str | None:
        """The sha of the newest deploy to `service` that completed before `before_s` (epoch) and was judged
        healthy; None if we know of none. May be repeated. Raises CannotStore."""
        query = (
            sa.select(deploys.c.sha)
            .where(
                deploys.c.service == service,
                deploys.c.completed_at_s < before_s,
                deploys.c.verdict == HEALTHY,
            )
            .order_by(deploys.c.completed_at_s.desc(), deploys.c.deploy_id.desc())
            .limit(1)
        )
        with self.reading() as connection:
            sha: str | None = connection.execute(query).scalar_one_or_none()
        return sha

    def overlapping(self, deploy: Deploy) -> tuple[str, ...]:
        """Ids of deploys of other commits to the same service that ran while `deploy` ran, or since.

        One that began earlier and never ended counts for STALE_START_S; a failed one brought nothing and
        does not count. May be repeated. Raises CannotStore.
        """
        began_s = deploy.completed_at_s if deploy.started_at_s is None else deploy.started_at_s
        ended_in_it = sa.and_(
            deploys.c.status == DeployStatus.SUCCEEDED,
            deploys.c.completed_at_s > began_s,
        )
        still_running = sa.and_(
            deploys.c.status == DeployStatus.STARTED,
            deploys.c.started_at_s >= began_s - STALE_START_S,
        )
        query = (
            sa.select(deploys.c.deploy_id)
            .where(
                deploys.c.service == deploy.service,
                deploys.c.deploy_id != deploy.id,
                deploys.c.sha != deploy.sha,
                sa.or_(ended_in_it, still_running),
            )
            .order_by(deploys.c.heard_at_s, deploys.c.deploy_id)
        )
        with self.reading() as connection:
            return tuple(connection.execute(query).scalars())

    def started_at(self, deploy: Deploy, connection: sa.Connection) -> float | None:
        """When that deploy started (epoch), for news of its end that do not say. May be repeated."""
        at_s: float | None = connection.execute(
            sa.select(deploys.c.started_at_s).where(_is(deploy))
        ).scalar_one_or_none()
        return at_s

    def count_deploys(self) -> dict[str, int]:
        """How many deploys were heard, by status. May be repeated. Raises CannotStore."""
        query = sa.select(deploys.c.status, sa.func.count()).group_by(deploys.c.status)
        with self.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def services(self) -> Sequence[str]:
        """Every service a deploy of which was heard, in alphabetical order. May be repeated."""
        with self.reading() as connection:
            return (
                connection.execute(sa.select(deploys.c.service).distinct().order_by(deploys.c.service))
                .scalars()
                .all()
            )

    def newest_completed(self, since_s: float) -> dict[str, float]:
        """By service, when its newest deploy completed (epoch), of those since `since_s`. May be repeated."""
        query = (
            sa.select(deploys.c.service, sa.func.max(deploys.c.completed_at_s))
            .where(deploys.c.completed_at_s >= since_s, deploys.c.status == DeployStatus.SUCCEEDED)
            .group_by(deploys.c.service)
        )
        with self.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def prune_deliveries(self, before_s: float) -> int:
        """Forget deliveries received before `before_s` (epoch); how many. May be repeated."""
        with self.transaction() as connection:
            return connection.execute(
                sa.delete(deliveries).where(deliveries.c.received_at_s < before_s)
            ).rowcount


def _insert_delivery(insert: Any) -> sa.Executable:
    statement: sa.Executable = insert.on_conflict_do_nothing().returning(deliveries.c.id)
    return statement


def _upsert_deploy(insert: Any) -> sa.Executable:
    new = insert.excluded
    kept: dict[str, sa.ColumnElement[Any]] = {
        name: sa.func.coalesce(deploys.c[name], new[name])
        for name in ("branch", "url", "workflow", "started_at_s", "completed_at_s")
    }
    kept["status"] = sa.case(
        (deploys.c.status == str(DeployStatus.STARTED), new.status), else_=deploys.c.status
    )
    statement: sa.Executable = insert.on_conflict_do_update(index_elements=deploys.primary_key, set_=kept)
    return statement


def _is(deploy: Deploy) -> Any:
    return sa.and_(
        deploys.c.repository == deploy.repository,
        deploys.c.environment == deploy.environment,
        deploys.c.deploy_id == deploy.id,
    )


def _heard(row: sa.Row[Any]) -> HeardDeploy:
    deploy = Deploy(
        id=row.deploy_id,
        repository=row.repository,
        environment=row.environment,
        sha=row.sha,
        branch=row.branch,
        url=row.url,
        source=row.source,
        started_at_s=row.started_at_s,
        completed_at_s=row.started_at_s if row.completed_at_s is None else row.completed_at_s,
        workflow=row.workflow,
    )
    return HeardDeploy(deploy, DeployStatus(row.status), row.verdict, row.verdict_reason, row.heard_at_s)
