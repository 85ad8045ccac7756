"""Remembers who said last what: a word that was said earlier and arrives later changes no switch."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from bot.store_database import Database, plain
from bot.tables import last_words

CANCEL = "cancel"
"""Beside the names of switches: the word that stops one incident's rollback before its push."""


class Word(NamedTuple):
    """Something a person said about a switch. `at_s`: epoch, when it was said. `number` tells words of the same
    second apart (GitHub's ids of comments grow; its times are whole seconds), None where nothing does.
    `request` names it, so that the same word again is known."""

    at_s: float
    actor: str
    request: str
    number: int | None = None


class Said(NamedTuple):
    """A word that stands: by whom, when (epoch), and whether it turned the switch on."""

    at_s: float
    actor: str
    on: bool


class WordMemory(Database):
    """The table `last_words`."""

    def take_word(
        self, name: str, target: str, word: Word, *, on: bool, was_on: bool, connection: sa.Connection
    ) -> tuple[Said | None, bool]:
        """Let `word` be the last one on a switch, within `connection`'s transaction: nothing and whether it was
        on before, or the later word that stands instead. `was_on`: whether it is on now. May be repeated: the
        same word again gets the same answer. Raises CannotStore."""
        before = connection.execute(
            sa.select(last_words).where(_is(name, target)).with_for_update()
        ).one_or_none()
        if before is not None and before.request == plain(word.request):
            was_on = bool(before.was_on)
        insert = self.insert(last_words).values(
            name=name,
            target=plain(target),
            second=int(word.at_s),
            number=word.number,
            request=plain(word.request),
            actor=plain(word.actor),
            turned_on=int(on),
            was_on=int(was_on),
        )
        new = insert.excluded
        kept = ("second", "number", "request", "actor", "turned_on", "was_on")
        taken = connection.execute(
            insert.on_conflict_do_update(
                index_elements=last_words.primary_key,
                set_={column: new[column] for column in kept},
                where=_is_not_earlier(new),
            ).returning(last_words.c.name)
        ).first()
        if taken is not None:
            return None, was_on
        stands = connection.execute(sa.select(last_words).where(_is(name, target))).one()
        return Said(float(stands.second), stands.actor, bool(stands.turned_on)), was_on

    def note_it_was_on(self, name: str, target: str, connection: sa.Connection) -> None:
        """Correct what the last word on a switch found. Raises CannotStore."""
        connection.execute(sa.update(last_words).where(_is(name, target)).values(was_on=1))

    def say_cancel(self, incident_id: str, word: Word) -> None:
        """Stop the incident's rollback, if it is not pushed yet. May be repeated. Raises CannotStore."""
        with self.transaction() as connection:
            self.take_word(CANCEL, incident_id, word, on=True, was_on=False, connection=connection)

    def cancelled_by(self, incident_id: str) -> str | None:
        """Who stopped the incident's rollback, None while nobody has. May be repeated. Raises CannotStore."""
        with self.reading() as connection:
            actor: str | None = connection.execute(
                sa.select(last_words.c.actor).where(_is(CANCEL, incident_id))
            ).scalar_one_or_none()
        return actor


def _is(name: str, target: str) -> sa.ColumnElement[bool]:
    return sa.and_(last_words.c.name == name, last_words.c.target == plain(target))


def _is_not_earlier(new: sa.ColumnCollection[str, sa.ColumnElement[object]]) -> sa.ColumnElement[bool]:
    old = last_words.c
    same_second = sa.and_(
        old.second == new.second,
        sa.or_(old.number.is_(None), new.number.is_(None), old.number <= new.number),
    )
    return sa.or_(old.request == new.request, old.second < new.second, same_second)
