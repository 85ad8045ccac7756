"""Remembers what people decided: holds, freezes, kill switches, and the audit of who asked for what."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from bot.failures import CannotStore
from bot.store_database import plain
from bot.store_words import Said, Word, WordMemory
from bot.tables import audit as audit_rows_table
from bot.tables import switches as switch_rows
from policies.facts import Switch

EVERYWHERE = "*"
"""The target of a kill switch for all repositories."""


class SwitchName(StrEnum):
    """HOLD: a service is only watched. FREEZE: a branch takes no changes. KILL: a repository, or all."""

    HOLD = "hold"
    FREEZE = "freeze"
    KILL = "kill"


class AuditRow(NamedTuple):
    """One thing somebody asked for, and what we answered. `at_s` is epoch."""

    at_s: float
    who: str
    place: str
    what: str
    answer: str
    repository: str | None
    incident_id: str | None


class SwitchRow(NamedTuple):
    """A switch that was set: by whom, why, and until when (epoch; None: until it is cleared). `place` is the
    pull request on which it was set (`owner/name#42`), empty where it was set by hand."""

    name: SwitchName
    target: str
    until_s: float | None
    actor: str
    reason: str
    set_at_s: float
    place: str = ""


def branch_target(repository: str, branch: str) -> str:
    """What a freeze is set on."""
    return f"{repository}@{branch}"


class SwitchMemory(WordMemory):
    """The tables `switches` and `audit`, with the last words on switches."""

    def switches(self, service: str, branch: str | None, now_s: float) -> tuple[Switch, ...]:
        """The switches that are on at `now_s` (epoch) for `service` ("owner/name:environment") and `branch`.

        Never raises: switches that cannot be read are one switch that is on and says so. May be repeated.
        """
        repository = service.partition(":")[0]
        wanted = [
            (SwitchName.KILL, EVERYWHERE),
            (SwitchName.KILL, repository),
            (SwitchName.HOLD, service),
        ]
        if branch is not None:
            wanted.append((SwitchName.FREEZE, branch_target(repository, branch)))
        try:
            rows = self._switch_rows(now_s, sa.or_(*(_is(name, target) for name, target in wanted)))
        except CannotStore as error:
            reason = f"The switches cannot be read, so nothing is done by itself. {error.reason}"
            return (Switch(str(SwitchName.KILL), True, reason),)
        return tuple(Switch(str(row.name), True, _why(row), row.until_s) for row in rows)

    def all_switches(self, now_s: float) -> tuple[SwitchRow, ...]:
        """Every switch that is on at `now_s` (epoch). May be repeated. Raises CannotStore."""
        return self._switch_rows(now_s, sa.true())

    def _switch_rows(self, now_s: float, which: sa.ColumnElement[bool]) -> tuple[SwitchRow, ...]:
        still_on = sa.or_(switch_rows.c.until_s.is_(None), switch_rows.c.until_s > now_s)
        query = (
            sa.select(switch_rows).where(which, still_on).order_by(switch_rows.c.name, switch_rows.c.target)
        )
        with self.reading() as connection:
            rows = [row._mapping for row in connection.execute(query)]
        return tuple(SwitchRow(**{**row, "name": SwitchName(row["name"])}) for row in rows)

    def frozen_since(
        self, repository: str, branch: str, now_s: float, connection: sa.Connection
    ) -> float | None:
        """When the freeze of a branch that is on at `now_s` was set (epoch); None: it is not frozen."""
        still_on = sa.or_(switch_rows.c.until_s.is_(None), switch_rows.c.until_s > now_s)
        query = sa.select(switch_rows.c.set_at_s).where(
            _is(SwitchName.FREEZE, branch_target(repository, branch)), still_on
        )
        at_s: float | None = connection.execute(query).scalar_one_or_none()
        return at_s

    def expired_switches(self, now_s: float) -> tuple[SwitchRow, ...]:
        """Switches whose time was up at `now_s` (epoch) and that still stand here. May be repeated."""
        query = sa.select(switch_rows).where(switch_rows.c.until_s <= now_s).order_by(switch_rows.c.until_s)
        with self.reading() as connection:
            rows = [row._mapping for row in connection.execute(query)]
        return tuple(SwitchRow(**{**row, "name": SwitchName(row["name"])}) for row in rows)

    def set_switch(
        self,
        name: SwitchName | str,
        target: str,
        *,
        actor: str,
        reason: str,
        now_s: float,
        until_s: float | None = None,
        place: str = "",
        word: Word | None = None,
    ) -> Said | None:
        """Set a switch on `target`: a service (hold), `branch_target(…)` (freeze), a repository or EVERYWHERE
        (kill). A later word on it that was heard before stands, and is the answer; `word` is this one, default:
        said by `actor` at `now_s`. May be repeated. Raises CannotStore."""
        name, target = SwitchName(name), plain(target)
        insert = self.insert(switch_rows).values(
            name=str(name),
            target=target,
            until_s=until_s,
            actor=plain(actor),
            reason=plain(reason),
            set_at_s=now_s,
            place=plain(place),
        )
        kept = {key: insert.excluded[key] for key in ("until_s", "actor", "reason", "set_at_s", "place")}
        word = word or Word(now_s, actor, f"{actor} at {now_s:.6f}")
        with self.transaction() as connection:
            later, _ = self.take_word(str(name), target, word, on=True, was_on=False, connection=connection)
            if later is None:
                connection.execute(
                    insert.on_conflict_do_update(index_elements=switch_rows.primary_key, set_=kept)
                )
        return later

    def lift_switch(self, name: SwitchName | str, target: str, word: Word, now_s: float) -> bool | Said:
        """Take a switch away because somebody said so; whether it was on at `now_s` (epoch), or the later word on
        it that stands instead. May be repeated: the same word again gets the same answer. Raises CannotStore."""
        which = _is(SwitchName(name), plain(target))
        with self.transaction() as connection:
            found = connection.execute(sa.select(switch_rows.c.until_s).where(which)).one_or_none()
            is_on = found is not None and (found.until_s is None or found.until_s > now_s)
            later, was_on = self.take_word(
                str(SwitchName(name)), target, word, on=False, was_on=is_on, connection=connection
            )
            if later is not None:
                return later
            # One whose time is up is ended by a worker, with its note.
            live = sa.or_(switch_rows.c.until_s.is_(None), switch_rows.c.until_s > now_s)
            lifted = connection.execute(sa.delete(switch_rows).where(which, live)).rowcount > 0
            if lifted and not was_on:
                # An earlier word was being written while we looked; only taking ours waited for it.
                self.note_it_was_on(str(SwitchName(name)), target, connection)
        return was_on or lifted

    def clear_switch(self, name: SwitchName | str, target: str, *, set_at_s: float | None = None) -> bool:
        """Take a switch away (only the one set at `set_at_s`, where given); whether it was there. May be
        repeated. Raises CannotStore."""
        which = _is(SwitchName(name), plain(target))
        if set_at_s is not None:
            which = sa.and_(which, switch_rows.c.set_at_s == set_at_s)
        with self.transaction() as connection:
            done = connection.execute(sa.delete(switch_rows).where(which))
        return done.rowcount > 0

    def end_switch(self, name: SwitchName | str, target: str, now_s: float, actor: str = "somebody") -> bool:
        """Make a switch end now; whether it was on. A worker clears it, and what it left elsewhere, as when
        its time is up by itself. May be repeated. Raises CannotStore."""
        which = _is(SwitchName(name), plain(target))
        still_on = sa.or_(switch_rows.c.until_s.is_(None), switch_rows.c.until_s > now_s)
        word = Word(now_s, actor, f"{actor} at {now_s:.6f}")
        with self.transaction() as connection:
            self.take_word(str(SwitchName(name)), target, word, on=False, was_on=True, connection=connection)
            done = connection.execute(sa.update(switch_rows).where(which, still_on).values(until_s=now_s))
        return done.rowcount > 0

    def audit(
        self,
        who: str,
        place: str,
        what: str,
        answer: str,
        at_s: float,
        *,
        repository: str | None = None,
        incident_id: str | None = None,
        once: str | None = None,
    ) -> None:
        """Write down who asked for what, where, and what we answered, at `at_s` (epoch).

        Rows are only ever added. May be repeated where `once` names the request (a delivery, a comment): the
        first row stands; without it each call adds a row. Raises CannotStore.
        """
        insert = self.insert(audit_rows_table).values(
            once=once,
            at_s=at_s,
            who=plain(who),
            place=plain(place),
            what=plain(what),
            answer=plain(answer),
            repository=repository,
            incident_id=incident_id,
        )
        with self.transaction() as connection:
            connection.execute(insert.on_conflict_do_nothing())

    def audit_rows(
        self, limit: int = 100, *, incident_id: str | None = None, repository: str | None = None
    ) -> tuple[AuditRow, ...]:
        """The audit, newest first. May be repeated. Raises CannotStore."""
        columns = [audit_rows_table.c[name] for name in AuditRow._fields]
        query = sa.select(*columns).order_by(audit_rows_table.c.seq.desc()).limit(max(0, min(limit, 1000)))
        if incident_id is not None:
            query = query.where(audit_rows_table.c.incident_id == incident_id)
        if repository is not None:
            query = query.where(audit_rows_table.c.repository == repository)
        with self.reading() as connection:
            return tuple(AuditRow(**row._mapping) for row in connection.execute(query))


def _is(name: SwitchName, target: str) -> sa.ColumnElement[bool]:
    return sa.and_(switch_rows.c.name == str(name), switch_rows.c.target == target)


def _why(row: SwitchRow) -> str:
    return f"{row.actor}: {row.reason}" if row.reason else f"set by {row.actor}"
