"""The lightest world in which every effect of a rollback is real, and many stories can be played one by one.

Real: GitHub's REST, webhooks and git over HTTP (the rehearsal's stand-in), a site that fails or not, a load
balancer's health checks, AWS (moto, with SSM that runs a shell), the bot's web application and its database.
Small: a repository of two files, a budget of a second, and a deploy of half a second.
"""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bot import migrations
from bot.durable import migrate_engine
from bot.settings import Settings
from bot.store import Store
from policies.facts import HealthSample, ProbeSample
from rehearsal.aws import Aws
from rehearsal.github_git import ZERO, BareRepository, Signature
from rehearsal.github_state import PullRequest, Repository
from rehearsal.load_balancer import HealthCheck, LoadBalancer, Target, TargetGroup
from rehearsal.machine import Machine
from rehearsal.serving import Server
from tests.github_stand_in import FaultyGitHub
from webhooks.app import create_app

OWNER, BRANCH, ENVIRONMENT = "acme", "develop", "develop"
REGION, GROUP, INSTANCE, CONTAINER = "eu-central-1", "stagelog-dev", "i-0abc123def4567890", "stagelog-api"
BASE_URL = "http://bot.example"
SECRET = "a webhook secret of the tests"
BUILD_S = 0.3
WHO = Signature("Dana", "dana@example.com", "2026-05-04T12:00:00+00:00")

CONFIG = """version: 1
mode: auto
health:
  interval: 250ms
  watch_for: 4s
  budget: 700ms
  budget_before_first_good: 700ms
  budget_with_crash: 500ms
  first_good_after: 600ms
rollback: {{verify_within: 40s, decide_within: 30s, max_per_hour: 50, max_per_day: 50}}
environments:
  develop:
    branch: develop
    url: {url}
    target_groups: [{group}]
    runtime: {{container: {container}}}
"""


class Site:
    """Serves what is deployed at `/<repository>/`: 200 for a good tree, 502 for a bad one."""

    def __init__(self) -> None:
        self.bad: set[str] = set()
        self._server = Server("site", self._answer).start()
        self.port, self.url = self._server.port, self._server.url

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        name = environ.get("PATH_INFO", "/").strip("/").split("/")[0]
        status = "502 Bad Gateway" if name in self.bad else "200 OK"
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]

    def stop(self) -> None:
        self._server.stop()


@dataclass
class Story:
    """One repository with a bad pull request, its database, and where a worker of it keeps its files."""

    name: str
    repository: Repository
    pull: PullRequest
    database: str
    data_dir: Path
    base: str
    merge: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def service(self) -> str:
        return f"{self.repository.full_name}:{ENVIRONMENT}"


