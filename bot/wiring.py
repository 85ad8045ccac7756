"""Builds the parts of a process from its settings: the one place that knows every adapter."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass

from bot.acting import Hands
from bot.aws import AwsClients
from bot.check_runs import GitHubCheckRuns
from bot.config_model import ServerFile
from bot.conversation import GitHubConversation
from bot.deploy_news import DeployNews
from bot.desk import Engine
from bot.desk_chat import ChatDesk
from bot.evidence import Capture
from bot.failures import BotFailure
from bot.freezes import Freezes
from bot.github_access import GitHubAccess
from bot.github_missed import GitHubMissed
from bot.http_probe import HttpxProbe
from bot.places import GitHubPlace
from bot.repository import CommitIdentity, GitRepositories
from bot.server_config import server_file
from bot.settings import Settings
from bot.siblings import Siblings
from bot.slack_parts import Slack, slack_parts
from bot.store import Store
from bot.target_health import AlbTargetHealth
from bot.telling import Voice
from bot.traffic import CloudWatchTraffic
from bot.watching import Eyes
from policies.asked import GITHUB

FALLBACK_IDENTITY = ("rollback-bot", "rollback-bot@users.noreply.github.com")


@dataclass(frozen=True)
class Worker:
    """What a worker process is made of."""

    store: Store
    eyes: Eyes
    hands: Hands
    voice: Voice
    repository: GitRepositories
    conversation: GitHubConversation
    freezes: Freezes
    missed: GitHubMissed
    access: GitHubAccess
    slack: Slack

    def desk(self, engine: Engine) -> ChatDesk:
        """What the commands of people work with; `engine` is the door to guards at work."""
        return ChatDesk(
            chat=self.slack.chat,
            conversation=self.conversation,
            places={GITHUB: GitHubPlace(self.conversation), **self.slack.places},
            repository=self.repository,
            eyes=self.eyes,
            hands=self.hands,
            store=self.store,
            engine=engine,
            freezes=self.freezes,
        )


def github_access(settings: Settings) -> GitHubAccess:
    """Access to GitHub as the App, else by the token."""
    return GitHubAccess(
        api_url=settings.github_api_url,
        server_url=settings.github_server_url,
        app_id=settings.github_app_id,
        private_key=settings.app_private_key,
        token=settings.github_token.get_secret_value() if settings.github_token else None,
    )


def git_identity(settings: Settings, access: GitHubAccess) -> CommitIdentity:
    """Who commits: the settings, else the App's bot user, else (GitHub out of reach) a neutral name."""
    name, email = FALLBACK_IDENTITY
    with contextlib.suppress(BotFailure):
        name, email, _login = access.identity()
    return CommitIdentity(settings.git_author_name or name, settings.git_author_email or email)


def _external_ids(file: ServerFile | None) -> dict[str, str]:
    accesses = (file.aws or {}).values() if file else ()
    return {one.role_arn: one.external_id for one in accesses if one.role_arn and one.external_id}


def worker_parts(settings: Settings) -> Worker:
    """Everything a worker needs, connected to nothing yet. Raises BadConfiguration, BadSettings."""
    own_file = server_file(settings)
    store = Store(settings.database)
    access = github_access(settings)
    pull_requests = GitHubConversation(access)
    aws = AwsClients(region=settings.aws_region, external_ids=_external_ids(own_file))
    repository = GitRepositories(
        settings.data_dir,
        settings.github_server_url,
        access.credentials,
        # Asked when a commit is made: a worker that starts while GitHub is away must neither wait for it nor
        # commit under the neutral name ever after.
        lambda: git_identity(settings, access),
        allow_http=settings.github_server_url.startswith("http://"),
    )
    probe = HttpxProbe(tuple(ipaddress.ip_network(network, strict=False) for network in settings.probe_allow))
    slack = slack_parts(settings, store, (own_file.notify_targets if own_file else None) or {})
    voice = Voice(
        repository=repository,
        pull_requests=pull_requests,
        book=store,
        base_url=settings.base_url,
        channels=slack.channels,
    )
    target_health = AlbTargetHealth(aws)
    traffic = CloudWatchTraffic(aws)
    evidence = Capture(aws, probe, target_health, traffic)
    eyes = Eyes(
        repository=repository,
        pull_requests=pull_requests,
        probe=probe,
        target_health=target_health,
        traffic=traffic,
        evidence=evidence,
        samples=store,
        history=DeployNews(voice, store),
        siblings=Siblings(store),
        server_file=own_file,
    )
    hands = Hands(
        repository=repository,
        pull_requests=pull_requests,
        deployments=pull_requests,
        evidence=evidence,
        memory=store,
    )
    freezes = Freezes(store=store, conversation=pull_requests, checks=GitHubCheckRuns(access))
    missed = GitHubMissed(access)
    return Worker(store, eyes, hands, voice, repository, pull_requests, freezes, missed, access, slack)
