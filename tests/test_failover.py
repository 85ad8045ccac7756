"""Several workers on one PostgreSQL: killed, stopped and woken, told to go, and a database that is restarted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.failures import CannotStore
from bot.migrations import migrate
from bot.store import Store
from policies.facts import HealthSample, IncidentState, ProbeSample
from tests.crash_stories import everything_wrong
from tests.crash_world import BRANCH, CONFIG, LightWorld, Story
from tests.patience import PATIENCE_S, until
from tests.postgres import Server

pytestmark = [pytest.mark.story, pytest.mark.timeout(900)]

DEAD_AFTER_S = 5.0
SLOW = CONFIG.replace(": 700ms", ": 4s")
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class WorkerProcess:
    """`rollback-bot worker` as the Procfile starts it, with files of its own as on a machine of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:  # one that ended may have given its number to somebody else
            os.killpg(self.process.pid, number)

    @property
    def is_ready(self) -> bool:
        return b"worker.started" in self.log.read_bytes()

    @property
    def executor_id(self) -> str:
        line = next(line for line in self.log.read_text().splitlines() if "worker.started" in line)
        return line.partition('"executor": "')[2].partition('"')[0]


class Fleet:
    """Workers on one database, and the stories they play."""

    def __init__(self, world: LightWorld, database: str, folder: Path) -> None:
        self.world, self.database, self.folder = world, database, folder
        self.store = Store(database)
        self.workers: list[WorkerProcess] = []
        self.stories: list[Story] = []

    def tell_stories(self, count: int, config: str = SLOW) -> None:
        for number in range(count):
            name = f"{self.folder.name}-{number}"
            self.stories.append(self.world.story(name, self.database, config=config))

    def start(self, dead_after_s: float = DEAD_AFTER_S, guards: int = 20) -> WorkerProcess:
        number = len(self.workers)
        data_dir = self.folder / f"machine-{number}"
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
            **self.stories[0].environment,
            "DATA_DIR": str(data_dir),
            "WORKER_DEAD_AFTER_S": str(dead_after_s),
            "WORKER_GUARDS": str(guards),
            "PYTHONPATH": str(ROOT),
        }
        log = self.folder / f"worker-{number}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "bot.cli", "worker"],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = WorkerProcess(process, log)
        self.workers.append(worker)
        return worker

    def wait_ready(self) -> None:
        until(lambda: all(worker.is_ready for worker in self.workers), "the workers started")

    def stop(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGTERM)
        for worker in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=PATIENCE_S)
            worker.signal(signal.SIGKILL)
            worker.process.wait(timeout=PATIENCE_S)
        self.store.close()

    # --- what can be seen in the database -------------------------------------------------------------

    def held_by(self, worker: WorkerProcess) -> int:
        """How much unfinished work the engine has on record for that worker."""
        query = sa.text(
            "SELECT count(*) FROM dbos.workflow_status WHERE status = 'PENDING' AND executor_id = :id"
        )
        with self.store.reading() as connection:
            return int(connection.execute(query, {"id": worker.executor_id}).scalar_one())

    def unfinished(self) -> int:
        query = sa.text("SELECT count(*) FROM dbos.workflow_status WHERE status IN ('PENDING', 'ENQUEUED')")
        with self.store.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def wait_for_the_end(self) -> None:
        """Until nothing was left to do for three seconds: a revert's own deploy is heard of within one."""
        busy_s = time.monotonic()

        def over() -> bool:
            nonlocal busy_s
            try:
                if self.unfinished() > 0:
                    busy_s = time.monotonic()
            except CannotStore:
                busy_s = time.monotonic()
            return time.monotonic() - busy_s > 3.0

        until(over, f"all {len(self.stories)} guards ended")

    @contextmanager
    def others_are_well(self) -> Iterator[None]:
        """Services that have nothing to do with the stories: were all services of the database bad at once, a
        common cause would be suspected and nothing rolled back."""
        names = [f"acme/other-{number}:production" for number in range(3 * len(self.stories))]
        good = HealthSample(t_s=0.0, probe=ProbeSample(3, 0, 200))
        done = threading.Event()

        def keep_sampling() -> None:
            while not done.wait(0.5):
                with contextlib.suppress(CannotStore):
                    self.store.add_samples_of_many((name, time.time(), good) for name in names)

        thread = threading.Thread(target=keep_sampling, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(timeout=PATIENCE_S)

    def pushes(self) -> Counter[str]:
        """Accepted pushes of ours by repository."""
        ours = self.world.app.bot.login
        return Counter(push.repository for push in self.world.github.pushes if push.by == ours)

    def wrong(self) -> list[str]:
        """What is not as it must be, in any story; incidents are looked at one by one."""
        found: list[str] = []
        pushes = self.pushes()
        for story in self.stories:
            view = _OneService(self.database, story.service)
            try:
                for sentence in everything_wrong(self.world, story, view):
                    if "executors are left" not in sentence:  # the others are still running
                        found.append(f"{story.name}: {sentence}")
            finally:
                view.close()
            if pushes[story.repository.full_name] != 1:
                found.append(
                    f"{story.name}: {pushes[story.repository.full_name]} pushes of ours were accepted"
                )
        for machine in self.folder.glob("machine-*"):
            for path in machine.rglob("*"):
                if path.name.startswith(("revert-", "rollback-bot-fetching")) and not self._belongs_to_killed(
                    path
                ):
                    found.append(f"left behind: {path.relative_to(self.folder)}")
        return found

    def _belongs_to_killed(self, path: Path) -> bool:
        """A lost machine sweeps its own disk when it starts again; its worker here never does."""
        number = int(path.relative_to(self.folder).parts[0].removeprefix("machine-"))
        return self.workers[number].process.poll() == -signal.SIGKILL


class _OneService(Store):
    """The store as if there were only the incidents of one service."""

    def __init__(self, given: str, service: str) -> None:
        super().__init__(given)
        self._service = service

    def incidents(self, *args, **named):  # type: ignore[no-untyped-def]
        return tuple(one for one in super().incidents(1000) if one.deploy.service == self._service)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightWorld]:
    made = LightWorld(tmp_path_factory.mktemp("failover"), aws=False)
    yield made
    made.stop()


