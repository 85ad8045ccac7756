"""The Actions-like runner: a push to the environment's branch is built, deployed and called a success.

It says `success` as soon as the new container was started, which is the lie that the whole story is about.
"""

from __future__ import annotations

import io
import queue
import re
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rehearsal.docker_store import DockerError
from rehearsal.github import GitHub
from rehearsal.github_git import ZERO
from rehearsal.github_shapes import Json
from rehearsal.github_state import Deployment, Repository, User, WorkflowRun
from rehearsal.machine import Machine

_SKIP_WORDS = ("[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]")
_SKIP_TRAILER = re.compile(r"\n\n\n?skip-checks:\s?true\s*$", re.IGNORECASE)
STOP_WITHIN_S = 3
BUILD_S = 6.0
"""Short for a build, but long enough for whoever hears `in_progress` to look at the old version a few times."""


def skips_ci(message: str) -> bool:
    """Whether GitHub would start no workflow for a head commit with this message."""
    lowered = message.lower()
    return any(word in lowered for word in _SKIP_WORDS) or bool(_SKIP_TRAILER.search(message))


@dataclass(slots=True)
class Deployed:
    """One deploy as the runner lived it; times are epoch seconds."""

    sha: str
    began_s: float
    replaced_s: float | None = None
    completed_s: float | None = None
    state: str = "in_progress"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a repository's branch goes: which environment, container, port, and what is injected."""

    branch: str
    environment: str
    container: str
    port: int
    environment_url: str
    variables: Callable[[], dict[str, str]]
    build_s: float = BUILD_S


class Runner:
    """Deploys pushes one after the other from its own thread; `deploys` is what it did."""

    def __init__(
        self, github: GitHub, repository: Repository, machine: Machine, plan: Plan, folder: Path
    ) -> None:
        self.github, self.repository, self.machine, self.plan = github, repository, machine, plan
        self.folder = folder
        self.deploys: list[Deployed] = []
        self.skipped: list[str] = []
        self.actor: User = github.user("github-actions[bot]", "Bot")
        self._built: set[str] = set()
        self._queue: queue.Queue[tuple[str, User] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self.github.events.listeners.append(self._hear)
        self._thread = threading.Thread(target=self._work, name="runner", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._hear in self.github.events.listeners:
            self.github.events.listeners.remove(self._hear)
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout=30)
            self._thread = None

    def idle(self) -> bool:
        return self._queue.unfinished_tasks == 0

    def _hear(self, event: str, payload: Json, repository: Repository) -> None:
        if event != "push" or repository is not self.repository:
            return
        if payload["ref"] != f"refs/heads/{self.plan.branch}" or payload["after"] == ZERO:
            return
        if skips_ci(payload["head_commit"]["message"]):
            self.skipped.append(payload["after"])
            return
        self._queue.put((payload["after"], self.github.user(payload["sender"]["login"])))

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                self.deploy(*job)
            finally:
                self._queue.task_done()

    def deploy(self, sha: str, actor: User | None = None, *, quiet: bool = False) -> Deployed:
        """Deploy a commit now; `quiet` builds without the pause that a real build would take."""
        activity, repository, plan = self.github.activity, self.repository, self.plan
        done = Deployed(sha, time.time())
        self.deploys.append(done)
        run = activity.workflow_run(repository, "Deploy", sha, plan.branch, actor or self.actor)
        activity.workflow_progress(repository, run, None)
        deployment = activity.deployment(
            repository, self.actor, ref=plan.branch, sha=sha, environment=plan.environment, run=run
        )
        self._status(deployment, run, "in_progress")
        try:
            self._build(sha, 0.0 if quiet else plan.build_s)
            self._replace(sha)
        except (DockerError, OSError) as error:
            done.state, done.reason = "failure", str(error)
            self._status(deployment, run, "failure")
            activity.workflow_progress(repository, run, "failure")
            return done
        done.replaced_s = time.time()
        done.state = "success"
        self._status(deployment, run, "success")
        done.completed_s = time.time()
        activity.workflow_progress(repository, run, "success")
        return done

    def _status(self, deployment: Deployment, run: WorkflowRun, state: str) -> None:
        page = f"{self.github.shapes.repo_page(self.repository)}/actions/runs/{run.id}"
        url = self.plan.environment_url if state == "success" else ""
        self.github.activity.deployment_status(
            self.repository, deployment, self.actor, state, environment_url=url, log_url=page, run=run
        )

    def _build(self, sha: str, at_least_s: float) -> None:
        """Make the image; a tree that was built before comes out of the layer cache at once."""
        began = time.monotonic()
        tree = self.github.git(self.repository).commit(sha).tree
        if tree in self._built:
            at_least_s = 0.0
        self._built.add(tree)
        place = self.folder / sha
        if not place.exists():
            archive = self.github.git(self.repository).git("archive", "--format=tar", sha)
            place.mkdir(parents=True)
            with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
                packed.extractall(place, filter="data")
        self.machine.docker("build", "-q", "-t", self._image(sha), str(place))
        time.sleep(max(0.0, at_least_s - (time.monotonic() - began)))

    def _image(self, sha: str) -> str:
        return f"{self.plan.container}:{sha}"

    def _replace(self, sha: str) -> None:
        """Stop and remove the old container, logs and all, and start the new one."""
        name, port = self.plan.container, self.plan.port
        if self.machine.container(name) is not None:
            self.machine.docker("stop", "-t", str(STOP_WITHIN_S), name)
            self.machine.docker("rm", name)
        env_file = self.folder / ".env"
        env_file.write_text("".join(f"{key}={value}\n" for key, value in self.plan.variables().items()))
        env_file.chmod(0o600)
        self.machine.docker(
            "run",
            "-d",
            "--name",
            name,
            "--env-file",
            str(env_file),
            "-p",
            f"127.0.0.1:{port}:8000",
            self._image(sha),
        )
