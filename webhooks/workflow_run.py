"""Event `workflow_run`: for repositories that deploy without telling GitHub's deployments API."""

from __future__ import annotations

from policies.facts import Deploy
from webhooks.events import DeployCompleted, DeployStarted, Fields, Heard, Ignored, Lacking

SOURCE = "workflow_run"


def hear(payload: Fields, now_s: float) -> Heard | Ignored:
    """What a run means for us: which environment it deploys, if any, the configuration says later.
    `now_s` (epoch) bounds its times. Raises Lacking."""
    action = payload.text("action")
    conclusion = payload.text("workflow_run.conclusion")
    if action == "completed" and conclusion != "success":
        return Ignored(f"workflow_run completed with {conclusion or 'no conclusion'}: nothing was deployed")
    if action in ("requested", "in_progress") and conclusion is not None:
        return Ignored(f"workflow_run {action}, and already {conclusion}")
    if action not in ("completed", "requested", "in_progress"):
        return Ignored(f"workflow_run {action or 'without an action'}")
    repository = payload.repository()
    if payload.text("workflow_run.event") in ("pull_request", "pull_request_review"):
        return Ignored("workflow_run for a pull request: nothing was deployed to a guarded branch")
    # Anyone may run a workflow of that name in a fork of theirs, with a commit of theirs.
    from_repository = payload.text("workflow_run.head_repository.full_name")
    if from_repository is not None and from_repository.lower() != repository.lower():
        return Ignored("workflow_run from a fork")
    deploy = _deploy(payload, repository, now_s)
    return DeployCompleted(deploy) if action == "completed" else DeployStarted(deploy)


def _deploy(payload: Fields, repository: str, now_s: float) -> Deploy:
    number = payload.whole("workflow_run.id")
    if number is None:
        raise Lacking("no usable workflow_run.id")
    workflow = payload.text("workflow_run.name", "workflow.name", "workflow_run.path")
    if workflow is None:
        raise Lacking("no usable workflow_run.name")
    attempt = payload.whole("workflow_run.run_attempt") or 1
    completed_at_s = min(payload.instant("workflow_run.updated_at") or now_s, now_s)
    started_at_s = payload.instant("workflow_run.run_started_at", "workflow_run.created_at")
    return Deploy(
        id=f"run-{number}" if attempt == 1 else f"run-{number}.{attempt}",
        repository=repository,
        environment="",
        sha=payload.sha("workflow_run.head_sha"),
        branch=payload.branch("workflow_run.head_branch"),
        url=None,
        source=SOURCE,
        started_at_s=None if started_at_s is None else min(started_at_s, completed_at_s),
        completed_at_s=completed_at_s,
        workflow=workflow,
    )
