"""The inbox under a burst: few commits, one effect each, and nobody fails for another's sake."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from bot.engine_client import EngineClient
from bot.failures import CannotStore
from bot.inbox import Accepted, DeployCompleted, DeployStarted, DurableInbox
from bot.queues import guard_id, started_id
from bot.store import Store
from policies.facts import Deploy
from tests.patience import PATIENCE_S


@pytest.fixture
def store(either_store: Store) -> Store:
    return either_store


class PickyEngine:
    """The engine's door that does not take one deploy, and counts transactions."""

    def __init__(self, store: Store, refused: str = "") -> None:
        self._door = EngineClient(lambda: store.engine)
        self._refused = refused
        self.connections: set[int] = set()

    def enqueue(self, connection: sa.Connection, workflow: str, workflow_id: str, deploy: Deploy) -> None:
        self.connections.add(id(connection))
        if deploy.id == self._refused:
            raise CannotStore("The engine does not take this one.")
        self._door.enqueue(connection, workflow, workflow_id, deploy)


def _deploy(number: int) -> Deploy:
    return Deploy(str(number), "acme/x", "dev", "a" * 40, "main", None, "webhook", 1.0, 2.0)


def _accept_all(inbox: DurableInbox, numbers: list[int], threads: int = 16) -> list[Accepted | CannotStore]:
    gate = threading.Barrier(threads)

    def one(number: int) -> Accepted | CannotStore:
        if number < threads:
            gate.wait(timeout=PATIENCE_S)
        try:
            return inbox.accept(f"d-{number}", DeployCompleted(_deploy(number)), 3.0)
        except CannotStore as failure:
            return failure

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, numbers))


def _count(store: Store, table: str) -> int:
    schema = "dbos." if table == "workflow_status" and not store.on_sqlite else ""
    with store.reading() as connection:
        return int(connection.execute(sa.text(f"SELECT count(*) FROM {schema}{table}")).scalar_one())


def test_a_burst_is_stored_whole(store: Store) -> None:
    inbox = DurableInbox(store, PickyEngine(store))
    answers = _accept_all(inbox, list(range(300)))
    assert {(a.fresh, a.action) for a in answers if isinstance(a, Accepted)} == {(True, "guard")}
    assert [a.delivery_id for a in answers if isinstance(a, Accepted)] == [f"d-{n}" for n in range(300)]
    assert (_count(store, "deliveries"), _count(store, "deploys"), _count(store, "workflow_status")) == (
        300,
        300,
        300,
    )


def test_one_that_cannot_be_stored_does_not_take_its_neighbours_along(store: Store) -> None:
    answers = _accept_all(DurableInbox(store, PickyEngine(store, refused="7")), list(range(64)))
    failed = [number for number, answer in enumerate(answers) if isinstance(answer, CannotStore)]
    assert failed == [7]
    assert (_count(store, "deliveries"), _count(store, "workflow_status")) == (63, 63)
    assert store.delivery("d-7") is None


def test_of_copies_in_one_burst_one_is_fresh(store: Store) -> None:
    answers = _accept_all(DurableInbox(store, PickyEngine(store)), [5] * 48)
    assert [a.fresh for a in answers if isinstance(a, Accepted)].count(True) == 1
    assert len(answers) == 48
    assert _count(store, "workflow_status") == 1


def test_a_mistake_in_the_middle_is_nobody_s_acknowledgement(store: Store) -> None:
    class Broken:
        def enqueue(self, *_: object) -> None:
            raise ZeroDivisionError

    inbox = DurableInbox(store, Broken())
    with pytest.raises((ZeroDivisionError, CannotStore)):
        inbox.accept("d-1", DeployStarted(_deploy(1)), 3.0)
    assert _count(store, "deliveries") == 0
    assert DurableInbox(store, PickyEngine(store)).accept("d-1", DeployStarted(_deploy(1)), 3.0).fresh


def test_ids_are_the_same_whoever_tells_and_differ_for_every_deploy() -> None:
    def at(repository: str, environment: str, deploy_id: str) -> Deploy:
        return Deploy(deploy_id, repository, environment, "a" * 40, None, None, "webhook", None, 1.0)

    assert guard_id(at("a/b", "c", "1")) == guard_id(
        Deploy("1", "a/b", "c", "f" * 40, "main", "https://x.example", "deployment_status", 3.0, 4.0)
    )
    alike = [
        ("a/b", "c-d", "1"),
        ("a/b-c", "d", "1"),
        ("a/b", "c d", "1"),
        ("a/b", "c", "d-1"),
        ("a-b", "c", "d-1"),
    ]
    deploys = [at(*parts) for parts in alike]
    ids = {guard_id(deploy) for deploy in deploys} | {started_id(deploy) for deploy in deploys}
    assert len(ids) == 10
    assert all(len(one) < 160 and one.isascii() for one in ids)
    assert len(guard_id(at("o" * 100 + "/" + "r" * 100, "é" * 255, "x" * 128))) < 160
