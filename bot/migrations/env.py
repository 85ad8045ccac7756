"""Alembic's entry: runs the migrations in the transaction that `bot.migrations` opened and locked."""

from __future__ import annotations

from alembic import context

from bot.migrations import VERSION_TABLE
from bot.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
