"""When something the bot needs is gone: it says so, loses nothing, and goes on when that is back."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from bot.durable import migrate_engine
from bot.engine_client import EngineClient
from bot.failures import CannotReachForge, CannotReadHealth, CannotStore
from bot.github_access import GitHubAccess
from bot.http_probe import HttpxProbe
from bot.migrations import migrate
from bot.pull_requests import GitHubPullRequests
from bot.queues import GUARD
from bot.settings import Settings
from bot.store import Store
from bot.watching import Eyes
from policies.facts import Baseline, Health, HealthSample
from tests.crash_stories import Nursery, Played, play
from tests.crash_world import LightWorld
from tests.deliveries import deployment_status
from tests.fakes import DEPLOY
from tests.faulty_http import answered, dropped
from tests.patience import PATIENCE_S, until
from tests.postgres import Server as Postgres
from tests.test_watching import BAD, FAST, Outside
from tests.test_webhooks_server import CLIENT
from tests.test_webhooks_server import Server as WebServer
from tests.test_webhooks_server import start as start_web

pytestmark = pytest.mark.timeout(900)
NOWHERE = "http://nobody.invalid"


# --- the database is gone --------------------------------------------------------------------------


@pytest.fixture
def web_on_postgres(postgres_server: Postgres, tmp_path: Path) -> Iterator[WebServer]:
    url = postgres_server.new_database()
    migrate(url)
    migrate_engine(url)
    running = start_web(url, tmp_path)
    yield running
    running.store.close()
    running.kill()


def numbered(number: int) -> dict[str, object]:
    return deployment_status(deployment__id=number)


def test_a_database_that_is_gone_is_503_with_retry_after_and_nothing_is_lost(
    web_on_postgres: WebServer, postgres_server: Postgres
) -> None:
    web = web_on_postgres
    web.store.beat("a worker")
    assert web.post(numbered(1)).status_code == 202
    assert CLIENT.get(f"{web.url}/readyz").status_code == 200

    postgres_server.stop()
    try:
        refused = web.post(numbered(2), "delivery-2")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        ready = CLIENT.get(f"{web.url}/readyz")
        assert (ready.status_code, ready.json()["database"]["ok"]) == (503, False)
        assert CLIENT.get(f"{web.url}/healthz").status_code == 200, "the process itself is well"
        metrics = CLIENT.get(f"{web.url}/metrics")
        assert "rollback_database_up 0.0" in metrics.text
    finally:
        postgres_server.start()

    web.store.beat("a worker")
    assert web.post(numbered(2), "delivery-2").status_code == 202
    assert CLIENT.get(f"{web.url}/readyz").status_code == 200
    assert web.stored() == (2, 2)


def test_a_client_of_the_engine_says_it_too(postgres_server: Postgres) -> None:
    url = postgres_server.new_database()
    migrate(url)
    migrate_engine(url)
    store = Store(url)
    client = EngineClient(lambda: store.engine)
    postgres_server.stop()
    try:
        for ask in (lambda: client.hand_back(("x",)), lambda: client.forget_ended(time.time())):
            with pytest.raises(CannotStore):
                ask()
    finally:
        postgres_server.start()
    assert client.hand_back(("x",)) == []
    store.close()


# --- the disk is full ------------------------------------------------------------------------------


def limit_files_of(process: int, at_most: int) -> None:
    """From now on these processes cannot make a file longer: what a full disk does, for them alone."""
    family = [process]
    for pid in family:
        for task in Path(f"/proc/{pid}/task").iterdir():
            family += [int(child) for child in (task / "children").read_text().split()]
    for pid in family:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (at_most, resource.RLIM_INFINITY))


def test_on_a_full_disk_nothing_is_acknowledged_that_was_not_stored(
    prepared_sqlite: Path, tmp_path: Path
) -> None:
    shutil.copy(prepared_sqlite, tmp_path / "rollback.db")
    web = start_web(f"sqlite:///{tmp_path / 'rollback.db'}", tmp_path)
    try:
        assert web.post(numbered(1)).status_code == 202
        limit_files_of(web.process.pid, 200_000)
        codes: list[int] = []
        for number in range(2, 200):
            answer = web.post(numbered(number), f"delivery-{number}")
            codes.append(answer.status_code)
            if answer.status_code != 202:
                break
        assert codes[-1] == 503, "the limit was never met"
        assert int(answer.headers["Retry-After"]) > 0
        acknowledged = 1 + codes.count(202)
        assert web.stored() == (acknowledged, acknowledged)
        limit_files_of(web.process.pid, resource.RLIM_INFINITY)
        assert web.post(numbered(number), f"delivery-{number}").status_code == 202
        assert web.stored() == (acknowledged + 1, acknowledged + 1)
    finally:
        web.store.close()
        web.kill()


# --- the clock steps -------------------------------------------------------------------------------


class SteppingClock:
    """A wall clock that somebody puts right."""

    def __init__(self) -> None:
        self.off_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.off_s


def eyes_by(clock: Callable[[], float], outside: Outside, store: Store) -> Eyes:
    parts = dict.fromkeys(
        (
            "repository",
            "pull_requests",
            "probe",
            "target_health",
            "traffic",
            "evidence",
            "history",
            "siblings",
        ),
        outside,
    )
    return Eyes(samples=store, now=clock, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
async def test_a_clock_that_steps_neither_ends_nor_stops_a_watch(store: Store, step_s: float) -> None:
    clock, outside = SteppingClock(), Outside()
    eyes = eyes_by(clock, outside, store)
    deploy = replace(DEPLOY, completed_at_s=clock(), started_at_s=clock() - 1)
    watching = asyncio.create_task(eyes.watch(deploy, FAST, Baseline((), "")))
    while outside.looks < 4:
        await asyncio.sleep(0.01)
    clock.off_s = step_s
    outside.probe_answer = BAD
    watched = await asyncio.wait_for(watching, PATIENCE_S)
    assert watched.health is Health.UNHEALTHY, "what came after the step was still judged"
    assert max(sample.t_s for sample in watched.samples) < 600


async def test_a_service_that_failed_all_the_while_we_were_away_is_not_called_healthy(store: Store) -> None:
    outside = Outside(probe_answer=BAD)
    eyes = eyes_by(time.time, outside, store)
    deploy = replace(DEPLOY, completed_at_s=time.time() - 60, started_at_s=time.time() - 61)
    store.add_samples(
        deploy.service,
        [(deploy.completed_at_s + 0.05 * n, HealthSample(t_s=0.05 * n, probe=BAD)) for n in range(1, 4)],
    )
    watched = await asyncio.wait_for(eyes.watch(deploy, FAST, Baseline((), "")), PATIENCE_S)
    assert watched.health is Health.UNHEALTHY


def test_a_heartbeat_is_measured_by_the_databases_clock_alone(store: Store) -> None:
    store.beat("one")
    assert store.silent_executors(5.0) == ()
    assert store.live_executors(5.0) == ("one",)


# --- DNS is gone -----------------------------------------------------------------------------------


def test_without_dns_github_is_a_sentence() -> None:
    forge = GitHubPullRequests(GitHubAccess(NOWHERE, NOWHERE, token="x"))
    with pytest.raises(CannotReachForge, match="connection failed"):
        forge.about("acme/stagelog")


async def test_without_dns_a_poll_is_unknown_and_no_evidence() -> None:
    with pytest.raises(CannotReadHealth):
        await HttpxProbe(()).probe(f"{NOWHERE}/")


@pytest.mark.story
def test_a_worker_starts_and_lives_without_dns(sqlite_url: str, tmp_path: Path) -> None:
    environment = {
        "DATABASE_URL": sqlite_url,
        "DATA_DIR": str(tmp_path),
        "GITHUB_API_URL": NOWHERE,
        "GITHUB_SERVER_URL": NOWHERE,
        "GITHUB_WEBHOOK_SECRET": "x",
        "GITHUB_TOKEN": "x",
    }
    Settings.load(environment, role="worker")
    nursery = Nursery()
    store = Store(sqlite_url)
    try:
        worker = nursery.worker(environment, tmp_path, "lonely")
        until(lambda: store.live_executors(5.0), "its heartbeat")
        with store.transaction() as connection:
            EngineClient(lambda: store.engine).enqueue(connection, GUARD, "guard-1", DEPLOY)
        pending = sa.text("SELECT status FROM workflow_status WHERE workflow_uuid = 'guard-1'")

        def status() -> str:
            with store.reading() as connection:
                return str(connection.execute(pending).scalar_one())

        until(lambda: status() == "PENDING", "it guards")
        until(lambda: b"plan.waiting" in worker.log.read_bytes(), "it waits for GitHub")
        assert worker.stop() == 0
        assert status() == "ENQUEUED", "handed back"
    finally:
        nursery.close()
        store.close()


# --- GitHub is in trouble --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightWorld]:
    made = LightWorld(tmp_path_factory.mktemp("degraded"), aws=False)
    yield made
    made.stop()


@pytest.fixture
def played(world: LightWorld, tmp_path: Path) -> Iterator[Callable[[str], Played]]:
    nursery = Nursery()

    def tell(name: str) -> Played:
        story = world.story(name, world.fresh_database(f"sqlite:///{tmp_path}/{name}.db"))
        return play(world, nursery, story)

    yield tell
    nursery.close()
    world.github.faults.clear()


SECONDARY = {
    "message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
}


@pytest.mark.story
def test_githubs_secondary_rate_limit_delays_the_comment_and_never_the_revert(
    world: LightWorld, played: Callable[[str], Played]
) -> None:
    limited = answered(403, SECONDARY, headers={"Retry-After": "1"})
    world.github.faults.at("POST", r"/issues/42/comments$", limited, limited)
    world.github.faults.at("PATCH", r"/issues/comments/", limited)
    assert played("limited").wrong == []
    assert world.github.faults.count("POST", r"/repos/acme/limited/issues/42/comments$") == 3


@pytest.mark.story
@pytest.mark.long
def test_the_last_word_outlasts_an_outage_of_githubs_comments(
    world: LightWorld, played: Callable[[str], Played]
) -> None:
    world.github.faults.at("GET", r"/issues/42/comments$", *[answered(503)] * 14)
    assert played("outage").wrong == []
    assert world.github.faults.unmet() == []


@pytest.mark.story
@pytest.mark.long
def test_github_breaking_off_in_the_middle_costs_nothing_but_time(
    world: LightWorld, played: Callable[[str], Played]
) -> None:
    faults = world.github.faults
    faults.at("POST", r"/issues/42/comments$", dropped(after_acting=True))
    faults.at("GET", r"/commits/[0-9a-f]+/pulls$", answered(502), answered(502))
    faults.at("GET", r"/deployments$", dropped())
    faults.at("POST", r"git-receive-pack$", dropped())
    faults.at("GET", r"info/refs$", answered(503))
    assert played("broken-off").wrong == []
    assert faults.unmet() == []


@pytest.mark.story
def test_a_web_process_that_is_killed_between_two_webhooks_has_told_the_truth(
    prepared_sqlite: Path, tmp_path: Path
) -> None:
    """SIGKILL while deliveries come in: whatever was answered 202 is there."""
    shutil.copy(prepared_sqlite, tmp_path / "rollback.db")
    url = f"sqlite:///{tmp_path / 'rollback.db'}"
    web = start_web(url, tmp_path)
    acknowledged: list[int] = []
    for number in range(1, 60):
        if number == 40:
            os.killpg(web.process.pid, signal.SIGKILL)
        try:
            if web.post(numbered(number), f"d-{number}").status_code == 202:
                acknowledged.append(number)
        except httpx.TransportError:
            break
    web.process.wait(timeout=PATIENCE_S)
    assert len(acknowledged) >= 39
    for number in acknowledged:
        assert web.store.delivery(f"d-{number}") is not None
    web.store.close()
