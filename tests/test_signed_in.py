"""Tokens are there before anybody asks: renewed in time, the newest repositories first, and nothing waits for it."""

from __future__ import annotations

import threading

import pytest

from bot.conversation import GitHubConversation
from bot.failures import CannotReachForge, CannotStore
from bot.signed_in import MOST_REPOSITORIES, SignedIn
from tests.github_stand_in import Scene, scene
from tests.patience import PATIENCE_S

__all__ = ["scene"]
NOW_S = 1_800_000_000.0


class Book:
    """Which services deployed when."""

    def __init__(self, deployed: dict[str, float] | CannotStore) -> None:
        self.deployed = deployed
        self.asked: list[float] = []

    def newest_completed(self, since_s: float) -> dict[str, float]:
        self.asked.append(since_s)
        if isinstance(self.deployed, CannotStore):
            raise self.deployed
        return {service: at_s for service, at_s in self.deployed.items() if at_s >= since_s}


class Access:
    """A sign-in that knows all repositories but one."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.identities = 0

    def identity(self) -> tuple[str, str, str]:
        self.identities += 1
        return "bot", "bot@example.com", "bot"

    def credentials(self, full_name: str) -> tuple[str, str]:
        self.got.append(full_name)
        if full_name == "acme/gone":
            raise CannotReachForge("It is not installed there.")
        return "x", "y"


def test_the_newest_are_first_each_once_and_one_that_is_gone_stops_nobody() -> None:
    access = Access()
    days = 86_400.0
    deployed = {
        "acme/a:develop": NOW_S - 3,
        "acme/gone:main": NOW_S - 2,
        "acme/b:eu/west": NOW_S - 1,
        "acme/a:production": NOW_S - 9,
        "acme/old:main": NOW_S - 31 * days,
    }
    assert SignedIn(access, Book(deployed), now=lambda: NOW_S).renew() == 2
    assert access.got == ["acme/b", "acme/gone", "acme/a"] and access.identities == 1


def test_there_is_a_bound_to_how_many() -> None:
    access = Access()
    many = {f"acme/r{n}:main": NOW_S - n for n in range(200)}
    assert SignedIn(access, Book(many), now=lambda: NOW_S).renew() == MOST_REPOSITORIES
    assert access.got[0] == "acme/r0"


def test_the_first_command_then_pays_one_request(scene: Scene) -> None:
    comment = scene.github.activity.comment(
        scene.repository, scene.pull, scene.github.user("dana"), "/rollback status"
    )
    assert SignedIn(scene.access, Book({"acme/stagelog:develop": NOW_S}), now=lambda: NOW_S).renew() == 1
    before = len(scene.github.requests)
    GitHubConversation(scene.access).react("acme/stagelog", comment.id, "eyes")
    assert [method for method, _, _ in scene.github.requests[before:]] == ["POST"]


@pytest.mark.parametrize("trouble", ["github", "database"])
def test_trouble_neither_ends_the_thread_nor_is_waited_for(trouble: str) -> None:
    tried = threading.Semaphore(0)

    class Away(Access):
        def identity(self) -> tuple[str, str, str]:
            tried.release()
            if trouble == "github":
                raise CannotReachForge("GitHub is away.")
            return super().identity()

    thread = SignedIn(Away(), Book(CannotStore("The database is away.")))
    thread.start()
    assert tried.acquire(timeout=PATIENCE_S)
    assert thread.is_alive()
    thread.stop()
    thread.join(timeout=PATIENCE_S)
    assert not thread.is_alive()
