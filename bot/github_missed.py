"""What GitHub remembers that we may have missed: failed deliveries of the App's hook, and recent deployments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from github.Repository import Repository
from github.Requester import Requester

from bot.github_access import GitHubAccess
from bot.github_failures import asking_github, once_only
from policies.facts import Deploy

SOURCE = "deployment_status"
PAGES_AT_MOST = 30
"""Of a hundred deliveries each; GitHub keeps three days of them."""
DEPLOYMENTS_AT_MOST = 30
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BRANCH = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._/+-]{0,249}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of GitHub to deliver an event; attempts of one event share the `guid`. `code` 0: nobody
    answered. `at_s` is epoch."""

    id: int
    guid: str
    event: str
    code: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment at GitHub as a deploy of ours, with the end it came to: succeeded, failed, started."""

    deploy: Deploy
    end: str


class GitHubMissed:
    """Asks GitHub. Every method blocks, may be repeated, and raises CannotReachForge."""

    def __init__(self, access: GitHubAccess) -> None:
        self._access = access

    def attempts(self, since_s: float) -> tuple[Attempt, ...]:
        """Attempts to deliver to the App's hook at or after `since_s` (epoch), newest first. None where a plain
        token signs us in: a repository's own hook does not tell a token what it could not deliver."""
        app = self._access.app_requester()
        if app is None:
            return ()
        found: list[Attempt] = []
        with asking_github("list the deliveries of our hook"):
            url: str | None = "/app/hook/deliveries?per_page=100"
            for _ in range(PAGES_AT_MOST):
                if url is None:
                    break
                headers, items = app.requestJsonAndCheck("GET", url)
                attempts = [_attempt(item) for item in items]
                found += [attempt for attempt in attempts if attempt.at_s >= since_s]
                if not attempts or attempts[-1].at_s < since_s:
                    break
                url = _next_page(headers)
        return tuple(found)

    def redeliver(self, attempt: Attempt) -> None:
        """Have GitHub deliver the event of that attempt again, under the same guid."""
        app = self._access.app_requester()
        if app is None:
            return
        path = f"/app/hook/deliveries/{attempt.id}/attempts"
        with asking_github(f"deliver {attempt.guid} again"):
            once_only(lambda: None, lambda: _post(app, path))

    def deployments(self, repository: str, since_s: float) -> tuple[Deployment, ...]:
        """Deployments of `repository` created at or after `since_s` (epoch), oldest first; those that have not
        begun, or that no deploy can be made of, are left out."""
        with asking_github(f"list the recent deployments of {repository}"):
            repo = self._access.for_repository(repository)
            _, items = repo.requester.requestJsonAndCheck(
                "GET", f"/repos/{repository}/deployments?per_page={DEPLOYMENTS_AT_MOST}"
            )
            recent = [item for item in items if _instant(item["created_at"]) >= since_s]
            found = [_deployment(repo, repository, item) for item in reversed(recent)]
        return tuple(one for one in found if one is not None)


def _post(app: Requester, path: str) -> bool:
    app.requestJsonAndCheck("POST", path)
    return True


def _attempt(item: dict[str, Any]) -> Attempt:
    at_s = _instant(item["delivered_at"])
    return Attempt(
        int(item["id"]), str(item["guid"]), str(item["event"]), int(item["status_code"] or 0), at_s
    )


def _deployment(repo: Repository, repository: str, item: dict[str, Any]) -> Deployment | None:
    """A later success makes GitHub call earlier ones inactive, so any success among the statuses counts."""
    number, sha = int(item["id"]), str(item["sha"])
    _, statuses = repo.requester.requestJsonAndCheck(
        "GET", f"/repos/{repository}/deployments/{number}/statuses?per_page=100"
    )
    ends = (("succeeded", ("success",)), ("failed", ("failure", "error")), ("started", ("in_progress",)))
    for end, states in ends:
        status = next((one for one in statuses if one["state"] in states), None)
        if status is None or not _SHA.fullmatch(sha):
            continue
        completed_at_s = _instant(status["created_at"])
        ref = str(item.get("ref") or "").removeprefix("refs/heads/")
        url = str(status.get("environment_url") or "")
        deploy = Deploy(
            id=str(number),
            repository=repository,
            environment=str(status.get("environment") or item["environment"]),
            sha=sha,
            branch=ref if _BRANCH.fullmatch(ref) and not _SHA.fullmatch(ref) else None,
            url=url if url.startswith(("http://", "https://")) and "@" not in url else None,
            source=SOURCE,
            started_at_s=min(_instant(item["created_at"]), completed_at_s),
            completed_at_s=completed_at_s,
        )
        return Deployment(deploy, end)
    return None


def _next_page(headers: dict[str, Any]) -> str | None:
    match = re.search(r'<([^>]+)>;\s*rel="next"', str(headers.get("link") or ""))
    return match[1] if match else None


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
