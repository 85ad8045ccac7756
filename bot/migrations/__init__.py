"""Builds the bot's tables and takes them down again, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from bot.failures import CannotStore
from bot.store_database import cannot_store, open_engine

VERSION_TABLE = "rollback_bot_version"
LOCK = 0x726F6C6C6261636B
"""Of PostgreSQL's advisory locks: several machines release at the same time."""

_ONE_AT_A_TIME = threading.Lock()
"""alembic keeps its operations in module globals, so two threads of one process would mix theirs."""


def migrate(database_url: str, revision: str = "head") -> None:
    """Bring the tables to `revision` (default: the newest). May be repeated. Raises CannotStore."""
    _run(database_url, revision, up=True)


def take_down(database_url: str, revision: str = "base") -> None:
    """Go back to `revision` (default: no tables at all, and nothing remembered). Raises CannotStore."""
    _run(database_url, revision, up=False)


def current(database_url: str) -> str | None:
    """The revision the database is at, None before the first. Raises CannotStore."""
    engine = open_engine(database_url)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            return context.get_current_revision()
    except sa.exc.SQLAlchemyError as error:
        raise cannot_store(error) from error
    finally:
        engine.dispose()


def newest() -> str | None:
    """The revision that this release's code expects."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _run(database_url: str, revision: str, *, up: bool) -> None:
    with _ONE_AT_A_TIME:
        _run_alone(database_url, revision, up=up)


def _run_alone(database_url: str, revision: str, *, up: bool) -> None:
    engine = open_engine(database_url)
    config = _config()
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(sa.text("SET lock_timeout = 0; SET statement_timeout = 0"))
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
            config.attributes["connection"] = connection
            (command.upgrade if up else command.downgrade)(config, revision)
            connection.commit()
    except sa.exc.SQLAlchemyError as error:
        raise cannot_store(error) from error
    except CommandError as error:
        raise CannotStore(
            f"The database cannot be migrated to {revision}: {error}. A newer release may have migrated it; "
            "run that release's `rollback-bot migrate` instead."
        ) from None
    finally:
        engine.dispose()
