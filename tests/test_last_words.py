"""The last word on a switch stands whatever arrives when, and the last look before a push hears it."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from bot.acting import Hands
from bot.comments import incident_comment
from bot.desk import word_of
from bot.guard import guard
from bot.migrations import migrate
from bot.repository import GitRepositories
from bot.store import Said, Store, SwitchName, Word
from policies.eligibility import BOT, why_not_push
from policies.facts import (
    Action,
    IncidentState,
    PersonOrder,
    Rails,
    Reverted,
    RevertOutcome,
    RollbackOrder,
    Switch,
)
from tests.command_worlds import asked
from tests.command_worlds import order as an_order
from tests.fakes import DEPLOY, PLAN, PULL_REQUEST, PUSHED, WELL, FakeWorld
from tests.git_histories import History
from tests.test_reverting import history, order, repositories

__all__ = ["history", "repositories"]
SERVICE = DEPLOY.service
T0 = DEPLOY.completed_at_s


@pytest.fixture
def store(either_store: Store) -> Store:
    return either_store


def say(store: Store, verb: str, word: Word) -> Said | bool | None:
    if verb == "hold":
        return store.set_switch("hold", SERVICE, actor=word.actor, reason="", now_s=word.at_s, word=word)
    return store.lift_switch("hold", SERVICE, word, T0 + 1000)


def is_on(store: Store) -> bool:
    return bool(store.switches(SERVICE, None, T0 + 1000))


# --- switches ---------------------------------------------------------------------------------------

STORY = [
    ("hold", Word(T0 + 1, "lee", "c-1", 101)),
    ("resume", Word(T0 + 2, "dana", "c-2", 102)),
    ("hold", Word(T0 + 2, "lee", "c-3", 103)),
    ("resume", Word(T0 + 9, "dana", "c-4", 104)),
]


@pytest.mark.parametrize("length", [2, 3, 4])
def test_in_whatever_order_words_arrive_the_last_one_stands(store: Store, length: int) -> None:
    story = STORY[:length]
    for number, heard in enumerate(itertools.permutations(story)):
        target = f"{SERVICE}-{number}"
        for verb, word in heard:
            if verb == "hold":
                store.set_switch("hold", target, actor=word.actor, reason="", now_s=word.at_s, word=word)
            else:
                store.lift_switch("hold", target, word, T0 + 1000)
        found = store.switches(target, None, T0 + 1000)
        assert bool(found) is (story[-1][0] == "hold"), heard


def test_whoever_is_overtaken_is_told_by_whom_and_when(store: Store) -> None:
    resume = Word(T0 + 2, "dana", "c-2", 102)
    assert say(store, "resume", resume) is False
    assert say(store, "hold", Word(T0 + 1, "lee", "c-1", 101)) == Said(T0 + 2, "dana", False)
    assert not is_on(store)


def test_a_word_that_is_carried_out_twice_gets_the_same_answer(store: Store) -> None:
    hold, resume = Word(T0, "lee", "c-1", 101), Word(T0, "dana", "c-2", 102)
    assert [say(store, "hold", hold), say(store, "hold", hold)] == [None, None]
    assert [say(store, "resume", resume), say(store, "resume", resume)] == [True, True]
    assert say(store, "hold", hold) == Said(T0, "dana", False), "a step that died long ago and runs again"
    assert not is_on(store)


def test_words_without_a_number_in_the_same_second_count_as_they_arrive(store: Store) -> None:
    say(store, "hold", Word(T0 + 0.9, "lee", "slack-1"))
    assert say(store, "resume", Word(T0 + 0.1, "dana", "c-2", 102)) is True
    assert not is_on(store)


def test_switches_know_nothing_of_each_other_s_words(store: Store) -> None:
    say(store, "resume", Word(T0 + 50, "dana", "c-2", 102))
    late = Word(T0 + 1, "lee", "c-1", 101)
    assert store.set_switch("kill", "acme/stagelog", actor="lee", reason="", now_s=T0, word=late) is None
    assert store.set_switch("hold", f"{SERVICE}-2", actor="lee", reason="", now_s=T0, word=late) is None


def test_what_the_terminal_says_counts_as_well(store: Store) -> None:
    store.set_switch(SwitchName.HOLD, SERVICE, actor="root", reason="", now_s=T0 + 10)
    assert say(store, "resume", Word(T0 + 5, "dana", "c-2", 102)) == Said(float(int(T0 + 10)), "root", True)
    store.end_switch(SwitchName.HOLD, SERVICE, T0 + 20, "root")
    assert say(store, "hold", Word(T0 + 15, "lee", "c-3", 103)) == Said(float(int(T0 + 20)), "root", False)


def test_many_at_once_leave_the_last_word(store: Store) -> None:
    words = [(("hold", "resume")[n % 2], Word(T0 + n, "lee", f"c-{n}", n)) for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(say, store, verb, word) for verb, word in reversed(words)]:
            done.result()
    assert not is_on(store)
    say(store, "hold", Word(T0 + 20, "lee", "c-20", 20))
    assert is_on(store)


def test_a_resume_lifts_the_hold_that_was_being_written_while_it_looked(store: Store) -> None:
    for n in range(0, 40, 2):
        together = threading.Barrier(2)

        def at_once(verb: str, word: Word, together: threading.Barrier = together) -> Said | bool | None:
            together.wait(60)
            return say(store, verb, word)

        with ThreadPoolExecutor(2) as pool:
            held = pool.submit(at_once, "hold", Word(T0 + n, "lee", f"c-{n}", n))
            resumed = pool.submit(at_once, "resume", Word(T0 + n + 1, "dana", f"c-{n + 1}", n + 1))
            resumed.result()
            held.result()
        assert not is_on(store), f"round {n}"


def test_a_comment_is_a_word_with_its_id_and_its_time() -> None:
    request = asked("/rollback hold", "lee", comment=7001, at_s=T0)
    assert word_of(request) == Word(T0, "lee", "github:acme/stagelog:comment-7001", 7001)
    assert word_of(replace(request, place="slack", answer_to="https://hooks.example/7")).number is None


# --- the last look ------------------------------------------------------------------------------------

BY_BOT = replace(an_order(), ordered_by=BOT)


@pytest.mark.parametrize(
    ("order_", "name", "stops"),
    [
        (BY_BOT, "hold", True),
        (BY_BOT, "kill", True),
        (BY_BOT, "freeze", True),
        (an_order("dana"), "hold", True),
        (an_order("dana"), "kill", True),
        (an_order("dana"), "freeze", False),
    ],
)
def test_a_switch_stops_the_push_whom_it_would_have_stopped_before(
    order_: RollbackOrder, name: str, stops: bool
) -> None:
    on = (Switch(name, True, "lee: an incident", T0 + 60),)
    assert (why_not_push(order_, on, T0) is not None) is stops
    assert why_not_push(order_, on, T0 + 60) is None, "its time is up"
    assert why_not_push(order_, (replace(on[0], on=False),), T0) is None


def merged(history: History) -> str:
    history.switch("feature", "develop")
    history.commit("Add uploads", {"uploads.py": "a\n"})
    history.switch("develop")
    merge = history.merge("feature")
    history.push()
    return merge


def hands(repositories: GitRepositories, store: Any) -> Hands:
    unused: Any = None
    return Hands(
        repository=repositories, pull_requests=unused, deployments=unused, evidence=unused, memory=store
    )


@pytest.mark.parametrize("method", ["push", "pull_request"])
@pytest.mark.parametrize("how", ["hold", "cancel", "unreadable"])
async def test_what_people_say_until_the_very_push_is_heard(
    history: History, repositories: GitRepositories, sqlite_url: str, how: str, method: str
) -> None:
    merge = merged(history)
    ordered = replace(order(history, merge), method=method)
    service = f"{ordered.repository}:{ordered.environment}"
    migrate(sqlite_url)
    store = Store(sqlite_url if how != "unreadable" else "sqlite:////proc/nowhere/rollback.db")
    if how == "hold":
        store.set_switch("hold", service, actor="lee", reason="wait", now_s=T0)
    elif how == "cancel":
        store.say_cancel(ordered.incident_id, Word(T0, "lee", "c-1", 1))
    before = history.remote_refs()
    if how == "unreadable":
        # Whether it was cancelled cannot be read: that is a failure of ours, and nothing is pushed.
        with pytest.raises(Exception, match="folder of the database"):
            await hands(repositories, store).revert(ordered)
    else:
        stopped = await hands(repositories, store).revert(ordered)
        assert stopped.outcome is RevertOutcome.STOPPED and stopped.revert_sha is None
        said = {"hold": "this service is on hold (lee: wait)", "cancel": "lee cancelled it"}[how]
        assert stopped.reason == said
    assert history.remote_refs() == before


async def test_what_was_pushed_already_is_found_whatever_was_said_since(
    history: History, repositories: GitRepositories, sqlite_url: str
) -> None:
    merge = merged(history)
    ordered = order(history, merge)
    migrate(sqlite_url)
    store = Store(sqlite_url)
    first = await hands(repositories, store).revert(ordered)
    assert first.outcome is RevertOutcome.REVERTED
    service = f"{ordered.repository}:{ordered.environment}"
    store.set_switch("hold", service, actor="lee", reason="wait", now_s=T0)
    again = await hands(repositories, store).revert(ordered)
    assert again.revert_sha == first.revert_sha or again.commits == first.commits
    assert again.outcome is not RevertOutcome.STOPPED


# --- the guard's story -------------------------------------------------------------------------------

STOPPED = Reverted(RevertOutcome.STOPPED, "this service is on hold (lee: wait)")
HELD = Rails(deployed_sha_now=DEPLOY.sha, switches=(Switch("hold", True, "lee: wait"),))


class Stopped(FakeWorld):
    """A hold that comes after the decision, and is lifted or not."""

    async def revert(self, order: RollbackOrder) -> Reverted:
        self.orders.append(order)
        return STOPPED if len(self.orders) == 1 else PUSHED


async def test_a_hold_between_the_decision_and_the_push_holds_the_incident() -> None:
    free = Rails(deployed_sha_now=DEPLOY.sha)
    world = Stopped(rails_=[free, HELD])
    said = await guard(DEPLOY, world)
    assert "this service is on hold" in said and len(world.orders) == 1
    assert world.told[-1].state is IncidentState.HELD and world.told[-1].pushed_at_s is None
    told = next(one for one in world.told if one.state is IncidentState.HELD)
    assert told.decision is not None and told.decision.action is Action.HOLD
    assert told.reason == (
        "I had decided to roll back, but before the push this service is on hold (lee: wait): nothing was pushed."
    )
    assert world.frozen == [], "nothing failed, so nothing is frozen"
    body = incident_comment(told, PLAN, None, False, PULL_REQUEST)
    assert "lift what stops me: `/rollback resume`" in body and "I ask here for a decision" not in body


async def test_once_the_hold_is_lifted_a_service_that_still_fails_is_rolled_back() -> None:
    world = Stopped()
    await guard(DEPLOY, world)
    assert len(world.orders) == 2 and world.told[-1].state is IncidentState.RECOVERED


async def test_a_service_that_recovers_while_it_is_held_is_left_alone() -> None:
    world = Stopped(answers=[WELL])
    assert (await guard(DEPLOY, world)).startswith("The service recovered without a rollback.")
    assert len(world.orders) == 1


async def test_a_cancel_heard_at_the_push_ends_it_as_cancelled() -> None:
    cancel = PersonOrder("cancel", "dana", T0 + 140, id="comment-7")

    class Cancelled(FakeWorld):
        async def revert(self, order: RollbackOrder) -> Reverted:
            self.mail.append(cancel)
            return Reverted(RevertOutcome.STOPPED, "dana cancelled it")

    world = Cancelled()
    assert await guard(DEPLOY, world) == "Cancelled by dana before anything was pushed."
    assert world.told[-1].state is IncidentState.CLOSED and world.told[-1].person == cancel
