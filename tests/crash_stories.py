"""Plays one rollback with a worker that is killed at a chosen effect, and says everything that is not right after."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bot.comments import incident_comment, incident_marker
from bot.sticky_comment import sendable
from bot.store import Store
from policies.facts import FINAL_STATES, Incident, IncidentState
from rehearsal.github_state import Comment
from rehearsal.serving import wait_until
from tests.crash_world import BASE_URL, BRANCH, LightWorld, Story
from tests.killing_worker import Point
from tests.patience import PATIENCE_S, until

UNFINISHED = (
    "SELECT workflow_uuid, name, status FROM {0}workflow_status WHERE status IN ('PENDING', 'ENQUEUED')"
)
LEFT_BEHIND = ("tmp_", "rollback-bot-fetching", "REVERT_HEAD", "revert-")
LEFT_ENDINGS = (".new", ".old", ".progress.json")


class Nursery:
    """Client of `python -m tests.killing_worker`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.killing_worker"],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._turn = threading.Lock()

    def worker(
        self, environment: dict[str, str], folder: Path, name: str, kill: Point | None = None
    ) -> Child:
        """A new worker process; `kill` is where it ends itself."""
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
        order = {
            "environment": {**kept, **environment},
            "kill": None if kill is None else [kill.label, kill.nth, kill.side],
            "log": str(folder / f"{name}.log"),
            "journal": str(folder / f"{name}.effects"),
        }
        with self._turn:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            pid = json.loads(self._process.stdout.readline())["pid"]
        return Child(pid, folder / f"{name}.log", folder / f"{name}.effects")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=PATIENCE_S)


@dataclass
class Child:
    """A worker process: a child of the nursery, so it is held by its pidfd."""

    pid: int
    log: Path
    journal: Path
    _pidfd: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(self.pid)

    def ended(self, within_s: float = 0.0) -> bool:
        if self._pidfd < 0:
            return True
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(within_s * 1000))

    def signal(self, number: int) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.Signals(number))

    def stop(self) -> int | None:
        """SIGTERM; its exit code, None if it had to be killed."""
        self.signal(signal.SIGTERM)
        if not self.ended(PATIENCE_S):
            self.kill()
            return None
        written = Path(str(self.log) + ".exit")
        return int(written.read_text()) if written.exists() else None

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.ended(PATIENCE_S)

    def effects(self) -> list[Point]:
        """What it did, in order, before and after."""
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [Point(*line) for line in lines if len(line) == 3]

    def is_ready(self) -> bool:
        return self.log.exists() and "worker.started" in self.log.read_text(errors="replace")

    def was_killed(self) -> bool:
        return '["killed"]' in self.journal.read_text()


@dataclass
class Played:
    """How a story went: `wrong` is empty when everything is as it must be."""

    story: Story
    points: list[Point]
    killed: bool
    wrong: list[str]
    took_s: float
    incident: Incident | None = None
    comment: Comment | None = None


def play(
    world: LightWorld,
    nursery: Nursery,
    story: Story,
    kill: Point | None = None,
    *,
    merge_proposal: bool = False,
) -> Played:
    """Merge the bad pull request with a worker that ends itself at `kill`; start it again; wait; look."""
    began = time.monotonic()
    folder = story.data_dir.parent / f"{story.name}-logs"
    folder.mkdir()
    first = nursery.worker(story.environment, folder, "first", kill)
    workers = [first]
    with world.hearing(story) as store:
        try:
            world.merge(story)
            deadline = time.monotonic() + PATIENCE_S
            while not _is_over(store, story) and time.monotonic() < deadline:
                if workers[-1].ended(0.05):
                    if len(workers) == 2:
                        break
                    workers.append(nursery.worker(story.environment, folder, "second"))
                if merge_proposal:
                    _merge_proposal(world, story)
            codes = [worker.stop() for worker in workers[-1:]]
            if first.was_killed() and len(workers) == 1:  # at the very end, or while it was stopping
                workers.append(nursery.worker(story.environment, folder, "second"))
                until(workers[-1].is_ready, "the second worker started")
                # It is done when it is the only one on record; what else is wrong is said below.
                wait_until(lambda: len(store.silent_executors(-3600.0)) <= 1, PATIENCE_S)
                wait_until(lambda: not unfinished(store), PATIENCE_S)
                codes = [workers[-1].stop()]
            wrong = everything_wrong(world, story, store, merge_proposal=merge_proposal)
            if codes != [0]:
                wrong.append(f"the last worker did not stop in order: {codes}\n{_tail(workers[-1].log)}")
            if kill is None and len(workers) != 1:
                wrong.append(f"the worker ended by itself:\n{_tail(first.log)}")
            if first.ended() and kill is not None and not first.was_killed() and len(workers) == 2:
                wrong.append(f"the first worker ended by itself:\n{_tail(first.log)}")
            incidents = store.incidents()
        finally:
            for worker in workers:
                worker.kill()
    bots = _bots_comments(world, story)
    return Played(
        story,
        first.effects(),
        first.was_killed(),
        wrong,
        time.monotonic() - began,
        incidents[0] if incidents else None,
        bots[0] if bots else None,
    )


