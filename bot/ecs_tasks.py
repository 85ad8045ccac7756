"""Looks at an ECS service: its events, its stopped tasks with the reason, the log of the one that died."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from bot.aws import AWS_ERRORS, AwsClients, code_of, why
from bot.evidence_look import Look, blind
from bot.failures import CannotCapture, CannotReadHealth
from bot.log_groups import read_stream
from bot.target_groups import TargetGroups, account_of
from bot.tenancy import belongs_to, not_tagged, tenant_of
from policies.facts import LayerStatus
from policies.limits import Plan

Json = dict[str, Any]

TASKS: Final = 10
SHOWN: Final = 5
# A task that ECS stopped to replace it with a new one did not fail.
REPLACED: Final = ("Scaling activity initiated by", "ECS is performing maintenance")

_SERVICE: Final = re.compile(r"(?:arn:aws[\w-]*:ecs:[\w-]*:\d*:service/)?([\w-]{1,255})/([\w-]{1,255})")


def look_at_service(aws: AwsClients, plan: Plan, until_s: float) -> Look:
    """Look at the plan's `cluster/service`. Blocks for a few calls; only reads. Raises no BotFailure."""
    named = plan.runtime.ecs_service or ""
    found = _SERVICE.fullmatch(named)
    if not found:
        return blind(named, f"{named!r} is not `cluster/service`: correct `runtime.ecs_service`.")
    cluster, service = found.groups()
    try:
        ecs = _client(aws, plan, "ecs")
        host_status, host_says, host_details = _service(aws, ecs, plan, cluster, service)
        tasks = _tasks(ecs, cluster, service)
    except CannotCapture as failure:
        return blind(named, failure.reason)
    stopped = [task for task in tasks if task.get("stoppedReason") and not _replaced(task)]
    task = next(iter(stopped or tasks), None)
    if task is None:
        return Look(
            named,
            host_status,
            host_says,
            LayerStatus.FAILING,
            "The service has no task, running or stopped.",
            host_details,
        )
    container = _failing_container(task)
    log, note = _log(aws, ecs, plan, task, container)
    code = container.get("exitCode")
    return Look(
        where=named,
        host=host_status,
        host_says=host_says,
        container=LayerStatus.FAILING if stopped else _running_status(container),
        container_says=_sentence(task, container, len(stopped)),
        details=(*host_details, *(_task_line(one) for one in stopped[:SHOWN]), *([note] if note else [])),
        name=container.get("name"),
        status=str(task.get("lastStatus", "")).lower() or None,
        exit_code=code if isinstance(code, int) else None,
        image=_image(container),
        log=log,
        says=tuple(
            str(reason)
            for reason in (container.get("reason"), task.get("stoppedReason"))
            if reason and stopped
        ),
    )


def _client(aws: AwsClients, plan: Plan, service: str, region: str | None = None) -> Any:
    try:
        return aws.client(service, role_arn=plan.aws_role_arn, region=region or plan.aws_region)
    except AWS_ERRORS as error:
        raise CannotCapture(why(error, f"{service}:*")) from error


def _service(
    aws: AwsClients, ecs: Any, plan: Plan, cluster: str, service: str
) -> tuple[LayerStatus, str, tuple[str, ...]]:
    try:
        tags = {} if tenant_of(plan) is None else {"include": ["TAGS"]}
        answer = ecs.describe_services(cluster=cluster, services=[service], **tags)
    except AWS_ERRORS as error:
        if code_of(error) == "ClusterNotFoundException":
            raise CannotCapture(
                f"There is no ECS cluster {cluster}: correct `runtime.ecs_service`."
            ) from error
        raise CannotCapture(why(error, "ecs:DescribeServices")) from error
    services = answer.get("services", [])
    if not services:
        raise CannotCapture(f"There is no ECS service {service} in {cluster}: correct `runtime.ecs_service`.")
    facts: Json = services[0]
    if not _is_ours(aws, plan, facts):
        raise CannotCapture(not_tagged(tenant_of(plan), f"the ECS service {cluster}/{service}"))
    running, desired = int(facts.get("runningCount", 0)), int(facts.get("desiredCount", 0))
    pending = int(facts.get("pendingCount", 0))
    rollouts = [
        " ".join(str(one.get(key) or "") for key in ("status", "rolloutState", "rolloutStateReason")).strip()
        for one in facts.get("deployments", [])
        if one.get("rolloutState")
    ]
    failed = any(one.get("rolloutState") == "FAILED" for one in facts.get("deployments", []))
    events = [f"event: {event.get('message', '')}" for event in facts.get("events", [])[:SHOWN]]
    says = f"{running} of {desired} tasks run" + (f", {pending} start" if pending else "") + "."
    if facts.get("status") != "ACTIVE":
        return (
            LayerStatus.FAILING,
            f"The service is {facts.get('status', 'gone')}. {says}",
            (*rollouts, *events),
        )
    status = LayerStatus.FAILING if running < desired or failed else LayerStatus.OK
    return status, says, (*rollouts, *events)


