"""What thousands of watches share: one writer of samples, one look for newer deploys, one view of the siblings."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.background import AT_ONCE, Background
from bot.deploy_news import WINDOW_S, DeployNews
from bot.failures import CannotReadHealth, CannotStore
from bot.sample_writer import HELD, Row, SampleWriter
from bot.shared_reads import SharedReads
from bot.siblings import FRESH_FOR_S, Siblings
from bot.store import Store
from policies.facts import Deploy, HealthSample, ProbeSample
from policies.limits import Plan
from policies.seen_samples import SeenSamples
from tests.facts_strategies import facts
from tests.fakes import DEPLOY, PLAN
from tests.patience import PATIENCE_S

GOOD = HealthSample(0.0, ProbeSample(3, 0, 200))
BAD = HealthSample(0.0, ProbeSample(0, 3, 502))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


# --- one writer -----------------------------------------------------------------------------------


@dataclass
class Table:
    """Keeps what it is given, unless it is away; a write may be held up."""

    writes: list[list[Row]] = field(default_factory=list)
    away: bool = False
    go_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.go_on.set()

    def add_samples_of_many(self, samples: list[Row]) -> None:
        assert self.go_on.wait(PATIENCE_S)
        if self.away:
            raise CannotStore("The database is away.")
        self.writes.append(list(samples))

    @property
    def stored(self) -> list[str]:
        return [service for rows in self.writes for service, _at_s, _sample in rows]


async def test_what_comes_during_a_write_shares_the_next_one() -> None:
    table = Table()
    table.go_on.clear()
    writer = SampleWriter(table)
    first = asyncio.create_task(writer.keep("first", 1.0, GOOD))
    await until(lambda: writer._writing is not None and not writer._next)
    others = [asyncio.create_task(writer.keep(f"other-{n}", 1.0, GOOD)) for n in range(500)]
    await asyncio.sleep(0.05)
    assert not first.done() and not any(other.done() for other in others)
    table.go_on.set()
    await asyncio.gather(first, *others)
    assert [len(rows) for rows in table.writes] == [1, 500]


async def test_a_watch_goes_on_without_its_database_and_nothing_of_it_is_lost() -> None:
    table = Table(away=True)
    writer = SampleWriter(table)
    await writer.keep("a", 1.0, BAD)
    await writer.keep("a", 2.0, BAD)
    assert table.writes == []
    table.away = False
    await writer.keep("a", 3.0, GOOD)
    assert [at_s for rows in table.writes for _service, at_s, _sample in rows] == [1.0, 2.0, 3.0]


async def test_a_long_outage_costs_the_oldest_samples_and_not_the_memory() -> None:
    table = Table(away=True)
    writer = SampleWriter(table)
    await asyncio.gather(*(writer.keep(f"{n}", 1.0, BAD) for n in range(HELD + 500)))
    table.away = False
    await writer.keep("last", 2.0, GOOD)
    assert len(table.stored) == HELD + 1 and table.stored[-1] == "last"


async def test_a_watch_that_is_cancelled_takes_no_one_s_sample_with_it() -> None:
    table = Table()
    table.go_on.clear()
    writer = SampleWriter(table)
    cancelled, kept = (asyncio.create_task(writer.keep(name, 1.0, GOOD)) for name in ("cancelled", "kept"))
    await until(lambda: writer._writing is not None and not writer._next)
    cancelled.cancel()
    table.go_on.set()
    await kept
    assert cancelled.cancelled() or cancelled.cancelling()
    assert sorted(table.stored) == ["cancelled", "kept"]


# --- newer deploys --------------------------------------------------------------------------------


@dataclass
class Past:
    """What the database knows of deploys, and how often it was asked."""

    newest: dict[str, float] = field(default_factory=dict)
    newer_sha: str | None = None
    looks: int = 0
    asked: list[str] = field(default_factory=list)

    def newest_completed(self, since_s: float) -> dict[str, float]:
        self.looks += 1
        return self.newest

    def superseded_by(self, deploy: Deploy) -> str | None:
        self.asked.append(deploy.service)
        return self.newer_sha

    def revert_deployed_at(self, incident: object, plan: Plan) -> float | None:
        return 7.0


def deploy_of(service: str, completed_at_s: float) -> Deploy:
    return replace(DEPLOY, repository=f"acme/{service}", completed_at_s=completed_at_s)


async def test_one_look_at_the_database_tells_all_watches_that_nothing_is_newer() -> None:
    past, now_s = Past(), [1000.0]
    news = DeployNews(past, past, now=lambda: now_s[0])
    deploys = [deploy_of(f"service-{n}", 900.0) for n in range(200)]
    answers = await asyncio.gather(*(news.superseded_by(deploy) for deploy in deploys))
    assert set(answers) == {None} and past.looks == 1 and past.asked == []
    now_s[0] += 4.9
    await news.superseded_by(deploys[0])
    assert past.looks == 1
    now_s[0] += 0.2
    await news.superseded_by(deploys[0])
    assert past.looks == 2


async def test_only_the_watch_with_a_newer_deploy_asks_which_one_it_is() -> None:
    past = Past(newer_sha="f" * 40)
    old, other = deploy_of("old", 900.0), deploy_of("other", 900.0)
    past.newest = {old.service: 950.0, other.service: 900.0}
    news = DeployNews(past, past, now=lambda: 1000.0)
    assert await news.superseded_by(other) is None
    assert await news.superseded_by(old) == "f" * 40
    assert past.asked == [old.service]


async def test_before_a_deploy_is_blamed_nothing_remembered_counts() -> None:
    past = Past()
    deploy = deploy_of("service", 900.0)
    news = DeployNews(past, past, now=lambda: 1000.0)
    assert await news.superseded_by(deploy) is None
    past.newer_sha = "f" * 40  # it came right after that look
    assert await news.superseded_by(deploy) is None
    assert await news.superseded_by(deploy, right_now=True) == "f" * 40


async def test_a_deploy_older_than_the_common_look_is_asked_for_by_itself() -> None:
    past = Past()
    news = DeployNews(past, past, now=lambda: 1000.0 + WINDOW_S)
    assert await news.superseded_by(deploy_of("ancient", 900.0)) is None
    assert past.looks == 0 and past.asked == ["acme/ancient:develop"]
    assert news.revert_deployed_at(None, PLAN) == 7.0  # type: ignore[arg-type]


async def test_a_clock_put_back_does_not_stop_the_news() -> None:
    past, now_s = Past(), [5000.0]
    news = DeployNews(past, past, now=lambda: now_s[0])
    deploy = deploy_of("service", 4900.0)
    await news.superseded_by(deploy)
    now_s[0] = 4950.0
    await news.superseded_by(deploy)
    assert past.looks == 2


# --- siblings -------------------------------------------------------------------------------------


@dataclass
class Latest:
    """The newest sample of each service, and since when it was asked for."""

    samples: dict[str, HealthSample] = field(default_factory=dict)
    away: bool = False
    since_s: list[float] = field(default_factory=list)

    def latest_samples(self, since_s: float) -> Iterator[tuple[str, HealthSample]]:
        self.since_s.append(since_s)
        if self.away:
            raise CannotStore("The database is away.")
        yield from self.samples.items()


async def test_the_share_of_bad_siblings_leaves_oneself_out() -> None:
    latest = Latest({"a": BAD, "b": BAD, "c": GOOD, "d": GOOD, "blind": HealthSample(0.0, error="no DNS")})
    siblings = Siblings(latest, now=lambda: 1000.0)
    assert await siblings.bad_share("a") == pytest.approx(1 / 3)
    assert await siblings.bad_share("c") == pytest.approx(2 / 3)
    assert await siblings.bad_share("somebody new") == pytest.approx(2 / 4)
    assert latest.since_s == [1000.0 - FRESH_FOR_S]


async def test_without_siblings_or_without_a_database_nothing_is_claimed() -> None:
    assert await Siblings(Latest({"a": BAD}), now=lambda: 1000.0).bad_share("a") is None
    assert await Siblings(Latest({"a": BAD, "b": BAD}, away=True), now=lambda: 1000.0).bad_share("a") is None


async def test_what_was_seen_before_an_outage_of_the_database_is_not_told_for_ever() -> None:
    latest, now_s = Latest({"a": BAD, "b": BAD}), [1000.0]
    siblings = Siblings(latest, now=lambda: now_s[0])
    assert await siblings.bad_share("a") == 1.0
    latest.away = True
    now_s[0] += 60.0
    assert await siblings.bad_share("a") is None


async def test_one_read_serves_all_guards_for_a_while() -> None:
    latest, now_s = Latest({"a": BAD, "b": GOOD}), [1000.0]
    siblings = Siblings(latest, now=lambda: now_s[0])
    await asyncio.gather(*(siblings.bad_share(f"{n}") for n in range(100)))
    now_s[0] += 9.0
    await siblings.bad_share("a")
    assert len(latest.since_s) == 1
    now_s[0] += 2.0
    await siblings.bad_share("a")
    assert len(latest.since_s) == 2


# --- what a watch keeps ---------------------------------------------------------------------------


@given(st.lists(facts(HealthSample), max_size=8).map(tuple))
@settings(max_examples=50)
def test_a_watch_remembers_its_samples_as_they_were(samples: tuple[HealthSample, ...]) -> None:
    seen = SeenSamples()
    for sample in samples:
        seen.add(sample)
    for count in (0, 1, 3, len(samples), len(samples) + 5):
        assert seen.latest(count) == samples[max(0, len(samples) - count) :]
    assert len(seen) == len(samples)


def test_polls_that_say_the_same_are_kept_once() -> None:
    seen = SeenSamples()
    for n in range(1000):
        seen.add(HealthSample(float(n), ProbeSample(3, 0, 200), siblings_bad=0.25))
    assert len(seen._kinds) == 1
    seen.add(HealthSample(1000.0, ProbeSample(2, 1, 503)))
    seen.add(HealthSample(1001.0, ProbeSample(3, 0, 200)))
    assert [(one.t_s, one.probe) for one in seen.latest(3)] == [
        (999.0, ProbeSample(3, 0, 200)),
        (1000.0, ProbeSample(2, 1, 503)),
        (1001.0, ProbeSample(3, 0, 200)),
    ]


# --- shared reads ---------------------------------------------------------------------------------


async def test_a_fresh_reading_serves_everyone_be_it_an_answer_or_a_failure() -> None:
    now_s, calls = [0.0], []

    def read() -> str:
        calls.append(now_s[0])
        if len(calls) == 1:
            return "well"
        raise CannotReadHealth("AWS is away.")

    reads: SharedReads[str, str] = SharedReads("test", 2, lambda: now_s[0])
    try:
        assert await asyncio.gather(*(reads.get("group", 9.0, read) for _ in range(20))) == ["well"] * 20
        now_s[0] = 8.9
        assert await reads.get("group", 9.0, read) == "well" and len(calls) == 1
        now_s[0] = 9.1
        for _ in range(3):
            with pytest.raises(CannotReadHealth):
                await reads.get("group", 9.0, read)
        assert len(calls) == 2
    finally:
        reads.close()


# --- between deploys ------------------------------------------------------------------------------


@dataclass
class Looking:
    """Fills the part of `Eyes` that looks; every service is well."""

    looks: int = 0

    async def look(self, plan: Plan, t_s: float) -> HealthSample:
        self.looks += 1
        return GOOD


def rounds(store: Store, looking: Looking, now_s: float) -> Background:
    return Background(looking, store, store, every_s=60.0, now=lambda: now_s)  # type: ignore[arg-type]


async def test_a_service_is_looked_at_once_a_minute_between_its_deploys(store: Store) -> None:
    now_s = time.time()
    store.note_service("a", PLAN, now_s - 61)
    store.note_service("b", PLAN, now_s - 30)
    assert await rounds(store, Looking(), now_s).round() == 1
    assert await rounds(store, Looking(), now_s + 1).round() == 0
    assert [at_s for at_s, _sample in store.samples("a", 0.0)] == [now_s]
    assert store.samples("b", 0.0) == ()


async def test_a_service_under_guard_is_not_looked_at_besides(store: Store) -> None:
    now_s = time.time()
    for name in ("guarded", "quiet"):
        store.note_service(name, PLAN, now_s - 300)
    store.add_samples("guarded", [(now_s - 5, GOOD)])
    looking = Looking()
    assert await rounds(store, looking, now_s).round() == 1 and looking.looks == 1
    assert store.samples("quiet", now_s) != () and store.samples("guarded", now_s) == ()


async def test_many_under_guard_do_not_starve_the_others(store: Store) -> None:
    now_s = time.time()
    for n in range(3 * AT_ONCE):
        store.note_service(f"guarded-{n:03}", PLAN, now_s - 400)
        store.add_samples(f"guarded-{n:03}", [(now_s - 5, GOOD)])
    for n in range(AT_ONCE + 5):
        store.note_service(f"quiet-{n:03}", PLAN, now_s - 300)
    looking = Looking()
    background = rounds(store, looking, now_s)
    assert [await background.round() for _ in range(3)] == [AT_ONCE, 5, 0]
    assert looking.looks == AT_ONCE + 5