def everything_wrong(
    world: LightWorld, story: Story, store: Store, *, merge_proposal: bool = False
) -> list[str]:
    """What is not as it must be after a story, as sentences."""
    wrong: list[str] = []
    git = world.github.git(story.repository)
    head = git.head(BRANCH)
    added = git.git("log", "--format=%H", "--no-merges", f"{story.merge}..{BRANCH}").decode().split()
    if len(added) != 1:
        wrong.append(f"{len(added)} revert commits are on the branch")
    if git.commit(head or "").tree != git.commit(story.base).tree:
        wrong.append("the branch has not the tree from before the merge")
    if added and "Rollback-Deploy:" not in git.git("log", "-1", "--format=%B", added[0]).decode():
        wrong.append("the commit on the branch is not ours")
    refs = sorted(name for name in git.refs("refs/heads/"))
    proposed = [name for name in refs if name not in (f"refs/heads/{BRANCH}", "refs/heads/feature/uploads")]
    if len(proposed) != (1 if merge_proposal else 0):
        wrong.append(f"branches were left: {proposed}")
    if len(story.repository.pulls) != (2 if merge_proposal else 1):
        wrong.append(f"there are {len(story.repository.pulls)} pull requests")
    wrong += _wrong_comments(world, story, store)
    wrong += _wrong_record(story, store, added[0] if added else None)
    wrong += _left_behind(story)
    return wrong


def _wrong_comments(world: LightWorld, story: Story, store: Store) -> list[str]:
    """One, and it says what the record says."""
    bots = _bots_comments(world, story)
    if len(bots) != 1:
        return [f"{len(bots)} comments of ours are on the pull request"]
    (incident,) = store.incidents() or (None,)
    if incident is None or incident.plan is None or incident.change is None:
        return ["there is a comment, but no incident that was decided"]
    noted = [(one.number, one.comment_id) for one in store.comments_of(incident.id)]
    if noted != [(42, str(bots[0].id))]:
        return [f"the comment {bots[0].id} is noted as {noted}"]
    pull_request = incident.change.culprits[0].pull_request
    expected = incident_comment(incident, incident.plan, BASE_URL, False, pull_request)
    if bots[0].body.strip() != sendable(incident_marker(incident.id), expected).strip():
        return [f"the comment is not in its final state: {bots[0].body[:200]!r}"]
    return []


def _bots_comments(world: LightWorld, story: Story) -> list[Comment]:
    return [one for one in story.repository.comments_on(42) if one.author.login == world.app.bot.login]


def _wrong_record(story: Story, store: Store, revert: str | None) -> list[str]:
    wrong: list[str] = []
    found = store.incidents()
    if len(found) != 1:
        return [f"{len(found)} incidents are on record"]
    incident = found[0]
    if incident.state is not IncidentState.RECOVERED:
        wrong.append(f"the incident is {incident.state.value}: {incident.reason}")
    reverted = incident.reverted
    if reverted is None or reverted.revert_sha != revert:
        wrong.append("the incident names another revert than the one on the branch")
    whats = [moment.what for moment in incident.timeline]
    if len(set(whats)) != len(whats):
        wrong.append(f"a moment is twice in the timeline: {whats}")
    ats = [moment.at_s for moment in incident.timeline]
    if ats != sorted(ats):
        wrong.append("the timeline is out of order")
    states = [past.state for past in store.history(incident.id)]
    if states[-1:] != [IncidentState.RECOVERED] or [s for s in states if s in FINAL_STATES][1:]:
        wrong.append(f"its history ends wrongly: {states}")
    verdicts = {heard.deploy.sha[:8]: heard.verdict for heard in store.deploys_heard(story.service)}
    if verdicts.get(story.merge[:8]) not in ("healthy", "unhealthy") or None in verdicts.values():
        wrong.append(f"a deploy has no verdict: {verdicts}")
    if left := unfinished(store):
        wrong.append(f"work was left unfinished: {left}")
    if silent := store.silent_executors(-3600.0):
        wrong.append(f"executors are left on record: {silent}")
    return wrong


def _left_behind(story: Story) -> list[str]:
    found = []
    for path in story.data_dir.rglob("*"):
        is_lock = path.suffix == ".lock" and any(parent.suffix == ".git" for parent in path.parents)
        if is_lock or path.name.startswith(LEFT_BEHIND) or path.name.endswith(LEFT_ENDINGS):
            found.append(str(path.relative_to(story.data_dir)))
    return [f"files were left behind: {found[:10]}"] if found else []


def unfinished(store: Store) -> list[tuple[Any, ...]]:
    schema = "" if store.on_sqlite else "dbos."
    with store.reading() as connection:
        return [tuple(row) for row in connection.execute(sa.text(UNFINISHED.format(schema)))]


def _is_over(store: Store, story: Story) -> bool:
    """Both deploys, the bad one's and the revert's, were guarded to their end."""
    heard = store.deploys_heard(story.service)
    if len(heard) < 2 or any(one.verdict is None for one in heard):
        return False
    return not unfinished(store)


def _merge_proposal(world: LightWorld, story: Story) -> None:
    for pull in list(story.repository.pulls.values()):
        if pull.number != 42 and pull.state == "open":
            world.github.pulls.merge(story.repository, pull.number, world.github.user("lee"))


def _tail(path: Path, lines: int = 30) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"
