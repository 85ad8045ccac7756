"""Comments, deployments, checks and workflow runs of the stand-in GitHub, each with its event."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rehearsal.github_state import (
    App,
    Comment,
    CommitStatus,
    Deployment,
    DeploymentStatus,
    PullRequest,
    Reaction,
    Repository,
    User,
    WorkflowRun,
)

if TYPE_CHECKING:
    from rehearsal.github import GitHub

COMMENT_LIMIT = 65_536

CommentGate = Callable[[User, int, str], None]
"""Called with (author, issue number, body) before a comment is written; an exception stops the write."""


class Activity:
    def __init__(self, github: GitHub) -> None:
        self._github = github
        self.before_comment_write: CommentGate | None = None

    def comment(
        self, repository: Repository, pull: PullRequest, author: User, body: str, via_app: App | None = None
    ) -> Comment:
        """Write a comment on a pull request's conversation."""
        if self.before_comment_write is not None:
            self.before_comment_write(author, pull.number, body)
        now = time.time()
        comment = Comment(self._github.ledger.next_id(), pull.number, author, body, now, now, via_app)
        with repository.lock:
            repository.comments[comment.id] = comment
            pull.updated_s = now
        self._github.events.issue_comment("created", repository, pull, comment, author)
        return comment

    def edit_comment(self, repository: Repository, comment: Comment, body: str, by: User) -> None:
        """Replace a comment's text; GitHub notifies nobody of that."""
        if self.before_comment_write is not None:
            self.before_comment_write(by, comment.issue_number, body)
        old, comment.body = comment.body, body
        comment.updated_s = time.time()
        comment.edits += 1
        pull = repository.pulls[comment.issue_number]
        changes = {"body": {"from": old}}
        self._github.events.issue_comment("edited", repository, pull, comment, by, changes=changes)

    def delete_comment(self, repository: Repository, comment: Comment, by: User) -> None:
        del repository.comments[comment.id]
        pull = repository.pulls[comment.issue_number]
        self._github.events.issue_comment("deleted", repository, pull, comment, by)

    def react(self, comment: Comment, user: User, content: str) -> tuple[Reaction, bool]:
        """Add a reaction; the same one twice is one, and the flag says whether it is new."""
        for reaction in comment.reactions:
            if (reaction.user.login, reaction.content) == (user.login, content):
                return reaction, False
        reaction = Reaction(self._github.ledger.next_id(), user, content, time.time())
        comment.reactions.append(reaction)
        return reaction, True

    def deployment(
        self,
        repository: Repository,
        creator: User,
        *,
        ref: str,
        sha: str,
        environment: str,
        run: WorkflowRun | None = None,
        **facts: Any,
    ) -> Deployment:
        deployment = Deployment(
            self._github.ledger.next_id(), sha, ref, environment, creator, time.time(), **facts
        )
        repository.deployments[deployment.id] = deployment
        self._github.events.deployment(repository, deployment, run)
        return deployment

    def deployment_status(
        self,
        repository: Repository,
        deployment: Deployment,
        creator: User,
        state: str,
        *,
        description: str = "",
        environment_url: str = "",
        log_url: str = "",
        run: WorkflowRun | None = None,
    ) -> DeploymentStatus:
        status = DeploymentStatus(
            self._github.ledger.next_id(),
            state,
            creator,
            description,
            deployment.environment,
            environment_url,
            log_url,
            time.time(),
        )
        deployment.statuses.append(status)
        self._github.events.deployment_status(repository, deployment, status, run)
        return status

    def workflow_run(
        self, repository: Repository, name: str, sha: str, branch: str, actor: User
    ) -> WorkflowRun:
        now = time.time()
        subject = self._github.git(repository).commit(sha).subject
        run = WorkflowRun(
            self._github.ledger.next_id(),
            len(repository.workflow_runs) + 1,
            name,
            sha,
            branch,
            actor,
            now,
            now,
            subject,
        )
        repository.workflow_runs[run.id] = run
        self._github.events.workflow_run("requested", repository, run)
        return run

    def workflow_progress(self, repository: Repository, run: WorkflowRun, conclusion: str | None) -> None:
        """Move a run to in_progress, or to completed with a conclusion."""
        run.status = "completed" if conclusion else "in_progress"
        run.conclusion, run.updated_s = conclusion, time.time()
        self._github.events.workflow_run(run.status, repository, run)

    def commit_status(
        self,
        repository: Repository,
        sha: str,
        creator: User,
        state: str,
        context: str,
        description: str | None = None,
        target_url: str | None = None,
    ) -> CommitStatus:
        status = CommitStatus(
            self._github.ledger.next_id(), sha, state, context, creator, time.time(), description, target_url
        )
        repository.commit_statuses.append(status)
        return status