@pytest.fixture
def fleet_of(
    world: LightWorld, postgres_server: Server, tmp_path: Path
) -> Iterator[Callable[..., contextlib.AbstractContextManager[Fleet]]]:
    @contextmanager
    def make(stories: int, config: str = SLOW) -> Iterator[Fleet]:
        folder = tmp_path / f"fleet{time.monotonic_ns() % 1_000_000}"
        folder.mkdir()
        fleet = Fleet(world, world.fresh_database(postgres_server.new_database()), folder)
        fleet.tell_stories(stories, config)
        with ExitStack() as listening:
            listening.enter_context(fleet.others_are_well())
            for story in fleet.stories:
                listening.enter_context(world.hearing(story))
            try:
                yield fleet
            finally:
                fleet.stop()

    yield make


def lose_and_stop(fleet: Fleet) -> tuple[float, float]:
    """Three workers guard every story; one is killed while it watches, one stopped when pushing begins. How
    long it took until each had nothing left on record."""
    killed, stopped = fleet.workers[:2]
    for story in fleet.stories:
        fleet.world.merge(story)
    until(lambda: fleet.held_by(killed) > 0 and fleet.held_by(stopped) > 0, "both guard something")
    killed.signal(signal.SIGKILL)
    killed_s = time.monotonic()
    until(lambda: fleet.pushes() or time.monotonic() - killed_s > 4, "a push")
    stopped.signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    until(lambda: fleet.held_by(killed) == 0, "the killed one's work was taken over")
    took_over_s = time.monotonic() - killed_s
    until(lambda: fleet.held_by(stopped) == 0, "the stopped one's work was taken over")
    stopped_took_s = time.monotonic() - stopped_s
    time.sleep(1.0)
    stopped.signal(signal.SIGCONT)
    return took_over_s, stopped_took_s


