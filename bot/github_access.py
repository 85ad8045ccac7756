"""Signs us in at GitHub, as an App with one short-lived token a repository, or with a plain token."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from github import Auth, Github, GithubException, GithubIntegration, GithubRetry
from github.Repository import Repository
from github.Requester import Requester

from bot.app_key import usable_key
from bot.failures import BadSettings, CannotReachForge
from bot.github_failures import asking_github, once_only

REQUEST_TIMEOUT_S = 12
"""GitHub itself gives up on a request after 10 s."""
RENEW_BEFORE_S = 300.0
"""A token must outlive the longest use of it, a push; installation tokens live for an hour."""

_FULL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are at GitHub: as the author of commits (`name`, `email`) and of comments (`login`, ids)."""

    name: str
    email: str
    login: str
    user_id: int | None = None
    app_id: int | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    expires_at_s: float


class _InstallationAuth(Auth.Auth):
    """PyGithub's way to ask us for the token of one repository; its own renews only 20 s before expiry."""

    def __init__(self, current: Callable[[], str]) -> None:
        self._current = current

    @property
    def token_type(self) -> str:
        return "token"

    @property
    def token(self) -> str:
        return self._current()


class GitHubAccess:
    """Clients and credentials per repository. Thread-safe. Nothing is asked of GitHub before it is needed.

    `private_key` is PEM text or the path of a file with it; an App is preferred where both are given. Raises
    BadSettings for a key that is none, an App without a key, and where there are no credentials at all.
    """

    def __init__(
        self,
        api_url: str,
        server_url: str,
        app_id: int | str | None = None,
        private_key: str | None = None,
        token: str | None = None,
    ) -> None:
        # PyGithub writes whole answers to its debug log, and the answer to a token request is a token.
        logging.getLogger("github").setLevel(logging.INFO)
        self.api_url = api_url.rstrip("/")
        self.server_url = server_url.rstrip("/")
        self._lock = threading.Lock()
        self._one_asks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._installations: dict[str, int] = {}
        self._tokens: dict[str, _Token] = {}
        self._clients: dict[str, Github] = {}
        self._identity: Identity | None = None
        self._token = token or ""
        self._app: GithubIntegration | None = None
        if app_id is not None and private_key:
            self._app = self._as_app(Auth.AppAuth(str(app_id), usable_key(private_key)))
        elif app_id is not None and not token:
            raise BadSettings("GITHUB_APP_ID is set without GITHUB_APP_PRIVATE_KEY. Set the App's key too.")
        elif not token:
            raise BadSettings(
                "Nothing signs us in at GitHub. Set GITHUB_APP_ID and its key, or GITHUB_TOKEN."
            )

    def __repr__(self) -> str:
        return f"GitHubAccess({self.api_url!r}, as {'an App' if self._app else 'the owner of a token'})"

    def for_repository(self, full_name: str) -> Repository:
        """A client of `owner/name`; makes no request by itself. Other names raise CannotReachForge."""
        return self._client(_checked(full_name)).get_repo(full_name)

    def app_requester(self) -> Requester | None:
        """Requests signed as the App itself, such as for its hook; None where a plain token signs us in."""
        return self._app.requester if self._app else None

    def credentials(self, full_name: str) -> tuple[str, str]:
        """User and password for git over HTTP, good for at least five minutes. Raises CannotReachForge."""
        _checked(full_name)
        if self._app is None:
            return "x-access-token", self._token
        with asking_github(f"give us a token for {full_name}"):
            return "x-access-token", self._installation_token(self._app, full_name)

    def identity(self) -> tuple[str, str, str]:
        """Our name, e-mail address for commits, and login. Asked once. Raises CannotReachForge."""
        me = self.me()
        return me.name, me.email, me.login

    def me(self) -> Identity:
        """Who we are, with the ids our comments are recognised by. Asked once. Raises CannotReachForge."""
        with self._one_asks[""]:
            if self._identity is None:
                with asking_github("say who we are"):
                    self._identity = self._app_identity(self._app) if self._app else self._token_identity()
            return self._identity

    def forget(self, full_name: str) -> None:
        """Drop what is cached of a repository, because GitHub refused it (App reinstalled, token revoked)."""
        self._tokens.pop(full_name.lower(), None)
        self._installations.pop(full_name.lower(), None)

    def _client(self, full_name: str) -> Github:
        app, key = self._app, full_name.lower() if self._app else ""
        with self._lock:
            if key not in self._clients:
                auth: Auth.Auth = (
                    Auth.Token(self._token)
                    if app is None
                    else _InstallationAuth(lambda: self._installation_token(app, full_name))
                )
                self._clients[key] = self._signed(auth)
            return self._clients[key]

    def _signed(self, auth: Auth.Auth | None) -> Github:
        """The one place where a client is made."""
        return Github(
            auth=auth,
            base_url=self.api_url,
            timeout=REQUEST_TIMEOUT_S,
            user_agent="rollback-bot",
            per_page=100,
            retry=_retry(),
            # Pauses between calls would stand between a verdict and its push; our writes are minutes apart.
            seconds_between_requests=None,
            seconds_between_writes=None,
            lazy=True,
        )

    def _as_app(self, signer: Auth.AppAuth) -> GithubIntegration:
        return GithubIntegration(**self._signed(signer).requester.kwargs)

    def _installation_token(self, app: GithubIntegration, full_name: str) -> str:
        key = full_name.lower()
        with self._one_asks[key]:
            kept = self._tokens.get(key)
            if kept is not None and kept.expires_at_s - time.time() >= RENEW_BEFORE_S:
                return kept.text
            known_before = key in self._installations
            try:
                new = self._new_token(app, full_name)
            except GithubException as error:
                if error.status != 404 or not known_before:
                    raise
                self.forget(full_name)
                new = self._new_token(app, full_name)
            self._tokens[key] = new
            return new.text

    def _new_token(self, app: GithubIntegration, full_name: str) -> _Token:
        """A token for this one repository, so that what git holds for it opens no other. May be repeated."""
        owner, name = full_name.split("/")
        key = full_name.lower()
        if key not in self._installations:
            self._installations[key] = app.get_repo_installation(owner, name).id
        return self._ask_token(app, self._installations[key], {"repositories": [name]})

    def _ask_token(self, app: GithubIntegration, installation: int, what_for: dict[str, Any]) -> _Token:
        def ask() -> _Token:
            path = f"/app/installations/{installation}/access_tokens"
            _, answer = app.requester.requestJsonAndCheck("POST", path, input=what_for)
            return _Token(str(answer["token"]), datetime.fromisoformat(answer["expires_at"]).timestamp())

        return once_only(lambda: None, ask)

    def _app_identity(self, app: GithubIntegration) -> Identity:
        about = app.get_app()
        login = f"{about.slug}[bot]"
        user_id = int(self._profile_of_bot(app, login)["id"])
        return Identity(login, self._no_reply(user_id, login), login, user_id, about.id)

    def _profile_of_bot(self, app: GithubIntegration, login: str) -> dict[str, Any]:
        """An App's own JWT may not read profiles. Anyone may, except on an enterprise's private server."""
        path = f"/users/{quote(login)}"
        try:
            with self._signed(None) as anyone:
                return dict(anyone.requester.requestJsonAndCheck("GET", path)[1])
        except GithubException as error:
            somewhere = next(iter(app.get_installations()), None)
            if somewhere is None:
                raise error
            token = self._ask_token(app, somewhere.id, {"permissions": {"metadata": "read"}})
            with self._signed(Auth.Token(token.text)) as installed:
                return dict(installed.requester.requestJsonAndCheck("GET", path)[1])

    def _token_identity(self) -> Identity:
        with self._signed(Auth.Token(self._token)) as client:
            try:
                _, profile = client.requester.requestJsonAndCheck("GET", "/user")
            except GithubException as error:
                if error.status != 403:
                    raise
                # The token of an installation is no user for REST; GraphQL still says whose it is.
                _, answer = client.requester.graphql_query("query { viewer { login databaseId } }", {})
                viewer = answer["data"]["viewer"]
                profile = {"login": viewer["login"], "id": viewer["databaseId"]}
        login, user_id = str(profile["login"]), int(profile["id"])
        email = profile.get("email") or self._no_reply(user_id, login)
        return Identity(profile.get("name") or login, email, login, user_id)

    def _no_reply(self, user_id: int, login: str) -> str:
        """The address that ties a commit to its account (GitHub's "Email addresses reference")."""
        host = urlsplit(self.server_url).hostname or ""
        enterprise = "." in host and not host.replace(".", "").isdigit() and host != "github.com"
        return f"{user_id}+{login}@users.noreply.{host if enterprise else 'github.com'}"


def _retry() -> GithubRetry:
    """PyGithub's default repeats a POST too (seen: one comment sent eleven times in 0.4 s); never here."""
    return GithubRetry(
        total=3,
        backoff_factor=0.2,
        allowed_methods={"GET", "HEAD", "PUT", "DELETE"},
        max_rate_limit_wait=60,
        retry_after_max=60,
    )


def _checked(full_name: str) -> str:
    if not _FULL_NAME.fullmatch(full_name):
        raise CannotReachForge(f"{full_name[:80]!r} is no repository. Name it owner/name.")
    return full_name
