"""Remembers incidents: the document as it stands, its append-only history, and its comments."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from bot.codec import NotThisFact, decode, encode
from bot.failures import CannotStore
from bot.store_database import Database, plain
from bot.tables import comments, incident_history, incidents
from policies.facts import FINAL_STATES, Incident, IncidentState


class PastState(NamedTuple):
    """One line of an incident's history."""

    at_s: float
    state: IncidentState
    reason: str


class Comment(NamedTuple):
    """The comment of ours for one incident on one pull request."""

    incident_id: str
    repository: str
    number: int
    comment_id: str
    url: str


class IncidentMemory(Database):
    """The tables `incidents`, `incident_history` and `comments`."""

    def save_incident(self, incident: Incident, at_s: float | None = None) -> bool:
        """Store the incident as it stands. False, and nothing changes, if it is finished there and this one
        is not (a replayed step is late). `at_s`: epoch of the change of state, for the history; default: the
        last moment of the incident's own timeline. May be repeated: the same again changes nothing.
        Raises CannotStore.
        """
        try:
            document = encode(incident, Incident)
        except NotThisFact as error:
            raise CannotStore(f"Incident {incident.id} cannot be stored: {error}") from None
        reverted = incident.reverted
        values = {
            "id": incident.id,
            "repository": incident.deploy.repository,
            "environment": incident.deploy.environment,
            "service": incident.deploy.service,
            "deploy_id": incident.deploy.id,
            "sha": incident.deploy.sha,
            "state": str(incident.state),
            "reason": plain(incident.reason),
            "revert_sha": reverted.revert_sha if reverted is not None else None,
            "opened_at_s": incident.opened_at_s,
            "pushed_at_s": incident.pushed_at_s,
            "closed_at_s": incident.closed_at_s,
            "document": document,
        }
        insert = self.insert(incidents).values(values)
        changed = {name: insert.excluded[name] for name in values if name != "id"}
        may_change: sa.ColumnElement[bool] = incidents.c.state.not_in([str(state) for state in FINAL_STATES])
        if incident.state in FINAL_STATES:
            may_change = sa.true()
        with self.transaction() as connection:
            stored = connection.execute(
                insert.on_conflict_do_update(
                    index_elements=incidents.primary_key, set_=changed, where=may_change
                ).returning(incidents.c.id)
            ).first()
            if stored is None:
                return False
            self._remember_state(connection, incident, _when(incident) if at_s is None else at_s)
        return True

    def _remember_state(self, connection: sa.Connection, incident: Incident, at_s: float) -> None:
        last = (
            sa.select(incident_history.c.seq)
            .where(incident_history.c.incident_id == incident.id)
            .order_by(incident_history.c.seq.desc())
            .limit(1)
            .scalar_subquery()
        )
        state, reason = str(incident.state), plain(incident.reason)
        same = (
            sa.exists()
            .where(incident_history.c.seq == last)
            .where(incident_history.c.state == state, incident_history.c.reason == reason)
        )
        row = sa.select(
            sa.literal(incident.id, sa.Text),
            sa.literal(at_s, sa.Float),
            sa.literal(state, sa.Text),
            sa.literal(reason, sa.Text),
        ).where(~same)
        columns = ["incident_id", "at_s", "state", "reason"]
        connection.execute(sa.insert(incident_history).from_select(columns, row))

    def incident(self, incident_id: str) -> Incident | None:
        """The incident of that id. May be repeated. Raises CannotStore."""
        found = self._incidents(sa.select(incidents).where(incidents.c.id == plain(incident_id)))
        return found[0] if found else None

    def incidents(
        self,
        limit: int = 50,
        state: IncidentState | str | None = None,
        repository: str | None = None,
        *,
        open_only: bool = False,
        before_s: float | None = None,
    ) -> tuple[Incident, ...]:
        """Incidents, newest first; `before_s` (epoch) pages on. May be repeated. Raises CannotStore."""
        query = (
            sa.select(incidents)
            .order_by(incidents.c.opened_at_s.desc(), incidents.c.id)
            .limit(max(0, min(limit, 1000)))
        )
        if state is not None:
            query = query.where(incidents.c.state == str(state))
        if repository is not None:
            query = query.where(incidents.c.repository == repository)
        if open_only:
            query = query.where(incidents.c.state.not_in([str(s) for s in FINAL_STATES]))
        if before_s is not None:
            query = query.where(incidents.c.opened_at_s < before_s)
        return self._incidents(query)

    def incident_of_deploy(self, repository: str, environment: str, deploy_id: str) -> Incident | None:
        """The newest incident opened for that deploy. May be repeated. Raises CannotStore."""
        query = (
            sa.select(incidents)
            .where(incidents.c.repository == repository, incidents.c.environment == environment)
            .where(incidents.c.deploy_id == deploy_id)
            .order_by(incidents.c.opened_at_s.desc())
            .limit(1)
        )
        found = self._incidents(query)
        return found[0] if found else None

    def rollbacks_since(self, service: str, since_s: float) -> int:
        """How many reverts were pushed for `service` at or after `since_s` (epoch). May be repeated."""
        query = (
            sa.select(sa.func.count())
            .select_from(incidents)
            .where(incidents.c.service == service, incidents.c.pushed_at_s >= since_s)
        )
        with self.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def last_rollback(self, service: str) -> Incident | None:
        """The newest incident of `service` for which a revert was pushed. May be repeated."""
        query = (
            sa.select(incidents)
            .where(incidents.c.service == service, incidents.c.pushed_at_s.is_not(None))
            .order_by(incidents.c.pushed_at_s.desc())
            .limit(1)
        )
        found = self._incidents(query)
        return found[0] if found else None

    def history(self, incident_id: str) -> tuple[PastState, ...]:
        """Every state the incident was in, oldest first. May be repeated. Raises CannotStore."""
        query = (
            sa.select(incident_history.c.at_s, incident_history.c.state, incident_history.c.reason)
            .where(incident_history.c.incident_id == plain(incident_id))
            .order_by(incident_history.c.seq)
        )
        with self.reading() as connection:
            return tuple(
                PastState(row.at_s, IncidentState(row.state), row.reason) for row in connection.execute(query)
            )

    def count_incidents(self) -> dict[str, int]:
        """How many incidents are in which state. May be repeated. Raises CannotStore."""
        query = sa.select(incidents.c.state, sa.func.count()).group_by(incidents.c.state)
        with self.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def count_rollbacks(self) -> int:
        """For how many incidents a revert was pushed. May be repeated. Raises CannotStore."""
        query = sa.select(sa.func.count()).where(incidents.c.pushed_at_s.is_not(None))
        with self.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def note_comment(self, incident_id: str, repository: str, number: int, url: str) -> None:
        """Note where our comment on that pull request is. May be repeated; the last one stands."""
        insert = self.insert(comments).values(
            incident_id=incident_id,
            repository=repository,
            number=number,
            comment_id=url.rpartition("-")[2],  # …/pull/42#issuecomment-900
            url=url,
        )
        kept = {"comment_id": insert.excluded.comment_id, "url": insert.excluded.url}
        with self.transaction() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=comments.primary_key, set_=kept))

    def comments_of(self, incident_id: str) -> tuple[Comment, ...]:
        """Our comments for that incident, by pull request. May be repeated. Raises CannotStore."""
        query = (
            sa.select(comments)
            .where(comments.c.incident_id == plain(incident_id))
            .order_by(comments.c.repository, comments.c.number)
        )
        with self.reading() as connection:
            return tuple(Comment(**row._mapping) for row in connection.execute(query))

    def _incidents(self, query: sa.Select[tuple[object, ...]]) -> tuple[Incident, ...]:
        with self.reading() as connection:
            rows = connection.execute(query).all()
        try:
            return tuple(decode(row.document, Incident) for row in rows)
        except NotThisFact as error:
            raise CannotStore(
                f"An incident in the database cannot be read: {error} It was written by a newer release, or "
                "changed by hand; restore it from a backup or delete its row."
            ) from None


def _when(incident: Incident) -> float:
    if incident.timeline:
        return incident.timeline[-1].at_s
    known = (incident.closed_at_s, incident.pushed_at_s, incident.decided_at_s)
    return next((at_s for at_s in known if at_s is not None), incident.opened_at_s)
