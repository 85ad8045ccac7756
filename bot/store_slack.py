"""Remembers Slack: who is who on GitHub, links on their way, our message of each incident, answers given."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from bot.store_database import Database, plain
from bot.tables import deliveries, slack_connects, slack_messages, slack_users

STORED, ANSWERED = "stored", "answered"
LINKED, DECLINED = "linked", "declined"


class Connect(NamedTuple):
    """A link on its way: which Slack user asked for the code, and who wrote it on GitHub (`login`; None: nobody
    yet). `ended` is "linked" or "declined" once the Slack user said so; `answer_to` is where they asked."""

    code_hash: str
    team_id: str
    user_id: str
    user_name: str
    answer_to: str
    expires_at_s: float
    login: str | None = None
    proved_by: str | None = None
    ended: str | None = None
    ended_by: str | None = None


class SlackMessage(NamedTuple):
    """Our message about an incident in a channel; `ts` is Slack's name of it. `pending`: what was about to be
    posted and may have been."""

    incident_id: str
    channel: str
    channel_id: str | None
    ts: str | None
    said: str | None
    pending: str | None


class SlackMemory(Database):
    """The tables `slack_users`, `slack_connects` and `slack_messages`."""

    # --- who is who ---------------------------------------------------------------------------------

    def slack_login(self, team_id: str, user_id: str) -> str | None:
        """The GitHub login of a Slack user; None: not linked. May be repeated. Raises CannotStore."""
        query = sa.select(slack_users.c.login).where(_is_user(team_id, user_id))
        with self.reading() as connection:
            login: str | None = connection.execute(query).scalar_one_or_none()
        return login

    def forget_slack_user(self, team_id: str, user_id: str) -> bool:
        """Take a link away; whether there was one. May be repeated. Raises CannotStore."""
        with self.transaction() as connection:
            done = connection.execute(sa.delete(slack_users).where(_is_user(team_id, user_id)))
        return done.rowcount > 0

    def forget_slack_login(self, login: str) -> int:
        """Take away every link to a GitHub login, and those on their way; how many. May be repeated.
        Raises CannotStore."""
        with self.transaction() as connection:
            gone = connection.execute(
                sa.delete(slack_users).where(sa.func.lower(slack_users.c.login) == login.lower())
            )
            connection.execute(
                sa.delete(slack_connects).where(sa.func.lower(slack_connects.c.login) == login.lower())
            )
        return gone.rowcount

    # --- links on their way -------------------------------------------------------------------------

    def begin_connect(self, connect: Connect, now_s: float) -> None:
        """Remember a new code; older ones of the same Slack user stop to work. May be repeated: the same code
        again changes nothing. Raises CannotStore."""
        mine = sa.and_(
            slack_connects.c.team_id == connect.team_id, slack_connects.c.user_id == connect.user_id
        )
        old = sa.or_(mine, slack_connects.c.expires_at_s < now_s)
        values = {**connect._asdict(), "user_name": plain(connect.user_name)}
        with self.transaction() as connection:
            connection.execute(
                sa.delete(slack_connects).where(old, slack_connects.c.code_hash != connect.code_hash)
            )
            connection.execute(self.insert(slack_connects).values(values).on_conflict_do_nothing())

    def connect_of(self, code_hash: str) -> Connect | None:
        """The link on its way that a code belongs to. May be repeated. Raises CannotStore."""
        with self.reading() as connection:
            row = connection.execute(
                sa.select(slack_connects).where(slack_connects.c.code_hash == code_hash)
            ).first()
        return Connect(**row._mapping) if row is not None else None

    def prove_connect(self, code_hash: str, login: str, asked_id: str, now_s: float) -> Connect | None:
        """Note who wrote the code on GitHub: the first one does, and only in time. What stands then; None: there
        is no such code. May be repeated. Raises CannotStore."""
        unproved = sa.and_(
            slack_connects.c.code_hash == code_hash,
            slack_connects.c.login.is_(None),
            slack_connects.c.expires_at_s >= now_s,
        )
        with self.transaction() as connection:
            connection.execute(
                sa.update(slack_connects).where(unproved).values(login=plain(login), proved_by=asked_id)
            )
        return self.connect_of(code_hash)

    def end_connect(self, code_hash: str, ended: str, asked_id: str, now_s: float) -> Connect | None:
        """The Slack user's word: link ("linked") or not ("declined"); the first word counts, in time and once it
        is proved. What stands then. May be repeated. Raises CannotStore."""
        waits = sa.and_(
            slack_connects.c.code_hash == code_hash,
            slack_connects.c.login.is_not(None),
            slack_connects.c.ended.is_(None),
            slack_connects.c.expires_at_s >= now_s,
        )
        with self.transaction() as connection:
            done = connection.execute(
                sa.update(slack_connects)
                .where(waits)
                .values(ended=ended, ended_by=asked_id)
                .returning(slack_connects.c.team_id, slack_connects.c.user_id, slack_connects.c.login)
            ).first()
            if done is not None and ended == LINKED:
                insert = self.insert(slack_users).values(
                    team_id=done.team_id, user_id=done.user_id, login=done.login, linked_at_s=now_s
                )
                kept = {name: insert.excluded[name] for name in ("login", "linked_at_s")}
                connection.execute(
                    insert.on_conflict_do_update(index_elements=slack_users.primary_key, set_=kept)
                )
        return self.connect_of(code_hash)

    # --- messages and answers -----------------------------------------------------------------------

    def slack_message(self, incident_id: str, channel: str) -> SlackMessage | None:
        """Our message about an incident in a channel. May be repeated. Raises CannotStore."""
        columns = [slack_messages.c[name] for name in SlackMessage._fields]
        query = sa.select(*columns).where(
            slack_messages.c.incident_id == incident_id, slack_messages.c.channel == channel
        )
        with self.reading() as connection:
            row = connection.execute(query).first()
        return SlackMessage(**row._mapping) if row is not None else None

    def save_slack_message(self, message: SlackMessage, at_s: float) -> None:
        """Remember it as it stands now. May be repeated. Raises CannotStore."""
        insert = self.insert(slack_messages).values(**message._asdict(), at_s=at_s)
        kept = {name: insert.excluded[name] for name in ("channel_id", "ts", "said", "pending", "at_s")}
        with self.transaction() as connection:
            connection.execute(
                insert.on_conflict_do_update(index_elements=slack_messages.primary_key, set_=kept)
            )

    def claim_answer(self, delivery_id: str) -> bool:
        """Whether the answer to a delivery is still to be given, and by the caller now: nobody can look whether
        an ephemeral message was posted, so it is tried once. Raises CannotStore."""
        with self.transaction() as connection:
            done = connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.id == delivery_id, deliveries.c.outcome == STORED)
                .values(outcome=ANSWERED)
            )
        return done.rowcount > 0


def _is_user(team_id: str, user_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(slack_users.c.team_id == team_id, slack_users.c.user_id == user_id)
