"""The tables can be built, taken down and built again on both databases, and are what bot/tables.py says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from bot.failures import BadSettings, BotFailure, CannotStore
from bot.migrations import VERSION_TABLE, current, migrate, newest, take_down
from bot.store_database import open_engine
from bot.tables import metadata


def _tables(database_url: str) -> set[str]:
    engine = open_engine(database_url)
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_up_down_and_up_again(database_url: str) -> None:
    assert current(database_url) is None
    migrate(database_url)
    assert current(database_url) == newest()
    assert set(metadata.tables) <= _tables(database_url)

    take_down(database_url)
    assert current(database_url) is None
    assert _tables(database_url) <= {VERSION_TABLE, "sqlite_sequence"}

    migrate(database_url)
    migrate(database_url)
    assert set(metadata.tables) <= _tables(database_url)


def test_the_migrations_build_exactly_what_the_code_expects(database_url: str) -> None:
    migrate(database_url)
    engine = open_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "compare_server_default": True,
                "include_object": lambda _o, name, kind, _r, _c: kind != "table" or name in metadata.tables,
            },
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_several_machines_may_release_at_once(database_url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(migrate, database_url) for _ in range(6)]:
            done.result()
    assert current(database_url) == newest()


def test_a_database_of_a_newer_release_is_refused_in_a_sentence(database_url: str) -> None:
    migrate(database_url)
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(CannotStore, match="newer release"):
        migrate(database_url)


@pytest.mark.parametrize(
    ("url", "failure", "says"),
    [
        ("not a url", BadSettings, "not a database address"),
        ("postgresql://localhost:port/x", BadSettings, "not a database address"),
        ("mysql://root@localhost/x", BadSettings, "cannot use"),
        ("sqlite:////proc/nowhere/rollback.db", CannotStore, "folder of the database"),
        ("postgresql://nobody@127.0.0.1:1/none", CannotStore, "did not answer"),
    ],
)
def test_an_address_that_cannot_work_is_a_sentence(url: str, failure: type[BotFailure], says: str) -> None:
    with pytest.raises(failure, match=says) as raised:
        migrate(url)
    assert "\n" not in raised.value.reason


def test_the_migrations_ship_with_the_package() -> None:
    import bot.migrations

    folder = Path(bot.migrations.__file__).parent
    assert (folder / "script.py.mako").exists()
    assert (folder / "versions" / "v0001_memory.py").exists()
