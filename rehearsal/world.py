"""The whole embedded world, started and stopped as one; also the way for tests to use only a part of it.

Everything:

    with World() as world:             # GitHub, runner, machine, load balancer, AWS, the bot's processes
        world.github.pulls.merge(world.repository, 42, world.github.user("dana"))
        ...
        world.bot_comments(42), world.incidents(), world.secrets.found_in(text)

Without the bot's processes (`world.bot` is None; `world.bot_environment()` says what to start it with):

    with World(bot=False) as world: ...

Parts alone, each a context manager of its own: `GitHub(folder)` (rehearsal.github), `Machine(folder)`
(rehearsal.machine), `LoadBalancer(name, [group])` (rehearsal.load_balancer), `Aws(region, control_url, ...)`
(rehearsal.aws).

`start` and `stop` may also be called by hand. Whatever happens, `stop` leaves no process and no folder behind
(`keep_folder=True` keeps the folder). When the world itself is killed, its janitor cleans up.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rehearsal.aws import ADMINISTRATOR, CREDENTIALS, Aws
from rehearsal.bot_processes import BotFailed, BotProcesses
from rehearsal.github import GitHub
from rehearsal.github_state import Comment
from rehearsal.janitor import Janitor, adopt_orphans
from rehearsal.load_balancer import HealthCheck, LoadBalancer, Target, TargetGroup, Traffic
from rehearsal.machine import Machine
from rehearsal.planted_secrets import PlantedSecrets
from rehearsal.runner import BUILD_S, Plan, Runner
from rehearsal.serving import LOOPBACK, fetch, free_port, wait_until
from rehearsal.slack import Slack
from rehearsal.stagelog_history import open_broken_pull, open_harmless_pull, write_history
from rehearsal.surroundings import RehearsalFailed, bare_environment

OWNER, NAME, BRANCH, ENVIRONMENT = "acme", "stagelog", "develop", "develop"
CONTAINER, TARGET_GROUP, BOT_SLUG = "stagelog-api", "stagelog-dev", "rollback-bot"
REGION = "eu-central-1"
PEOPLE = {
    "dana": ("Dana Reyes", "write"),
    "lee": ("Lee Okafor", "maintain"),
    "priya": ("Priya Nair", "admin"),
    "sam": ("Sam Ito", "triage"),
}
READY_WITHIN_S = 60.0
POLICY = Path(__file__).resolve().parent.parent / "docs" / "iam-policy.json"


class WorldFailed(RehearsalFailed):
    """A part of the world did not come up; the message says which and where its log is."""


class World:
    """One acme/stagelog, deployed and healthy once `start` returns, with pull requests #42 and #43 open."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        bot: bool = True,
        protected: bool = False,
        watch_for_s: int = 60,
        build_s: float = BUILD_S,
        traffic: bool = True,
        keep_folder: bool = False,
        server_file: str = "",
    ) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="rollback-rehearsal-"))
        self.keep_folder = keep_folder or folder is not None
        self._server_file = server_file
        self.secrets = PlantedSecrets.generate()
        self.webhook_secret = secrets.token_hex(20)
        self.deploy_webhook_secret = secrets.token_hex(20)
        self.instance_id = "i-0" + secrets.token_hex(8)
        self._with_bot, self._protected, self._traffic = bot, protected, traffic
        self._watch_for_s, self._build_s = watch_for_s, build_s
        self._stopped = False
        adopt_orphans()
        self._started: list[Callable[[], None]] = []
        self.bot: BotProcesses | None = None
        self.bot_port = free_port()
        self.base_url = f"http://{LOOPBACK}:{self.bot_port}"
        self._build_parts()

    def _build_parts(self) -> None:
        """Make every part, so that all addresses are known before any part runs."""
        self.janitor = Janitor()
        self._started.append(self.janitor.dismiss)
        for name in ("bot", "runner", "volume", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.volume = self.folder / "volume"
        self.app_port = free_port()
        self.github = GitHub(self.folder / "github")
        self.machine = Machine(self.folder / "machine")
        self.target_group = TargetGroup(TARGET_GROUP, HealthCheck())
        self.target = self.target_group.register(Target(self.instance_id, self.app_port))
        self.load_balancer = LoadBalancer(NAME, [self.target_group])
        self.site_url = self.load_balancer.url + "/"
        self.aws = Aws(
            REGION,
            self.load_balancer.control_url,
            [(self.target_group, self.app_port)],
            {self.instance_id: "10.0.12.34"},
            self.machine.environment,
            log=self.folder / "logs" / "aws.log",
            janitor=self.janitor,
            tags={TARGET_GROUP: {"rollback-bot": f"{OWNER}/{NAME}"}},
            iam=self._rights(),
        )
        self.traffic = Traffic(self.load_balancer.url)
        self.slack = Slack()
        self.slack.channel("deploys")
        self.slack.listen(f"{self.base_url}/webhooks/slack")

    def _rights(self) -> dict[str, Any] | None:
        """The bot may do what docs/ says that it needs and nothing else; an installation without docs/ knows no
        policies."""
        self.aws_journal = self.folder / "logs" / "aws-calls.jsonl"
        if not POLICY.is_file():
            return None
        everyone = {
            BOT_SLUG: {"policies": [json.loads(POLICY.read_text())]},
            CREDENTIALS["aws_access_key_id"]: {"policies": [ADMINISTRATOR]},
        }
        return {"principals": everyone, "journal": str(self.aws_journal)}

    def __enter__(self) -> World:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> World:
        """Bring everything up, in parallel where it can be; WorldFailed or BotFailed say what did not."""
        self.aws.start()
        self._started.append(self.aws.stop)
        self.slack.start()
        self._started.append(self.slack.stop)
        self._start_github()
        failures: list[BaseException] = []
        jobs = [self._start_site] + ([self._start_bot] if self._with_bot else [])
        threads = [threading.Thread(target=_collecting, args=(job, failures), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        self.aws.wait()
        if self._traffic:
            self.traffic.start()
            self._started.append(self.traffic.stop)
        return self

    def _start_github(self) -> None:
        for login, (name, _) in PEOPLE.items():
            self.github.user(login, name=name)
        self.github.start()
        self._started.append(self.github.stop)
        self.repository = self.github.create_repository(
            OWNER, NAME, default_branch=BRANCH, private=True, description="Keeps the stages of a production"
        )
        self.repository.roles.update({login: role for login, (_, role) in PEOPLE.items()})
        write_history(self.github, self.repository, self.site_url, watch_for_s=self._watch_for_s)
        open_broken_pull(self.github, self.repository)
        open_harmless_pull(self.github, self.repository)
        if self._protected:
            self.github.protect(self.repository, BRANCH)
        app, key = self.github.install_app(BOT_SLUG, OWNER)
        self._key_path = self.folder / "bot" / "app.pem"
        self._key_path.write_bytes(key)
        self._key_path.chmod(0o600)
        self.app_id, self.bot_login = app.id, app.bot.login
        plan = Plan(
            BRANCH,
            ENVIRONMENT,
            CONTAINER,
            self.app_port,
            self.site_url,
            self.container_environment,
            self._build_s,
        )
        self.runner = Runner(self.github, self.repository, self.machine, plan, self.folder / "runner")

    def _start_site(self) -> None:
        self._started.append(self.machine.stop)
        self.load_balancer.start()
        self._started.append(self.load_balancer.stop)
        head = self.github.git(self.repository).head(BRANCH)
        assert head is not None
        first = self.runner.deploy(head, quiet=True)
        self.runner.start()
        self._started.append(self.runner.stop)
        if not wait_until(lambda: self.target.state == "healthy", READY_WITHIN_S):
            logs = self.machine.docker("logs", CONTAINER, check=False)
            raise WorldFailed(
                f"StageLog did not come up ({first.reason}):\n{(logs.stdout + logs.stderr)[-2000:]}"
            )

    def _start_bot(self) -> None:
        self.bot = BotProcesses(self.folder / "bot", self.bot_environment(), self.janitor)
        self._started.append(self.bot.stop)
        self.bot.release()
        self.bot.start()
        self.connect_webhooks()
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.bot_ready():
            self.bot.check()
            if time.monotonic() > deadline:
                raise BotFailed(
                    f"The bot was not ready after {READY_WITHIN_S:.0f} s:\n{self.bot.tail('web')}\n"
                    f"{self.bot.tail('worker')}"
                )
            time.sleep(0.1)

    def connect_webhooks(self) -> None:
        """Send the App's events to the bot from now on; events before that were nobody's."""
        self.github.webhooks.configure(
            f"{self.base_url}/webhooks/github",
            self.webhook_secret,
            hook_id=self.github.ledger.next_id(),
            target_id=self.app_id,
            events=self.github.ledger.app.events if self.github.ledger.app else None,
        )

    def stop(self) -> None:
        """Put everything away, last started first; may be called twice, and after a half-finished start."""
        if self._stopped:
            return
        self._stopped = True
        while self._started:
            try:
                self._started.pop()()
            except Exception as error:  # the rest must still be put away
                print(f"rehearsal: putting the world away: {error!r}", flush=True)
        self.machine.stop()
        if not self.keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    # What the bot and the container are given

    def bot_environment(self) -> dict[str, str]:
        """The environment of the bot's processes; nothing of this terminal but PATH, HOME and the locale."""
        own = {
            "PYTHONUNBUFFERED": "1",
            "DATA_DIR": str(self.folder / "bot" / "data"),
            "PORT": str(self.bot_port),
            "BASE_URL": self.base_url,
            "GITHUB_API_URL": self.github.api_url,
            "GITHUB_SERVER_URL": self.github.url,
            "GITHUB_WEBHOOK_SECRET": self.webhook_secret,
            "GITHUB_APP_ID": str(self.app_id),
            "GITHUB_APP_PRIVATE_KEY": str(self._key_path),
            "DEPLOY_WEBHOOK_SECRET": self.deploy_webhook_secret,
            "SLACK_SIGNING_SECRET": self.slack.signing_secret,
            "SLACK_BOT_TOKEN": self.slack.token,
            "SLACK_API_URL": self.slack.api_url,
            "AWS_ENDPOINT_URL": self.aws.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": BOT_SLUG,
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PROBE_ALLOW": "127.0.0.0/8",
        }
        if self._server_file:
            path = self.folder / "bot" / "server.yml"
            path.write_text(self._server_file)
            own["ROLLBACK_CONFIG"] = str(path)
        return bare_environment(own)

    def container_environment(self) -> dict[str, str]:
        return {**self.secrets.environment, "SQLITE_PATH": str(self.volume / "stagelog.sqlite3")}

    def detach_volume(self) -> None:
        """Take StageLog's volume away: every page fails until it is attached, whatever is deployed."""
        self.volume.rename(self.volume.with_name("volume-detached"))

    def attach_volume(self) -> None:
        self.volume.with_name("volume-detached").rename(self.volume)

    # What can be seen from outside

    def pull_page(self, number: int) -> str:
        return self.github.shapes.pull_page(self.repository, number)

    def head(self) -> str:
        sha = self.github.git(self.repository).head(BRANCH)
        assert sha is not None
        return sha

    def site_status(self) -> int:
        """The status line of the public address, 0 when nobody answers."""
        try:
            return fetch(self.site_url)[0]
        except OSError:
            return 0

    def bot_comments(self, number: int) -> list[Comment]:
        return [one for one in self.repository.comments_on(number) if one.author.login == self.bot_login]

    def bot_ready(self) -> bool:
        return self._bot_json("/readyz") is not None

    def incidents(self) -> list[dict[str, Any]]:
        """What the bot's own JSON says of its incidents; empty when it cannot be asked."""
        told = self._bot_json("/api/incidents")
        return list(told.get("incidents", [])) if isinstance(told, dict) else []

    def incident(self, identity: str) -> dict[str, Any]:
        told = self._bot_json(f"/api/incidents/{identity}")
        return told if isinstance(told, dict) else {}

    def _bot_json(self, path: str) -> Any:
        """The bot's JSON at a path, an empty object for other content, None when the answer is not 200."""
        try:
            status, body = fetch(self.base_url + path)
        except OSError:
            return None
        if status != 200:
            return None
        try:
            return json.loads(body)
        except ValueError:
            return {}


def _collecting(job: Callable[[], None], failures: list[BaseException]) -> None:
    try:
        job()
    except BaseException as error:
        failures.append(error)
