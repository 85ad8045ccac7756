"""Event `deployment_status`: a deployment begins (baseline), is in place (guard), or failed (noted)."""

from __future__ import annotations

from policies.facts import Deploy
from webhooks.events import DeployCompleted, DeployFailed, DeployStarted, Fields, Heard, Ignored, Lacking

SOURCE = "deployment_status"


def hear(payload: Fields, now_s: float) -> Heard | Ignored:
    """What a status means for us; `now_s` (epoch) bounds its times. Raises Lacking."""
    action = payload.text("action")
    if action not in (None, "created"):
        return Ignored(f"deployment_status {action}")
    state = payload.text("deployment_status.state")
    match state:
        case "in_progress":
            return DeployStarted(_deploy(payload, now_s))
        case "success":
            return DeployCompleted(_deploy(payload, now_s))
        case "failure" | "error":
            return _failed(payload, now_s)
        case _:
            return Ignored(f"deployment_status {state or 'without a state'}: nothing to watch")


def _failed(payload: Fields, now_s: float) -> Ignored:
    try:
        deploy = _deploy(payload, now_s)
    except Lacking as lacking:
        return Ignored(f"deployment_status failure with {lacking.why}")
    return Ignored(f"deployment {deploy.id} failed by itself: nothing new to watch", DeployFailed(deploy))


def _deploy(payload: Fields, now_s: float) -> Deploy:
    number = payload.whole("deployment.id")
    if number is None:
        raise Lacking("no usable deployment.id")
    # The status may rename the environment; the address of the job's log (target_url) is not the site's.
    environment = payload.text("deployment_status.environment", "deployment.environment")
    if environment is None:
        raise Lacking("no usable deployment.environment")
    completed_at_s = min(
        payload.instant("deployment_status.created_at", "deployment_status.updated_at") or now_s, now_s
    )
    started_at_s = payload.instant("deployment.created_at")
    return Deploy(
        id=str(number),
        repository=payload.repository(),
        environment=environment,
        sha=payload.sha("deployment.sha"),
        branch=payload.branch("deployment.ref"),
        url=payload.address("deployment_status.environment_url"),
        source=SOURCE,
        started_at_s=None if started_at_s is None else min(started_at_s, completed_at_s),
        completed_at_s=completed_at_s,
    )
