"""The bot's own tables, the same on SQLite and PostgreSQL; the engine keeps its tables beside them.

Instants are seconds since the epoch (`…_at_s`, double precision). Migrations under bot/migrations build what
stands here; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

INSTANT = Float(53)
SEQUENCE = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only for a column of exactly INTEGER."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("event", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("received_at_s", INSTANT, nullable=False),
    Column("workflow_id", Text),
    Column("outcome", Text, nullable=False),
    Index(None, "received_at_s"),
)

services = Table(
    "services",
    metadata,
    Column("service", Text, primary_key=True),
    Column("plan", JSON, nullable=False),
    Column("guarded_at_s", INSTANT, nullable=False),
    Column("sampled_at_s", INSTANT, nullable=False),
)

deploys = Table(
    "deploys",
    metadata,
    Column("repository", Text, primary_key=True),
    Column("environment", Text, primary_key=True),
    Column("deploy_id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("sha", Text, nullable=False),
    Column("branch", Text),
    Column("url", Text),
    Column("source", Text, nullable=False),
    Column("workflow", Text),
    Column("status", Text, nullable=False),
    Column("started_at_s", INSTANT),
    Column("completed_at_s", INSTANT),
    Column("heard_at_s", INSTANT, nullable=False),
    Column("verdict", Text),
    Column("verdict_reason", Text),
    Column("judged_at_s", INSTANT),
    Index(None, "service", "completed_at_s"),
    Index(None, "service", "sha"),
    Index(None, "heard_at_s"),
)

samples = Table(
    "samples",
    metadata,
    Column("service", Text, primary_key=True),
    Column("at_s", INSTANT, primary_key=True),
    Column("sample", JSON, nullable=False),
    Index(None, "at_s"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("repository", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("deploy_id", Text, nullable=False),
    Column("sha", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("revert_sha", Text),
    Column("opened_at_s", INSTANT, nullable=False),
    Column("pushed_at_s", INSTANT),
    Column("closed_at_s", INSTANT),
    Column("document", JSON, nullable=False),
    Index(None, "opened_at_s"),
    Index(None, "repository", "opened_at_s"),
    Index(None, "repository", "revert_sha"),
    Index(None, "service", "pushed_at_s"),
)

incident_history = Table(
    "incident_history",
    metadata,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("incident_id", Text, ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False),
    Column("at_s", INSTANT, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index(None, "incident_id", "seq"),
)

switches = Table(
    "switches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("until_s", INSTANT),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("set_at_s", INSTANT, nullable=False),
    Column("place", Text, nullable=False, server_default=text("''")),
)

last_words = Table(
    "last_words",
    metadata,
    Column("name", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("second", BigInteger, nullable=False),
    Column("number", BigInteger),
    Column("request", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("turned_on", Integer, nullable=False),
    Column("was_on", Integer, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("once", Text, unique=True),
    Column("at_s", INSTANT, nullable=False),
    Column("who", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("repository", Text),
    Column("incident_id", Text),
    Index(None, "at_s"),
    Index(None, "incident_id"),
)

comments = Table(
    "comments",
    metadata,
    Column("incident_id", Text, primary_key=True),
    Column("repository", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("comment_id", Text, nullable=False),
    Column("url", Text, nullable=False, server_default=text("''")),
)

executors = Table(
    "executors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at_s", INSTANT, nullable=False),
    Column("beat_at_s", INSTANT, nullable=False),
    Index(None, "role", "beat_at_s"),
)

slack_users = Table(
    "slack_users",
    metadata,
    Column("team_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("login", Text, nullable=False),
    Column("linked_at_s", INSTANT, nullable=False),
    Index(None, "login"),
)

slack_connects = Table(
    "slack_connects",
    metadata,
    Column("code_hash", Text, primary_key=True),
    Column("team_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("user_name", Text, nullable=False),
    Column("answer_to", Text, nullable=False),
    Column("expires_at_s", INSTANT, nullable=False),
    Column("login", Text),
    Column("proved_by", Text),
    Column("ended", Text),
    Column("ended_by", Text),
    Index(None, "team_id", "user_id"),
)

slack_messages = Table(
    "slack_messages",
    metadata,
    Column("incident_id", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("channel_id", Text),
    Column("ts", Text),
    Column("said", Text),
    Column("pending", Text),
    Column("at_s", INSTANT, nullable=False),
)
