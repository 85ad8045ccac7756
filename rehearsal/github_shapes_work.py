"""GitHub's JSON for pull requests, comments, deployments, checks and workflow runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rehearsal.github_shapes import Json
from rehearsal.github_shapes_code import CodeShapes
from rehearsal.github_state import (
    CheckRun,
    Comment,
    CommitStatus,
    Deployment,
    DeploymentStatus,
    Label,
    PullRequest,
    Reaction,
    Repository,
    User,
    WorkflowRun,
    iso,
    node_id,
)

REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "eyes", "rocket")


@dataclass(frozen=True, slots=True)
class PullFacts:
    """What git knows of a pull request at this moment."""

    additions: int
    deletions: int
    changed_files: int
    commits: int
    mergeable: bool | None
    state: str


def association(repository: Repository, user: User) -> str:
    if user.login == repository.owner.login:
        return "OWNER"
    return "MEMBER" if user.login in repository.roles else "NONE"


class WorkShapes(CodeShapes):
    """The shapes of everything that happens on a repository."""

    def label(self, repository: Repository, label: Label) -> Json:
        return {
            "id": label.id,
            "node_id": node_id("Label", label.id),
            "url": f"{self.repo_url(repository)}/labels/{label.name}",
            "name": label.name,
            "color": label.color,
            "default": False,
            "description": label.description,
        }

    def _labels(self, repository: Repository, pull: PullRequest) -> list[Json]:
        return [self.label(repository, repository.labels[name]) for name in pull.labels]

    def pull_simple(self, repository: Repository, pull: PullRequest) -> Json:
        url, page = (
            f"{self.repo_url(repository)}/pulls/{pull.number}",
            self.pull_page(repository, pull.number),
        )
        issue = f"{self.repo_url(repository)}/issues/{pull.number}"
        links = {
            "self": url,
            "html": page,
            "issue": issue,
            "comments": f"{issue}/comments",
            "review_comments": f"{url}/comments",
            "review_comment": f"{self.repo_url(repository)}/pulls/comments{{/number}}",
            "commits": f"{url}/commits",
            "statuses": f"{self.repo_url(repository)}/statuses/{pull.head_sha}",
        }
        return {
            "url": url,
            "id": pull.id,
            "node_id": node_id("PullRequest", pull.id),
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "issue_url": issue,
            "number": pull.number,
            "state": pull.state,
            "locked": pull.locked,
            "title": pull.title,
            "user": self.user(pull.author),
            "body": pull.body,
            "created_at": iso(pull.created_s),
            "updated_at": iso(pull.updated_s),
            "closed_at": iso(pull.closed_s),
            "merged_at": iso(pull.merged_s),
            "merge_commit_sha": pull.merge_commit_sha,
            "assignee": None,
            "assignees": [],
            "requested_reviewers": [],
            "requested_teams": [],
            "labels": self._labels(repository, pull),
            "milestone": None,
            "draft": pull.draft,
            "commits_url": links["commits"],
            "review_comments_url": links["review_comments"],
            "review_comment_url": links["review_comment"],
            "comments_url": links["comments"],
            "statuses_url": links["statuses"],
            "head": self._side(repository, pull.head_ref, pull.head_sha),
            "base": self._side(repository, pull.base_ref, pull.base_sha),
            "_links": {name: {"href": address} for name, address in links.items()},
            "author_association": association(repository, pull.author),
            "auto_merge": self._auto_merge(pull),
            "active_lock_reason": None,
        }

    def pull_page(self, repository: Repository, number: int) -> str:
        return f"{self.repo_page(repository)}/pull/{number}"

    def _side(self, repository: Repository, ref: str, sha: str) -> Json:
        return {
            "label": f"{repository.owner.login}:{ref}",
            "ref": ref,
            "sha": sha,
            "user": self.user(repository.owner),
            "repo": self.repository(repository),
        }

    def _auto_merge(self, pull: PullRequest) -> Json | None:
        if pull.auto_merge_method is None or pull.auto_merge_by is None:
            return None
        return {
            "enabled_by": self.user(pull.auto_merge_by),
            "merge_method": pull.auto_merge_method,
            "commit_title": "",
            "commit_message": "",
        }

    def pull(self, repository: Repository, pull: PullRequest, facts: PullFacts) -> Json:
        return {
            **self.pull_simple(repository, pull),
            "merged": pull.merged,
            "mergeable": facts.mergeable,
            "rebaseable": facts.mergeable,
            "mergeable_state": facts.state,
            "merged_by": self.user(pull.merged_by) if pull.merged_by else None,
            "comments": len(repository.comments_on(pull.number)),
            "review_comments": 0,
            "maintainer_can_modify": False,
            "commits": facts.commits,
            "additions": facts.additions,
            "deletions": facts.deletions,
            "changed_files": facts.changed_files,
        }

    def issue(self, repository: Repository, pull: PullRequest) -> Json:
        """A pull request seen as the issue it also is."""
        url, page = (
            f"{self.repo_url(repository)}/issues/{pull.number}",
            self.pull_page(repository, pull.number),
        )
        return {
            "url": url,
            "repository_url": self.repo_url(repository),
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "timeline_url": f"{url}/timeline",
            "html_url": page,
            "id": pull.id + 1,
            "node_id": node_id("PullRequest", pull.id),
            "number": pull.number,
            "title": pull.title,
            "user": self.user(pull.author),
            "labels": self._labels(repository, pull),
            "state": pull.state,
            "state_reason": None,
            "locked": pull.locked,
            "assignee": None,
            "assignees": [],
            "milestone": None,
            "comments": len(repository.comments_on(pull.number)),
            "created_at": iso(pull.created_s),
            "updated_at": iso(pull.updated_s),
            "closed_at": iso(pull.closed_s),
            "author_association": association(repository, pull.author),
            "active_lock_reason": None,
            "draft": pull.draft,
            "pull_request": {
                "url": f"{self.repo_url(repository)}/pulls/{pull.number}",
                "html_url": page,
                "diff_url": f"{page}.diff",
                "patch_url": f"{page}.patch",
                "merged_at": iso(pull.merged_s),
            },
            "body": pull.body,
            "reactions": self.reaction_counts([], f"{url}/reactions"),
            "performed_via_github_app": None,
        }

    @staticmethod
    def reaction_counts(reactions: list[Reaction], url: str) -> Json:
        counts = Counter(reaction.content for reaction in reactions)
        return {"url": url, "total_count": len(reactions), **{name: counts[name] for name in REACTIONS}}

    def comment_page(self, repository: Repository, comment: Comment) -> str:
        return f"{self.pull_page(repository, comment.issue_number)}#issuecomment-{comment.id}"

    def comment(self, repository: Repository, comment: Comment) -> Json:
        url = f"{self.repo_url(repository)}/issues/comments/{comment.id}"
        return {
            "url": url,
            "html_url": self.comment_page(repository, comment),
            "issue_url": f"{self.repo_url(repository)}/issues/{comment.issue_number}",
            "id": comment.id,
            "node_id": node_id("IssueComment", comment.id),
            "user": self.user(comment.author),
            "created_at": iso(comment.created_s),
            "updated_at": iso(comment.updated_s),
            "author_association": association(repository, comment.author),
            "body": comment.body,
            "reactions": self.reaction_counts(comment.reactions, f"{url}/reactions"),
            "performed_via_github_app": self.app(comment.via_app) if comment.via_app else None,
        }

    def reaction(self, reaction: Reaction) -> Json:
        return {
            "id": reaction.id,
            "node_id": node_id("Reaction", reaction.id),
            "user": self.user(reaction.user),
            "content": reaction.content,
            "created_at": iso(reaction.created_s),
        }

    def deployment(self, repository: Repository, deployment: Deployment) -> Json:
        url = f"{self.repo_url(repository)}/deployments/{deployment.id}"
        changed = deployment.statuses[-1].created_s if deployment.statuses else deployment.created_s
        return {
            "url": url,
            "id": deployment.id,
            "node_id": node_id("Deployment", deployment.id),
            "task": deployment.task,
            "original_environment": deployment.environment,
            "environment": deployment.environment,
            "description": deployment.description,
            "created_at": iso(deployment.created_s),
            "updated_at": iso(changed),
            "statuses_url": f"{url}/statuses",
            "repository_url": self.repo_url(repository),
            "creator": self.user(deployment.creator),
            "sha": deployment.sha,
            "ref": deployment.ref,
            "payload": deployment.payload,
            "transient_environment": deployment.transient,
            "production_environment": deployment.production,
            "performed_via_github_app": None,
        }

    def deployment_status(
        self, repository: Repository, deployment: Deployment, status: DeploymentStatus
    ) -> Json:
        url = f"{self.repo_url(repository)}/deployments/{deployment.id}"
        return {
            "url": f"{url}/statuses/{status.id}",
            "id": status.id,
            "node_id": node_id("DeploymentStatus", status.id),
            "state": status.state,
            "creator": self.user(status.creator),
            "description": status.description,
            "environment": status.environment,
            "target_url": status.log_url,
            "created_at": iso(status.created_s),
            "updated_at": iso(status.created_s),
            "deployment_url": url,
            "repository_url": self.repo_url(repository),
            "environment_url": status.environment_url,
            "log_url": status.log_url,
            "performed_via_github_app": None,
        }

    def check_run(self, repository: Repository, run: CheckRun) -> Json:
        url = f"{self.repo_url(repository)}/check-runs/{run.id}"
        return {
            "id": run.id,
            "name": run.name,
            "node_id": node_id("CheckRun", run.id),
            "head_sha": run.head_sha,
            "external_id": run.external_id,
            "url": url,
            "html_url": f"{self.repo_page(repository)}/runs/{run.id}",
            "details_url": run.details_url,
            "status": run.status,
            "conclusion": run.conclusion,
            "started_at": iso(run.started_s),
            "completed_at": iso(run.completed_s),
            "output": {
                "title": run.output.get("title"),
                "summary": run.output.get("summary"),
                "text": run.output.get("text"),
                "annotations_count": len(run.output.get("annotations", [])),
                "annotations_url": f"{url}/annotations",
            },
            "check_suite": {"id": run.id // 10},
            "app": self.app(run.app) if run.app else None,
            "pull_requests": [],
        }

    def commit_status(self, repository: Repository, status: CommitStatus) -> Json:
        return {
            "url": f"{self.repo_url(repository)}/statuses/{status.sha}",
            "avatar_url": f"{self.web}/avatars/u/{status.creator.id}",
            "id": status.id,
            "node_id": node_id("StatusContext", status.id),
            "state": status.state,
            "description": status.description,
            "target_url": status.target_url,
            "context": status.context,
            "created_at": iso(status.created_s),
            "updated_at": iso(status.created_s),
            "creator": self.user(status.creator),
        }

    def workflow_run(self, repository: Repository, run: WorkflowRun, head_commit: Json) -> Json:
        url = f"{self.repo_url(repository)}/actions/runs/{run.id}"
        suite = run.id // 10
        return {
            "id": run.id,
            "name": run.name,
            "node_id": node_id("WorkflowRun", run.id),
            "check_suite_id": suite,
            "check_suite_node_id": node_id("CheckSuite", suite),
            "head_branch": run.head_branch,
            "head_sha": run.head_sha,
            "path": ".github/workflows/deploy.yml",
            "run_number": run.number,
            "run_attempt": 1,
            "event": run.event,
            "display_title": run.display_title,
            "status": run.status,
            "conclusion": run.conclusion,
            "workflow_id": 7_000_001,
            "url": url,
            "html_url": f"{self.repo_page(repository)}/actions/runs/{run.id}",
            "pull_requests": [],
            "created_at": iso(run.created_s),
            "updated_at": iso(run.updated_s),
            "run_started_at": iso(run.created_s),
            "actor": self.user(run.actor),
            "triggering_actor": self.user(run.actor),
            "jobs_url": f"{url}/jobs",
            "logs_url": f"{url}/logs",
            "check_suite_url": f"{self.repo_url(repository)}/check-suites/{suite}",
            "artifacts_url": f"{url}/artifacts",
            "cancel_url": f"{url}/cancel",
            "rerun_url": f"{url}/rerun",
            "previous_attempt_url": None,
            "workflow_url": f"{self.repo_url(repository)}/actions/workflows/7000001",
            "head_commit": head_commit,
            "repository": self.minimal_repository(repository),
            "head_repository": self.minimal_repository(repository),
            "referenced_workflows": [],
        }

    def workflow(self, repository: Repository) -> Json:
        path = ".github/workflows/deploy.yml"
        return {
            "id": 7_000_001,
            "node_id": node_id("Workflow", 7_000_001),
            "name": "Deploy",
            "path": path,
            "state": "active",
            "created_at": iso(repository.created_s),
            "updated_at": iso(repository.created_s),
            "url": f"{self.repo_url(repository)}/actions/workflows/7000001",
            "html_url": f"{self.repo_page(repository)}/blob/{repository.default_branch}/{path}",
            "badge_url": f"{self.repo_page(repository)}/workflows/Deploy/badge.svg",
        }