@pytest.mark.parametrize("guards", [6, pytest.param(30, marks=pytest.mark.long)])
def test_a_killed_and_a_stopped_worker_cost_nothing_but_time(fleet_of, guards: int) -> None:
    with fleet_of(guards) as fleet:
        for _ in range(3):
            fleet.start(guards=max(2, guards // 3 * 2))
        fleet.wait_ready()
        killed_s, stopped_s = lose_and_stop(fleet)
        fleet.wait_for_the_end()
        time.sleep(2.0)  # the woken one may still be finishing the step it was stopped in
        assert fleet.wrong() == []
        print(
            f"\nfailover: {guards} guards on 3 workers; after SIGKILL taken over in {killed_s:.1f} s, after "
            f"SIGSTOP in {stopped_s:.1f} s (dead_after {DEAD_AFTER_S:g} s)"
        )


def test_a_worker_told_to_stop_hands_its_work_back_at_once(fleet_of) -> None:
    with fleet_of(2) as fleet:
        first = fleet.start(dead_after_s=600)
        fleet.wait_ready()
        for story in fleet.stories:
            fleet.world.merge(story)
        until(lambda: fleet.held_by(first) >= 2, "the first one guards both")
        second = fleet.start(dead_after_s=600)
        fleet.wait_ready()
        first.signal(signal.SIGTERM)
        assert first.process.wait(timeout=PATIENCE_S) == 0
        until(lambda: fleet.held_by(second) >= 1, "the second one has its work")
        fleet.wait_for_the_end()
        assert fleet.wrong() == []


HOLDS_ITS_ROW = """
import sys, time
from bot.store import Store
with Store(sys.argv[1]).transaction() as connection:
    connection.exec_driver_sql("UPDATE executors SET host = 'frozen' WHERE id = 'frozen'")
    print("held", flush=True)
    time.sleep(3600)
"""


def test_a_process_frozen_in_the_middle_of_its_heartbeat_is_taken_over_from(postgres_url: str) -> None:
    """Its transaction holds the very row that whoever takes over must have, and it can never end it."""
    migrate(postgres_url)
    store = Store(postgres_url)
    store.beat("frozen")
    command = [sys.executable, "-c", HOLDS_ITS_ROW, postgres_url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"held\n"
            process.send_signal(signal.SIGSTOP)

            def is_ours() -> bool:
                with store.claim_silent("frozen", -3600.0) as is_ours:
                    return is_ours

            assert not is_ours(), "it holds nothing, so nothing is shown"
            until(is_ours, "its work can be handed on")
        finally:
            process.kill()
    assert store.silent_executors(-3600.0) == ()
    store.close()


@pytest.mark.long
def test_guards_outlive_a_restart_of_postgresql(fleet_of, postgres_server: Server) -> None:
    with fleet_of(3) as fleet:
        for _ in range(2):
            fleet.start()
        fleet.wait_ready()
        for story in fleet.stories:
            fleet.world.merge(story)
        until(lambda: fleet.unfinished() >= 3, "all are guarded")
        time.sleep(1.0)
        postgres_server.stop()
        time.sleep(3.0)
        postgres_server.start()
        fleet.wait_for_the_end()
        assert all(worker.process.poll() is None for worker in fleet.workers), "a worker ended by itself"
        assert fleet.wrong() == []


TWO_ENVIRONMENTS = (
    CONFIG
    + """  staging:
    branch: develop
    url: {url}
"""
)


@pytest.mark.long
def test_two_guards_of_one_branch_never_revert_twice(fleet_of) -> None:
    """One merge breaks two environments; two workers order its revert, and the second finds it done."""
    with fleet_of(1, TWO_ENVIRONMENTS) as fleet:
        for _ in range(2):
            fleet.start(guards=1)
        fleet.wait_ready()
        (story,) = fleet.stories
        world, repository = fleet.world, story.repository
        merge = world.merge(story)
        world.deploy(repository, merge, environment="staging")
        until(lambda: fleet.store.count_incidents().get(str(IncidentState.RECOVERED), 0) >= 1, "a recovery")
        until(lambda: fleet.unfinished() == 0, "all guards ended")
        assert fleet.pushes()[repository.full_name] == 1
        git = world.github.git(repository)
        assert git.count(f"{merge}..{BRANCH}") == 1
        assert git.commit(git.head(BRANCH) or "").tree == git.commit(story.base).tree
        ended = [one.reverted.outcome.value for one in fleet.store.incidents() if one.reverted]
        assert ended.count("reverted") == 1, ended