class LightWorld:
    """Stands once a session; `story` makes a fresh repository and database in it."""

    def __init__(self, folder: Path, *, aws: bool = True, build_s: float = BUILD_S) -> None:
        self.folder = folder
        self.build_s = build_s
        self.site = Site()
        self.github = FaultyGitHub(folder / "github")
        self.github.start()
        for login in ("dana", "lee"):
            self.github.user(login)
        self.app, key = self.github.install_app("rollback-bot", OWNER)
        self._key_path = folder / "app.pem"
        self._key_path.write_bytes(key)
        self.aws: Aws | None = None
        if aws:
            self._start_aws()
        self._apps: dict[str, Any] = {}
        self._hook = Server("web", self._web).start()
        self.listen(self._hook.url)
        self._runner = ThreadPoolExecutor(8, thread_name_prefix="runner")
        self.github.events.listeners.append(self._hear)
        self._template: Path | None = None
        self._migrating = threading.Lock()

    def _start_aws(self) -> None:
        self.machine = Machine(self.folder / "machine")
        self.group = TargetGroup(GROUP, HealthCheck(path="/health", interval_s=1.0))
        self.group.register(Target(INSTANCE, self.site.port))
        self.balancer = LoadBalancer("stagelog", [self.group]).start()
        self.aws = Aws(
            REGION,
            self.balancer.control_url,
            [(self.group, self.site.port)],
            {INSTANCE: "10.0.12.34"},
            self.machine.environment,
            log=self.folder / "aws.log",
        )
        self.aws.start()
        self.aws.wait()

    def stop(self) -> None:
        self.github.events.listeners.remove(self._hear)
        self._runner.shutdown(wait=True)
        self.github.stop()
        self._hook.stop()
        if self.aws is not None:
            self.aws.stop()
            self.balancer.stop()
            self.machine.stop()
        self.site.stop()

    # --- the stories ----------------------------------------------------------------------------------

    def story(self, name: str, database: str, *, config: str = CONFIG, protected: bool = False) -> Story:
        """A repository whose pull request #42 breaks the site, and a database that remembers it healthy."""
        repository = self.github.create_repository(OWNER, name, default_branch=BRANCH, private=True)
        repository.roles["dana"] = "maintain"
        url = f"{self.site.url}/{name}/"
        git = self.github.git(repository)
        text = config.format(url=url, group=GROUP, container=CONTAINER)
        if self.aws is None:
            text = text.replace(f"    target_groups: [{GROUP}]\n", "").replace(
                f"    runtime: {{container: {CONTAINER}}}\n", ""
            )
        files = {".github/rollback.yml": text, "app.py": "print('good')\n"}
        base = _commit(git, BRANCH, files, [], "Start")
        _commit(git, "feature/uploads", {**files, "app.py": "print('BROKEN')\n"}, [base], "Read settings")
        pull = self.github.pulls.open(
            repository,
            self.github.user("dana"),
            head="feature/uploads",
            base=BRANCH,
            title="Uploads",
            number=42,
        )
        if protected:
            self.github.protect(repository, BRANCH, required_reviews=0)  # nobody pushes, anybody merges
        story = Story(name, repository, pull, database, self.folder / "data" / name, base)
        story.data_dir.mkdir(parents=True)
        story.environment = self.environment(story)
        store = Store(database)
        now_s = time.time()
        good = HealthSample(t_s=0.0, probe=ProbeSample(3, 0, 200))
        store.add_samples(story.service, [(now_s - back_s, good) for back_s in range(60, 0, -5)])
        store.close()
        return story

    def merge(self, story: Story) -> str:
        """Dana merges; the runner deploys what then stands on the branch."""
        story.merge = self.github.pulls.merge(story.repository, 42, self.github.user("dana")).sha
        return story.merge

    def fresh_database(self, url: str) -> str:
        """`url`, migrated; on SQLite by copying a file that was migrated once."""
        with self._migrating:  # alembic keeps what it is doing in module globals
            return self._migrated(url)

    def _migrated(self, url: str) -> str:
        if not url.startswith("sqlite"):
            _migrate(url)
            return url
        path = Path(url.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._template is None:
            template = self.folder / "migrated.db"
            _migrate(f"sqlite:///{template}")
            self._template = template
        shutil.copyfile(self._template, path)
        return url

    def environment(self, story: Story, **more: str) -> dict[str, str]:
        """The settings of the bot's processes."""
        aws = {"AWS_ENDPOINT_URL": self.aws.url} if self.aws else {}
        return {
            "DATABASE_URL": story.database,
            "DATA_DIR": str(story.data_dir),
            "BASE_URL": BASE_URL,
            "GITHUB_API_URL": self.github.api_url,
            "GITHUB_SERVER_URL": self.github.url,
            "GITHUB_WEBHOOK_SECRET": SECRET,
            "GITHUB_APP_ID": str(self.app.id),
            "GITHUB_APP_PRIVATE_KEY": str(self._key_path),
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PROBE_ALLOW": "127.0.0.0/8",
            "LOG_FORMAT": "json",
            **aws,
            **more,
        }

    @contextmanager
    def hearing(self, story: Story) -> Iterator[Store]:
        """The bot's web application for this story's repository; with a store of its database."""
        store = Store(story.database)
        settings = Settings.load(story.environment, role="web")
        self._apps[story.name] = create_app(settings, store=store)
        try:
            yield store
        finally:
            del self._apps[story.name]
            store.close()

    def listen(self, url: str) -> None:
        """Send GitHub's events to the bot at `url` from now on."""
        self.github.webhooks.configure(
            f"{url}/webhooks/github", SECRET, hook_id=1, target_id=self.app.id, events=self.app.events
        )

    def _web(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """The App has one address for its webhooks: hand each on to the bot of its repository."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        name = (json.loads(body or b"{}").get("repository") or {}).get("name", "")
        app = self._apps.get(name)
        if app is None:
            start_response("503 Nobody is there", [("Content-Length", "0")])
            return [b""]
        return app(environ, start_response)

    # --- the runner -----------------------------------------------------------------------------------

    def _hear(self, event: str, payload: dict[str, Any], repository: Repository) -> None:
        if event == "push" and payload["ref"] == f"refs/heads/{BRANCH}" and payload["after"] != ZERO:
            self._runner.submit(self.deploy, repository, payload["after"])

    def deploy(self, repository: Repository, sha: str, environment: str = ENVIRONMENT) -> int:
        """Deploy `sha`; the deployment's id."""
        activity, actor = self.github.activity, self.github.user("github-actions[bot]", "Bot")
        deployment = activity.deployment(repository, actor, ref=BRANCH, sha=sha, environment=environment)
        url = f"{self.site.url}/{repository.name}/"
        activity.deployment_status(repository, deployment, actor, "in_progress", environment_url=url)
        time.sleep(self.build_s)
        broken = b"BROKEN" in self.github.git(repository).git("show", f"{sha}:app.py")
        (self.site.bad.add if broken else self.site.bad.discard)(repository.name)
        activity.deployment_status(repository, deployment, actor, "success", environment_url=url)
        return deployment.id


def _migrate(url: str) -> None:
    migrations.migrate(url)
    migrate_engine(url)
    if url.startswith("sqlite"):
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()


def _commit(git: BareRepository, branch: str, files: dict[str, str], parents: list[str], message: str) -> str:
    """A commit of exactly `files` (folders at most one deep) on `branch`."""
    folders: dict[str, list[str]] = {"": []}
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        blob = git.git("hash-object", "-w", "--stdin", stdin=text.encode()).decode().strip()
        folders.setdefault(folder, []).append(f"100644 blob {blob}\t{name}")
    lines = folders.pop("")
    for folder, inside in folders.items():
        tree = git.git("mktree", stdin=("\n".join(inside) + "\n").encode()).decode().strip()
        lines.append(f"040000 tree {tree}\t{folder}")
    tree = git.git("mktree", stdin=("\n".join(lines) + "\n").encode()).decode().strip()
    sha = git.commit_tree(tree, parents, message, WHO, WHO)
    git.update(f"refs/heads/{branch}", sha)
    return sha
