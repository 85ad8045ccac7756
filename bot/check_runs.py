"""Keeps one check of ours on a commit: failing while its branch is frozen, cleared afterwards.

Only an App may write check runs; with a plain token the same is said by a commit status of the same name.
"""

from __future__ import annotations

from github import GithubException
from github.CheckRun import CheckRun
from github.Commit import Commit
from github.Repository import Repository

from bot.failures import CannotReachForge
from bot.github_access import GitHubAccess
from bot.github_failures import asking_github, once_only

FREEZE_CHECK_NAME = "rollback/freeze"
_MOST_STATUS_CHARS = 140
"""GitHub's limit for the description of a commit status."""


class GitHubCheckRuns:
    """Every method blocks, may be repeated, and raises CannotReachForge."""

    def __init__(self, access: GitHubAccess) -> None:
        self._access = access

    def fail(self, repository: str, sha: str, title: str, summary: str) -> None:
        """Make our check on `sha` a failing one that says this."""
        self._set(repository, sha, "failure", title, summary)

    def clear(self, repository: str, sha: str, title: str, summary: str) -> None:
        """Make our check on `sha` succeed; where there is none, none is made."""
        self._set(repository, sha, "success", title, summary)

    def _set(self, repository: str, sha: str, conclusion: str, title: str, summary: str) -> None:
        with asking_github(f"take the check {FREEZE_CHECK_NAME} on {sha[:12]} of {repository}"):
            repo = self._access.for_repository(repository)
            if self._access.me().app_id is None:
                _set_status(repo.get_commit(sha), conclusion, title)
                return
            _set_check_run(repo, sha, conclusion, title, summary, self._access.me().app_id)


def _set_check_run(
    repo: Repository, sha: str, conclusion: str, title: str, summary: str, app_id: int | None
) -> None:
    output: dict[str, str | list[dict[str, str | int]]] = {"title": title, "summary": summary}

    def settle() -> CheckRun | None:
        ours = [
            run
            for run in repo.get_commit(sha).get_check_runs(check_name=FREEZE_CHECK_NAME)
            if run.app is None or run.app.id == app_id
        ]
        if not ours:
            return None
        newest = max(ours, key=lambda run: run.id)
        if newest.conclusion != conclusion or (newest.output and newest.output.title != title):
            newest.edit(status="completed", conclusion=conclusion, output=output)
        return newest

    if conclusion == "success":
        settle()
        return
    once_only(
        settle,
        lambda: repo.create_check_run(
            name=FREEZE_CHECK_NAME,
            head_sha=sha,
            status="completed",
            conclusion=conclusion,
            output=output,
        ),
    )


def _set_status(commit: Commit, conclusion: str, title: str) -> None:
    state = "failure" if conclusion == "failure" else "success"
    try:
        known = next((one for one in commit.get_statuses() if one.context == FREEZE_CHECK_NAME), None)
        if (known is None and state == "success") or (known is not None and known.state == state):
            return
        commit.create_status(state, description=title[:_MOST_STATUS_CHARS], context=FREEZE_CHECK_NAME)
    except GithubException as error:
        if error.status not in (403, 404):
            raise
        raise CannotReachForge(
            "GitHub lets neither check runs nor commit statuses be written with this token. Sign in as an App "
            "with write access to checks, or give the token `repo:status`."
        ) from error
