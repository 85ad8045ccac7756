"""Catches up after downtime: GitHub never repeats a delivery by itself, so we ask for those that failed, and
compare the recent deployments of guarded repositories with what was heard."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from bot.failures import BotFailure
from bot.github_missed import SOURCE, Attempt, Deployment
from bot.inbox import DeployCompleted, DeployFailed, DeployHeard, DeployStarted, Inbox
from bot.store_deploys import DeployStatus, HeardDeploy

log = structlog.get_logger()

EVERY_S = 120.0
RECONCILE_EVERY_S = 900.0
WITHIN_S = 86_400.0
"""Nobody wants the deploy of the day before yesterday rolled back by itself today."""
PEOPLES_EVENTS = frozenset({"issue_comment", "check_run"})
PEOPLE_WITHIN_S = 900.0
"""What a person ordered longer ago was done by hand meanwhile, or is not wanted any more."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 3600.0
OURS_TO_MEND = frozenset({400, 413, 422})
"""Answers that would be the same for the same event again."""
GUARDED_WITHIN_S = 30 * 86_400.0
MOST_DEPLOYS = 5000
REPOSITORIES_A_ROUND = 200
ALIVE_S = 30.0
_HEARD: dict[str, type[DeployStarted] | type[DeployCompleted] | type[DeployFailed]] = {
    "started": DeployStarted,
    "succeeded": DeployCompleted,
    "failed": DeployFailed,
}


class Missed(Protocol):
    """What the forge remembers; `bot.github_missed.GitHubMissed` in production."""

    def attempts(self, since_s: float) -> tuple[Attempt, ...]: ...

    def redeliver(self, attempt: Attempt) -> None: ...

    def deployments(self, repository: str, since_s: float) -> tuple[Deployment, ...]: ...


class HeardBook(Protocol):
    """What was heard, and who is alive; `bot.store.Store` in production."""

    def deploys_heard(
        self, service: str | None = None, *, since_s: float = 0.0, limit: int = 50
    ) -> tuple[HeardDeploy, ...]: ...

    def live_executors(self, dead_after_s: float, role: str = "worker") -> tuple[str, ...]: ...


class Redelivery(threading.Thread):
    """One thread a worker; of several workers the one with the smallest name does it."""

    def __init__(
        self,
        missed: Missed,
        book: HeardBook,
        inbox: Inbox,
        executor_id: str,
        *,
        every_s: float = EVERY_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name="redelivery", daemon=True)
        self._missed = missed
        self._book = book
        self._inbox = inbox
        self._executor_id = executor_id
        self._every_s = every_s
        self._now = now
        self._stopping = threading.Event()
        self._reconciled_s = float("-inf")

    def stop(self) -> None:
        """Ask the thread to end; a call that waits for GitHub is not waited for."""
        self._stopping.set()

    def run(self) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            pause_s = self._every_s
            try:
                self.round()
            except BotFailure as failure:
                log.warning("redelivery.failed", reason=failure.reason)
            except Exception:
                log.exception("redelivery.broke")

    def round(self) -> None:
        """Ask once, if it is ours to ask. Raises CannotReachForge, CannotStore."""
        if self._executor_id not in self._book.live_executors(ALIVE_S)[:1]:
            return
        try:
            self.redeliver()
        finally:  # each is worth trying when the other cannot be done
            now_s = time.monotonic()
            if now_s - self._reconciled_s >= RECONCILE_EVERY_S:
                self.reconcile()
                self._reconciled_s = now_s

    def redeliver(self) -> tuple[str, ...]:
        """Have every event delivered again that nobody took; their guids. The same guid has one effect, however
        often it comes, so this may be repeated. Raises CannotReachForge."""
        now_s = self._now()
        asked: list[str] = []
        for attempt in due(self._missed.attempts(now_s - WITHIN_S), now_s):
            self._missed.redeliver(attempt)
            asked.append(attempt.guid)
            log.warning(
                "delivery.asked_again", guid=attempt.guid, event_name=attempt.event, code=attempt.code
            )
        return tuple(asked)

    def reconcile(self) -> tuple[str, ...]:
        """Take in what became of recent deployments that we have not heard of; the ids of their deploys. The
        guard of a deploy has one id, whoever tells of it: may be repeated. Raises CannotStore."""
        now_s = self._now()
        heard = self._book.deploys_heard(since_s=now_s - GUARDED_WITHIN_S, limit=MOST_DEPLOYS)
        by_forge = [one for one in heard if one.deploy.source == SOURCE]
        services = {one.deploy.service for one in by_forge}
        ends = {(one.deploy.repository, one.deploy.id): one.status for one in by_forge}
        taken: list[str] = []
        for repository in _distinct(one.deploy.repository for one in by_forge)[:REPOSITORIES_A_ROUND]:
            if self._stopping.is_set():
                break
            try:
                deployments = self._missed.deployments(repository, now_s - WITHIN_S)
            except BotFailure as failure:
                log.warning("reconcile.unreadable", repository=repository, reason=failure.reason)
                continue
            for deployment in deployments:
                deploy = deployment.deploy
                known = ends.get((repository, deploy.id))
                if deploy.service not in services or not _is_news(known, deployment.end):
                    continue
                event: DeployHeard = _HEARD[deployment.end](deploy)
                self._inbox.accept(f"reconciled-{deploy.id}-{deployment.end}", event, now_s)
                taken.append(deploy.id)
                log.warning("deploy.reconciled", service=deploy.service, deploy=deploy.id, end=deployment.end)
        return tuple(taken)


def due(attempts: Iterable[Attempt], now_s: float) -> tuple[Attempt, ...]:
    """The newest attempt of each event that was never taken and whose pause is over, oldest first. Pauses
    double from a minute to an hour: a bot that is down for a night is not asked every two minutes."""
    by_guid: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        by_guid[attempt.guid].append(attempt)
    found: list[Attempt] = []
    for tries in by_guid.values():
        newest = max(tries, key=lambda attempt: (attempt.at_s, attempt.id))
        if any(200 <= attempt.code < 300 for attempt in tries) or newest.code in OURS_TO_MEND:
            continue
        first_s = min(attempt.at_s for attempt in tries)
        if newest.event in PEOPLES_EVENTS and now_s - first_s > PEOPLE_WITHIN_S:
            continue
        pause_s = (
            min(FIRST_PAUSE_S * 2 ** min(len(tries) - 2, 16), LONGEST_PAUSE_S) if len(tries) > 1 else 0.0
        )
        if now_s - newest.at_s >= pause_s:
            found.append(newest)
    return tuple(sorted(found, key=lambda attempt: (attempt.at_s, attempt.id)))


def _is_news(known: DeployStatus | None, end: str) -> bool:
    return known is None or (known is DeployStatus.STARTED and end != "started")


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
