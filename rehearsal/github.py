"""A stand-in GitHub on loopback: real git over HTTP, the REST answers the bot needs, webhooks, PR pages.

    with GitHub(folder) as github:
        repository = github.create_repository("acme", "stagelog", default_branch="develop")
        token = github.personal_token("dana")          # signs git and REST in
        github.webhooks.configure(url, secret, hook_id=1, target_id=1)
        pull = github.pulls.open(repository, github.user("dana"), head="feature/x", base="develop", title="X")
        github.pulls.merge(repository, pull.number, github.user("dana"))

`github.url` is GITHUB_SERVER_URL, `github.api_url` is GITHUB_API_URL. `github.pushes` tells when which push
was accepted, and from whom.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from werkzeug.wrappers import Request

from rehearsal.github_activity import Activity
from rehearsal.github_events import Events
from rehearsal.github_git import ZERO, BareRepository
from rehearsal.github_http_git import GitOverHttp
from rehearsal.github_pages import pages_application
from rehearsal.github_pulls import PullRequests
from rehearsal.github_rest import rest_application
from rehearsal.github_shapes_work import WorkShapes
from rehearsal.github_state import App, Ledger, Protection, Repository, Token, User
from rehearsal.github_webhooks import Webhooks
from rehearsal.serving import Server

API_PREFIX = "/api/v3"
INSTALLATION_TOKEN_S = 3600.0
APP_PERMISSIONS = {
    "checks": "write",
    "contents": "write",
    "deployments": "read",
    "issues": "write",
    "members": "read",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "read",
    "actions": "read",
}
APP_EVENTS = [
    "check_run",
    "deployment",
    "deployment_status",
    "issue_comment",
    "pull_request",
    "push",
    "workflow_run",
]


@dataclass(frozen=True, slots=True)
class Push:
    """A branch that moved: from where to where, who moved it and when (epoch seconds)."""

    repository: str
    ref: str
    before: str
    after: str
    by: str
    at_s: float


class GitHub:
    """The stand-in; make it with a folder for its repositories, `start` it, `stop` it."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.root = folder / "git"
        self.root.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger()
        self.webhooks = Webhooks()
        self.pushes: list[Push] = []
        self.installation_token_s = INSTALLATION_TOKEN_S
        self.requests: list[tuple[str, str, int]] = []
        self.operations: tuple[tuple[str, str], ...] = ()
        self._git_door = GitOverHttp(self, self.root)
        self._server = Server("github", self._application, port)
        self.url = self._server.url
        self.api_url = self.url + API_PREFIX
        self.shapes = WorkShapes(self.url, self.api_url)
        self.events = Events(self)
        self.pulls = PullRequests(self)
        self.activity = Activity(self)
        self._rest = rest_application(self, API_PREFIX)
        self._pages = pages_application(self)

    def __enter__(self) -> GitHub:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> GitHub:
        self._server.start()
        self.webhooks.start()
        return self

    def stop(self) -> None:
        self.webhooks.stop()
        self._server.stop()

    def _application(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "/")
        if path.startswith(API_PREFIX) or path in ("/api/graphql",):
            return self._rest(environ, start_response)
        if GitOverHttp.accepts(path):
            return self._git_door(Request(environ))(environ, start_response)
        return self._pages(environ, start_response)

    # People and what signs them in

    def user(self, login: str, kind: str = "User", **facts: Any) -> User:
        return self.ledger.user(login, kind, **facts)

    def people(self) -> dict[str, User]:
        """Commit e-mail address → user."""
        return {user.commit_email: user for user in self.ledger.users.values()}

    def personal_token(self, login: str) -> str:
        """A token of a person, good until the world ends."""
        token = Token("ghp_" + secrets.token_hex(18), self.user(login))
        self.ledger.tokens[token.secret] = token
        return token.secret

    def install_app(self, slug: str, owner: str) -> tuple[App, bytes]:
        """Register an App of that name, installed on every repository of `owner`; with its private key."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        app = App(
            id=self.ledger.next_id() % 1_000_000,
            slug=slug,
            name=slug.replace("-", " ").title(),
            owner=self.user(owner, "Organization"),
            bot=self.user(f"{slug}[bot]", "Bot"),
            public_key_pem=public,
            permissions=dict(APP_PERMISSIONS),
            events=list(APP_EVENTS),
            created_s=time.time() - 86_400,
            installation_id=self.ledger.next_id() % 100_000_000,
            client_id="Iv23li" + secrets.token_hex(7),
        )
        self.ledger.app = app
        return app, private

    def installation_token(
        self, app: App, permissions: dict[str, str], repository_ids: frozenset[int] | None
    ) -> Token:
        token = Token(
            "ghs_" + secrets.token_hex(18),
            app.bot,
            app,
            permissions,
            time.time() + self.installation_token_s,
            repository_ids,
        )
        self.ledger.tokens[token.secret] = token
        return token

    def valid_token(self, secret: str) -> Token | None:
        token = self.ledger.tokens.get(secret)
        if token is None or (token.expires_s is not None and token.expires_s <= time.time()):
            return None
        return token

    def token_covers(self, token: Token, repository: Repository) -> bool:
        """Whether an installation token was made for this repository."""
        if token.app is None:
            return True
        if repository.owner is not token.app.owner:
            return False
        return token.repository_ids is None or repository.id in token.repository_ids

    def token_role(self, token: Token, repository: Repository) -> str:
        if token.app is None:
            return repository.role_of(token.user.login)
        if not self.token_covers(token, repository):
            return "none" if repository.private else "read"
        return "write" if token.permissions.get("contents") == "write" else "read"

    # Repositories and branches

    def create_repository(
        self,
        owner: str,
        name: str,
        *,
        default_branch: str = "main",
        private: bool = False,
        description: str = "",
    ) -> Repository:
        holder = self.user(owner, "Organization")
        path = self.root / owner / f"{name}.git"
        BareRepository.create(path, default_branch)
        repository = Repository(
            self.ledger.next_id(),
            holder,
            name,
            path,
            time.time() - 86_400 * 200,
            default_branch,
            private,
            description or None,
            pushed_s=time.time(),
        )
        self.ledger.repositories[repository.full_name.lower()] = repository
        return repository

    def git(self, repository: Repository) -> BareRepository:
        return BareRepository(repository.path)

    def protect(self, repository: Repository, branch: str, **rule: Any) -> None:
        """Refuse pushes to a branch; it changes by pull request only."""
        repository.protected[branch] = Protection(**rule)

    def refs_pushed(self, repository: Repository, before: dict[str, str], token: Token) -> None:
        """Find what a push changed and tell it."""
        after = self.git(repository).refs("refs/")
        for ref in sorted(before.keys() | after.keys()):
            old, new = before.get(ref, ZERO), after.get(ref, ZERO)
            if old != new:
                self.branch_moved(repository, ref, old, new, token.user)

    def branch_moved(self, repository: Repository, ref: str, before: str, after: str, by: User) -> None:
        """A branch points elsewhere now: record it, tell it, bring pull requests along."""
        repository.pushed_s = time.time()
        self.pushes.append(Push(repository.full_name, ref, before, after, by.login, time.time()))
        self.events.push(repository, ref, before, after, by)
        if ref.startswith("refs/heads/"):
            self.pulls.follow_push(repository, ref, before, after, by)
