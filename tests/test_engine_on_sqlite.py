"""The engine and the bot write to one SQLite file: in turn, and no turn is ever kept."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.engine_on_sqlite import open_for_engine
from bot.store_database import Database, writers_turn
from tests.patience import PATIENCE_S


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[sa.Engine, Database]]:
    url = f"sqlite:///{tmp_path}/rollback.db"
    engine, ours = open_for_engine(url), Database(url)
    with ours.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE steps (id INTEGER PRIMARY KEY)")
    yield engine, ours
    engine.dispose()
    ours.close()


def write(engine: sa.Engine, number: int) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO steps VALUES ({number})")


def is_free(ours: Database) -> bool:
    """Whether another thread would get the turn at once."""
    got: list[bool] = []

    def try_it() -> None:
        turn = writers_turn(ours.url)
        got.append(turn.acquire(blocking=False))
        if got[0]:
            turn.release()

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join(PATIENCE_S)
    return got == [True]


def test_the_engine_waits_for_our_transaction_and_readers_wait_for_nobody(
    both: tuple[sa.Engine, Database],
) -> None:
    engine, ours = both
    writing = threading.Thread(target=write, args=(engine, 1))
    with ours.transaction():
        writing.start()
        with engine.connect() as reader:
            assert reader.exec_driver_sql("SELECT count(*) FROM steps").scalar_one() == 0
        writing.join(0.3)
        assert writing.is_alive(), "it wrote into the middle of our transaction"
    writing.join(PATIENCE_S)
    assert not writing.is_alive() and is_free(ours)


def test_a_turn_is_given_back_however_the_transaction_ends(both: tuple[sa.Engine, Database]) -> None:
    engine, ours = both
    write(engine, 1)
    assert is_free(ours)
    with pytest.raises(sa.exc.IntegrityError):
        write(engine, 1)
    assert is_free(ours)
    with pytest.raises(RuntimeError), engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO steps VALUES (2)")
        assert not is_free(ours)
        raise RuntimeError("whoever writes may fail")
    assert is_free(ours)
    with engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO steps VALUES (3)")
        connection.invalidate()
    assert is_free(ours)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT id FROM steps").scalars().all() == [1]


def test_a_connection_that_is_only_collected_gives_its_turn_back_from_any_thread(
    both: tuple[sa.Engine, Database],
) -> None:
    engine, ours = both
    left: list[sa.Connection] = []

    def write_and_leave() -> None:
        connection = engine.connect()
        connection.exec_driver_sql("INSERT INTO steps VALUES (1)")
        left.append(connection)

    writer = threading.Thread(target=write_and_leave)
    writer.start()
    writer.join(PATIENCE_S)
    assert not is_free(ours)
    left.clear()
    gc.collect()
    assert is_free(ours)
    write(engine, 1)


def test_many_writers_lose_nothing_and_leave_the_turn_free(both: tuple[sa.Engine, Database]) -> None:
    engine, ours = both

    def some(first: int) -> None:
        for number in range(first, first + 20):
            if number % 2:
                write(engine, number)
            else:
                with ours.transaction() as connection:
                    connection.exec_driver_sql(f"INSERT INTO steps VALUES ({number})")

    threads = [threading.Thread(target=some, args=(100 * n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    with ours.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM steps").scalar_one() == 600
    assert is_free(ours)
