"""A stand-in GitHub with one repository, one merged pull request, an App, and faults on demand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.github_access import GitHubAccess
from bot.pull_requests import GitHubPullRequests
from rehearsal.github import GitHub
from rehearsal.github_git import BareRepository, Signature
from rehearsal.github_state import App, Comment, PullRequest, Repository
from tests.faulty_http import Faults

SOMEBODY = Signature("Dana", "dana@example.com", "2026-05-04T12:00:00+00:00")
NAME = "acme/stagelog"
MARK = "<!-- rollback-bot:incident:3f2a9c41d07e -->"
COMMENTS = r"/issues/42/comments$"
SLOW_DOWN = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}


class FaultyGitHub(GitHub):
    """The rehearsal's GitHub, with a place to put faults in front of it."""

    def __init__(self, folder: Path) -> None:
        self.faults = Faults()
        super().__init__(folder)

    def _application(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self.faults.play(super()._application, environ, start_response)


@dataclass
class Scene:
    """The stand-in and what stands in it; `hands` is the adapter under test, signed in as the App."""

    github: FaultyGitHub
    repository: Repository
    app: App
    key: str
    pull: PullRequest
    merge: str
    access: GitHubAccess
    hands: GitHubPullRequests

    @property
    def faults(self) -> Faults:
        return self.github.faults

    @property
    def comments(self) -> list[Comment]:
        return self.repository.comments_on(self.pull.number)

    def new_access(self, **changes: Any) -> GitHubAccess:
        signed = {"app_id": self.app.id, "private_key": self.key} | changes
        return GitHubAccess(self.github.api_url, self.github.url, **signed)

    def commit(self, branch: str, name: str, parent: str | None = None) -> str:
        """A new commit on `branch` that adds the file `name`."""
        return add_commit(self.github.git(self.repository), branch, name, parent)


def add_commit(git: BareRepository, branch: str, name: str, parent: str | None = None) -> str:
    base = parent or git.head(branch)
    blob = git.git("hash-object", "-w", "--stdin", stdin=name.encode()).decode().strip()
    listed = git.git("ls-tree", base).decode() if base else ""
    tree = git.git("mktree", stdin=f"{listed}100644 blob {blob}\t{name}\n".encode()).decode().strip()
    sha = git.commit_tree(tree, [base] if base else [], f"Add {name}", SOMEBODY, SOMEBODY)
    git.update(f"refs/heads/{branch}", sha)
    return sha


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with FaultyGitHub(tmp_path / "github") as github:
        repository = github.create_repository("acme", "stagelog", default_branch="develop", private=True)
        app, key = github.install_app("rollback-bot", "acme")
        git = github.git(repository)
        start = add_commit(git, "develop", "start.txt")
        add_commit(git, "feature/uploads", "uploads.txt", start)
        dana = github.user("dana")
        repository.roles["dana"] = "maintain"
        pull = github.pulls.open(
            repository, dana, head="feature/uploads", base="develop", title="Uploads", number=42
        )
        merged = github.pulls.merge(repository, 42, dana)
        access = GitHubAccess(github.api_url, github.url, app.id, key.decode())
        yield Scene(
            github, repository, app, key.decode(), pull, merged.sha, access, GitHubPullRequests(access)
        )


def bodies(scene: Scene) -> list[str]:
    return [comment.body for comment in scene.comments]


def by(scene: Scene, login: str, body: str) -> Comment:
    return scene.github.activity.comment(scene.repository, scene.pull, scene.github.user(login), body)
