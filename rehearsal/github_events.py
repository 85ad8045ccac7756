"""The payloads of GitHub's events, and telling them to the webhooks and to the world's own listeners."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rehearsal.github_git import ZERO, GitCommit
from rehearsal.github_shapes import Json
from rehearsal.github_state import (
    Comment,
    Deployment,
    DeploymentStatus,
    PullRequest,
    Repository,
    User,
    WorkflowRun,
    node_id,
)

if TYPE_CHECKING:
    from rehearsal.github import GitHub

Listener = Callable[[str, Json, Repository], None]
_COMMITS_SHOWN = 2048


class Events:
    """Builds what GitHub would send and sends it; listeners hear it too, after the webhook was queued."""

    def __init__(self, github: GitHub) -> None:
        self._github = github
        self.listeners: list[Listener] = []

    def _tell(self, event: str, repository: Repository, sender: User, payload: Json) -> None:
        github = self._github
        whole = {
            **payload,
            "repository": payload.get("repository") or github.shapes.repository(repository),
            "sender": github.shapes.user(sender),
        }
        if repository.owner.type == "Organization":
            whole["organization"] = github.shapes.organization(repository.owner)
        app = github.ledger.app
        if app is not None:
            whole["installation"] = {
                "id": app.installation_id,
                "node_id": node_id("IntegrationInstallation", app.installation_id),
            }
        github.webhooks.send(
            event,
            whole,
            installation_id=app.installation_id if app else None,
            repository_id=repository.id,
        )
        for listener in list(self.listeners):
            listener(event, whole, repository)

    def ping(self) -> None:
        """What GitHub sends when a hook is made."""
        app, hooks = self._github.ledger.app, self._github.webhooks
        hook: Json = {
            "type": "App",
            "id": hooks.hook_id,
            "name": "web",
            "active": True,
            "events": app.events if app else ["*"],
            "config": {"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": hooks.url},
            "updated_at": "2026-01-01T00:00:00Z",
            "created_at": "2026-01-01T00:00:00Z",
            "app_id": hooks.target_id,
            "deliveries_url": f"{self._github.api_url}/app/hook/deliveries",
        }
        payload = {"zen": "Keep it logically awesome.", "hook_id": hooks.hook_id, "hook": hook}
        hooks.send("ping", payload, installation_id=None, repository_id=None)

    def push(self, repository: Repository, ref: str, before: str, after: str, by: User) -> None:
        github = self._github
        git = github.git(repository)
        commits: list[GitCommit] = []
        forced = False
        if after != ZERO:
            others = [] if before != ZERO else [f"^{sha}" for name, sha in git.refs().items() if name != ref]
            known = [f"^{before}"] if before != ZERO else others
            commits = list(reversed(git.commits(after, *known, limit=_COMMITS_SHOWN)))
            forced = before != ZERO and not git.is_ancestor(before, after)
        shown = [self._pushed_commit(repository, commit) for commit in commits]
        page = github.shapes.repo_page(repository)
        whole = github.shapes.repository(repository)
        owner = {
            **whole["owner"],
            "name": repository.owner.login,
            "email": repository.owner.commit_email,
        }
        payload = {
            "ref": ref,
            "before": before,
            "after": after,
            "repository": {
                **whole,
                "owner": owner,
                "created_at": int(repository.created_s),
                "pushed_at": int(repository.pushed_s),
                "stargazers": 0,
                "master_branch": repository.default_branch,
            },
            "pusher": {"name": by.login, "email": by.commit_email},
            "created": before == ZERO,
            "deleted": after == ZERO,
            "forced": forced,
            "base_ref": None,
            "compare": f"{page}/compare/{before[:12]}...{after[:12]}",
            "commits": shown,
            "head_commit": self._pushed_commit(repository, git.commit(after)) if after != ZERO else None,
        }
        self._tell("push", repository, by, payload)

    def _pushed_commit(self, repository: Repository, commit: GitCommit) -> Json:
        github = self._github
        parent = commit.parents[0] if commit.parents else None
        files = github.git(repository).changed_files(parent, commit.sha)
        by_status = {
            word: [file.path for file in files if file.status in statuses]
            for word, statuses in (
                ("added", ("added", "renamed", "copied")),
                ("removed", ("removed",)),
                ("modified", ("modified", "changed")),
            )
        }
        by_status["removed"] += [
            file.previous for file in files if file.status == "renamed" and file.previous
        ]
        people = github.people()
        return {
            "id": commit.sha,
            "tree_id": commit.tree,
            "distinct": True,
            "message": commit.message,
            "timestamp": commit.committer.at,
            "url": f"{github.shapes.repo_page(repository)}/commit/{commit.sha}",
            "author": _pushed_person(commit.author.name, commit.author.email, people),
            "committer": _pushed_person(commit.committer.name, commit.committer.email, people),
            **by_status,
        }

    def pull_request(
        self, action: str, repository: Repository, pull: PullRequest, by: User, **more: Any
    ) -> None:
        shape = self._github.pulls.shape(repository, pull)
        payload = {"action": action, "number": pull.number, "pull_request": shape, **more}
        self._tell("pull_request", repository, by, payload)

    def issue_comment(
        self, action: str, repository: Repository, pull: PullRequest, comment: Comment, by: User, **more: Any
    ) -> None:
        shapes = self._github.shapes
        payload = {
            "action": action,
            "issue": shapes.issue(repository, pull),
            "comment": shapes.comment(repository, comment),
            **more,
        }
        self._tell("issue_comment", repository, by, payload)

    def deployment(self, repository: Repository, deployment: Deployment, run: WorkflowRun | None) -> None:
        payload = {
            "action": "created",
            "deployment": self._github.shapes.deployment(repository, deployment),
            **self._workflow_parts(repository, run),
        }
        self._tell("deployment", repository, deployment.creator, payload)

    def deployment_status(
        self,
        repository: Repository,
        deployment: Deployment,
        status: DeploymentStatus,
        run: WorkflowRun | None,
    ) -> None:
        shapes = self._github.shapes
        payload = {
            "action": "created",
            "deployment_status": shapes.deployment_status(repository, deployment, status),
            "deployment": shapes.deployment(repository, deployment),
            "check_run": None,
            **self._workflow_parts(repository, run),
        }
        self._tell("deployment_status", repository, status.creator, payload)

    def workflow_run(self, action: str, repository: Repository, run: WorkflowRun) -> None:
        payload = {
            "action": action,
            **self._workflow_parts(repository, run),
            "repository": self._github.shapes.repository(repository),
        }
        self._tell("workflow_run", repository, run.actor, payload)

    def _workflow_parts(self, repository: Repository, run: WorkflowRun | None) -> Json:
        if run is None:
            return {"workflow": None, "workflow_run": None}
        shapes = self._github.shapes
        commit = self._github.git(repository).commit(run.head_sha)
        head = {
            "id": commit.sha,
            "tree_id": commit.tree,
            "message": commit.message,
            "timestamp": commit.committer.at,
            "author": {"name": commit.author.name, "email": commit.author.email},
            "committer": {"name": commit.committer.name, "email": commit.committer.email},
        }
        return {
            "workflow": shapes.workflow(repository),
            "workflow_run": shapes.workflow_run(repository, run, head),
        }


def _pushed_person(name: str, email: str, people: dict[str, User]) -> Json:
    known = people.get(email)
    person = {"name": name, "email": email}
    return person | {"username": known.login} if known else person