def _is_ours(aws: AwsClients, plan: Plan, facts: Json) -> bool:
    """Whether the service or a target group it serves carries the repository's name, where that is asked for."""
    tenant = tenant_of(plan)
    if belongs_to(tenant, {str(tag["key"]): str(tag.get("value", "")) for tag in facts.get("tags", ())}):
        return True
    groups = TargetGroups(aws)
    for balancer in facts.get("loadBalancers", ()):
        arn = str(balancer.get("targetGroupArn") or "")
        try:
            groups.check(account_of(plan, arn), arn, tenant)
        except CannotReadHealth:
            continue
        return bool(arn)
    return False


def _tasks(ecs: Any, cluster: str, service: str) -> list[Json]:
    """The service's tasks: stopped ones first, newest first, then running ones."""
    arns: list[str] = []
    try:
        for status in ("STOPPED", "RUNNING"):
            answer = ecs.list_tasks(
                cluster=cluster, serviceName=service, desiredStatus=status, maxResults=TASKS
            )
            arns += answer.get("taskArns", [])
    except AWS_ERRORS as error:
        raise CannotCapture(why(error, "ecs:ListTasks")) from error
    if not arns:
        return []
    try:
        tasks: list[Json] = ecs.describe_tasks(cluster=cluster, tasks=arns).get("tasks", [])
    except AWS_ERRORS as error:
        raise CannotCapture(why(error, "ecs:DescribeTasks")) from error
    return sorted(tasks, key=lambda task: (_is_stopped(task), str(task.get("stoppedAt", ""))), reverse=True)


def _is_stopped(task: Json) -> bool:
    return task.get("lastStatus") == "STOPPED" or bool(task.get("stoppedReason"))


def _replaced(task: Json) -> bool:
    return str(task.get("stoppedReason", "")).startswith(REPLACED) and not any(
        one.get("exitCode") not in (None, 0, 143, 137) for one in task.get("containers", [])
    )


def _failing_container(task: Json) -> Json:
    containers: Sequence[Json] = task.get("containers", [])
    for tells in (
        lambda one: one.get("exitCode") not in (None, 0),
        lambda one: bool(one.get("reason")),
        lambda one: one.get("healthStatus") == "UNHEALTHY",
        lambda one: True,
    ):
        for one in containers:
            if tells(one):
                return one
    return {}


def _running_status(container: Json) -> LayerStatus:
    return LayerStatus.FAILING if container.get("healthStatus") == "UNHEALTHY" else LayerStatus.OK


def _sentence(task: Json, container: Json, stopped: int) -> str:
    name = container.get("name", "the container")
    if not _is_stopped(task):
        return f"{name}: {str(task.get('lastStatus', 'unknown')).lower()}."
    code = container.get("exitCode")
    ended = f"exited ({code})" if code is not None else "stopped"
    why_text = "; ".join(str(one) for one in (container.get("reason"), task.get("stoppedReason")) if one)
    count = f" {stopped} tasks stopped like this." if stopped > 1 else ""
    return f"{name}: {ended}{f': {why_text}' if why_text else ''}.{count}"


def _task_line(task: Json) -> str:
    codes = ", ".join(f"{one.get('name')} {_ended(one)}" for one in task.get("containers", []))
    return f"task {_id(task)}: {codes} {task.get('stoppedReason', '')}".rstrip()


def _ended(container: Json) -> str:
    code = container.get("exitCode")
    return str(container.get("lastStatus", "")).lower() if code is None else f"exited ({code})"


def _id(task: Json) -> str:
    return str(task.get("taskArn", "")).rsplit("/", 1)[-1]


def _image(container: Json) -> str | None:
    image, digest = container.get("image"), container.get("imageDigest")
    if image and digest and digest not in image:
        return f"{image} ({str(digest)[:19]})"
    return image or digest


def _log(aws: AwsClients, ecs: Any, plan: Plan, task: Json, container: Json) -> tuple[str, str]:
    """The end of the container's log, and a note where it could not be read."""
    definition, name = task.get("taskDefinitionArn"), container.get("name")
    if not definition or not name:
        return "", "The task names no container, so there is no log."
    try:
        facts = ecs.describe_task_definition(taskDefinition=definition)["taskDefinition"]
    except AWS_ERRORS as error:
        return "", why(error, "ecs:DescribeTaskDefinition")
    wanted: Json = next((one for one in facts.get("containerDefinitions", []) if one.get("name") == name), {})
    logging = wanted.get("logConfiguration") or {}
    if logging.get("logDriver") != "awslogs":
        return "", f"{name} does not log to CloudWatch (driver {logging.get('logDriver', 'none')})."
    options: Json = logging.get("options") or {}
    group, prefix = options.get("awslogs-group"), options.get("awslogs-stream-prefix")
    if not group or not prefix:
        return "", f"{name} logs without group or stream prefix, so its stream cannot be told."
    try:
        logs = _client(aws, plan, "logs", options.get("awslogs-region"))
        events = read_stream(logs, str(group), f"{prefix}/{name}/{_id(task)}", plan.logs.lines)
    except CannotCapture as failure:
        return "", failure.reason
    return "\n".join(text.rstrip("\n") for _, text in events), "" if events else f"{name} logged nothing."
