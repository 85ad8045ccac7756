"""AWS throttles the bot, over the wire: reads become rarer, polls say so, nobody is blamed, and it passes."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.stand_ins import THROTTLED, StandIns, stand_ins
from bot.aws import AwsClients
from bot.failures import CannotReadHealth
from bot.shared_reads import PATIENCE_S as KEPT_S
from bot.shared_reads import SharedReads
from bot.store import Store
from bot.target_health import READ_AT_MOST_S, AlbTargetHealth
from bot.watching import Eyes
from policies.facts import Baseline, Health, HealthSample, ProbeSample
from policies.limits import HealthLimits
from tests.fakes import DEPLOY, PLAN
from tests.patience import PATIENCE_S
from tests.test_watching import Outside

LIMITS = HealthLimits(
    interval_s=0.2,
    watch_for_s=3.0,
    budget_s=0.6,
    budget_before_first_good_s=0.6,
    budget_with_crash_s=0.4,
    first_good_after_s=0.4,
)
ONLY_TARGETS = replace(PLAN, url=None, target_groups=("web",), health=LIMITS)


@pytest.fixture(scope="module")
def aws() -> Iterator[StandIns]:
    with stand_ins() as outside:
        yield outside


@pytest.fixture
def target_health(aws: StandIns, monkeypatch: pytest.MonkeyPatch) -> Iterator[AlbTargetHealth]:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in (("ENDPOINT_URL", aws.url), ("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(f"AWS_{name}", value)
    aws.throttle(0.0)
    reader = AlbTargetHealth(AwsClients(region="eu-central-1", attempts=2))
    yield reader
    reader.close()


def eyes_on(target_health: object, store: Store, outside: Outside) -> Eyes:
    return Eyes(
        repository=outside,  # type: ignore[arg-type]
        pull_requests=outside,  # type: ignore[arg-type]
        probe=outside,
        target_health=target_health,  # type: ignore[arg-type]
        traffic=outside,
        evidence=outside,
        samples=store,
        history=outside,
        siblings=outside,
    )


async def test_throttling_is_unknown_and_never_unhealthy_and_passes(
    aws: StandIns, target_health: AlbTargetHealth, store: Store
) -> None:
    eyes = eyes_on(target_health, store, Outside())
    assert (await eyes.look(ONLY_TARGETS, 0.0)).targets, "the stand-in must answer before it is throttled"
    aws.throttle(1.0)
    now_s = time.time()
    deploy = replace(DEPLOY, started_at_s=now_s - 1, completed_at_s=now_s)
    watched = await eyes.watch(deploy, ONLY_TARGETS, Baseline((), ""))
    assert watched.health is Health.UNKNOWN, watched.verdict.reason
    assert all(sample.targets is None for sample in watched.samples[1:])
    said = {sample.error for sample in watched.samples if sample.error}
    assert any("throttled" in error for error in said), said
    aws.throttle(0.0)
    async with asyncio.timeout(PATIENCE_S):
        while not (await eyes.look(ONLY_TARGETS, 0.0)).targets:
            await asyncio.sleep(0.2)


async def test_a_site_that_answers_is_judged_by_its_answers_while_aws_throttles(
    aws: StandIns, target_health: AlbTargetHealth, store: Store
) -> None:
    outside = Outside()
    both = replace(ONLY_TARGETS, url="https://stagelog.example/")
    eyes = eyes_on(target_health, store, outside)
    aws.throttle(1.0)
    good = await eyes.look(both, 0.0)
    assert good.probe == ProbeSample(3, 0, 200) and good.targets is None and "throttled" in str(good.error)
    outside.probe_answer = ProbeSample(0, 3, 502)
    now_s = time.time()
    deploy = replace(DEPLOY, started_at_s=now_s - 1, completed_at_s=now_s)
    watched = await eyes.watch(deploy, both, Baseline((HealthSample(-1.0, ProbeSample(3, 0, 200)),), "seen"))
    assert watched.health is Health.UNHEALTHY, "the site itself said so"


@pytest.mark.long
async def test_throttled_reads_become_rarer_by_themselves(
    aws: StandIns, target_health: AlbTargetHealth
) -> None:
    def calls() -> int:
        return sum(count for action, count in aws.calls().items() if action != THROTTLED)

    async def asked_in(seconds: float) -> int:
        before, until_s = calls(), time.monotonic() + seconds
        while time.monotonic() < until_s:
            groups = [replace(ONLY_TARGETS, target_groups=(f"web-{n}",)) for n in range(40)]
            reads = asyncio.gather(*(target_health.read(plan) for plan in groups), return_exceptions=True)
            await asyncio.wait({reads}, timeout=max(0.0, until_s - time.monotonic()))
            await asyncio.sleep(0.05)
        return calls() - before

    free = await asked_in(3.0)
    aws.throttle(1.0)
    throttled = await asked_in(6.0)
    aws.throttle(0.0)
    assert throttled < free, f"{throttled} calls in 6 s while throttled, {free} in 3 s before"


# --- an API that is only slow ---------------------------------------------------------------------


async def test_a_poll_is_not_made_late_by_an_aws_that_does_not_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch, target_health: AlbTargetHealth
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        reader = AlbTargetHealth(AwsClients(region="eu-central-1", attempts=1))
        try:
            eyes = eyes_on(reader, store, Outside())
            sample = await eyes.look(replace(ONLY_TARGETS, url="https://stagelog.example/"), 0.0)
        finally:
            reader.close()
    assert sample.probe == ProbeSample(3, 0, 200) and sample.targets is None
    assert sample.error == (
        f"AWS kept us waiting for target health for more than {READ_AT_MOST_S:g} s; the next poll looks again."
    )


async def test_the_last_answer_serves_while_the_next_one_is_slow_but_not_for_ever() -> None:
    now_s, go_on = [0.0], threading.Event()
    reads: SharedReads[str, str] = SharedReads("slow", 2, lambda: now_s[0])

    def slow() -> str:
        assert go_on.wait(PATIENCE_S)
        return "new"

    try:
        assert await reads.get("group", 9.0, lambda: "old") == "old"
        now_s[0] = 20.0
        assert await reads.get("group", 9.0, slow) == "old"
        now_s[0] = 28.0
        later = asyncio.create_task(reads.get("group", 9.0, slow))
        await asyncio.sleep(KEPT_S + 0.3)
        assert not later.done(), "an answer of 28 s ago says nothing about now"
        go_on.set()
        assert await later == "new"
    finally:
        go_on.set()
        reads.close()


async def test_a_failure_does_not_serve_while_the_next_reading_is_slow() -> None:
    now_s, go_on = [0.0], threading.Event()
    reads: SharedReads[str, str] = SharedReads("slow", 2, lambda: now_s[0])

    def fails() -> str:
        raise CannotReadHealth("AWS is away.")

    def slow() -> str:
        assert go_on.wait(PATIENCE_S)
        return "new"

    try:
        with pytest.raises(CannotReadHealth):
            await reads.get("group", 9.0, fails)
        now_s[0] = 10.0
        later = asyncio.create_task(reads.get("group", 9.0, slow))
        await asyncio.sleep(KEPT_S + 0.3)
        assert not later.done()
        go_on.set()
        assert await later == "new"
    finally:
        go_on.set()
        reads.close()
