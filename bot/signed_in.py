"""Keeps us signed in at GitHub for the repositories that deploy: nobody's first command waits for a token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from bot.failures import BotFailure

log = structlog.get_logger(__name__)

EVERY_S = 120.0
"""Less than what a token must have left to be used, so that it is renewed here and not under a command."""
DEPLOYED_WITHIN_S = 30 * 86_400.0
MOST_REPOSITORIES = 50
"""A token each an hour; the most recently deployed are those that people talk about."""


class SignIn(Protocol):
    """`bot.github_access.GitHubAccess` in production."""

    def identity(self) -> tuple[str, str, str]: ...

    def credentials(self, full_name: str) -> tuple[str, str]: ...


class NewestDeploys(Protocol):
    """`bot.store.Store` in production."""

    def newest_completed(self, since_s: float) -> dict[str, float]: ...


class SignedIn(threading.Thread):
    """A thread of its own: GitHub may be away when a worker starts, and nothing waits for it here."""

    def __init__(
        self, access: SignIn, deploys: NewestDeploys, *, now: Callable[[], float] = time.time
    ) -> None:
        super().__init__(name="signed-in", daemon=True)
        self._access = access
        self._deploys = deploys
        self._now = now
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopping.set()

    def run(self) -> None:
        while True:
            try:
                self.renew()
            except BotFailure as failure:
                log.info("github.not_signed_in", reason=failure.reason)
            except Exception:
                log.exception("github.sign_in_broke")
            if self._stopping.wait(EVERY_S):
                return

    def renew(self) -> int:
        """Have a token for each repository that deployed lately; for how many. May be repeated. Raises
        CannotReachForge, CannotStore."""
        self._access.identity()
        newest = self._deploys.newest_completed(self._now() - DEPLOYED_WITHIN_S)
        services = sorted(newest, key=lambda service: newest[service], reverse=True)
        repositories = list(dict.fromkeys(service.partition(":")[0] for service in services))
        done = 0
        for repository in repositories[:MOST_REPOSITORIES]:
            if self._stopping.is_set():
                break
            try:
                self._access.credentials(repository)
                done += 1
            except BotFailure as failure:  # uninstalled there; the others still count
                log.info("github.no_token", repository=repository, reason=failure.reason)
        return done
