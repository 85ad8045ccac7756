"""Reads the newest lines of a CloudWatch log group, or of one stream of it."""

from __future__ import annotations

import re
import time
from typing import Any, Final

from bot.aws import AWS_ERRORS, AwsClients, code_of, why
from bot.evidence_look import Look, blind
from bot.failures import CannotCapture
from bot.tenancy import belongs_to, not_tagged, tenant_of
from policies.facts import LayerStatus
from policies.limits import Plan

STREAMS: Final = 3
"""Newest streams that are read: one container writes one stream."""
MAX_EVENTS: Final = 1_000
PAGES: Final = 3

_GROUP: Final = re.compile(r"[\w.\-/#]{1,512}")


def read_stream(logs: Any, group: str, stream: str, lines: int) -> list[tuple[int, str]]:
    """The last `lines` events of a stream as (milliseconds, text), oldest first. Raises CannotCapture."""
    events: list[tuple[int, str]] = []
    token: dict[str, str] = {}
    try:
        for _ in range(PAGES):
            answer = logs.get_log_events(
                logGroupName=group,
                logStreamName=stream,
                limit=min(MAX_EVENTS, max(1, lines)),
                startFromHead=False,
                **token,
            )
            page = [(int(event["timestamp"]), str(event["message"])) for event in answer.get("events", [])]
            events = page + events
            before = answer.get("nextBackwardToken")
            # CloudWatch may answer an empty page and have more behind it; the same token twice is the end.
            if len(events) >= lines or not before or token.get("nextToken") == before:
                break
            token = {"nextToken": before}
    except AWS_ERRORS as error:
        if code_of(error) == "ResourceNotFoundException":
            raise CannotCapture(f"There is no log stream {stream} in {group}: nothing was logged.") from error
        raise CannotCapture(why(error, "logs:GetLogEvents")) from error
    return events[-lines:]


def read_group(
    logs: Any, group: str, lines: int, until_s: float, tenant: str | None = None
) -> tuple[list[tuple[int, str]], list[str]]:
    """The last `lines` events of the group's newest streams, and the names of those. Raises CannotCapture, also
    for a group that is not of `tenant` (see `bot.tenancy`)."""
    if not _GROUP.fullmatch(group):
        raise CannotCapture(f"{group!r} is not the name of a log group: correct `runtime.log_group`.")
    try:
        answer = logs.describe_log_streams(
            logGroupName=group, orderBy="LastEventTime", descending=True, limit=STREAMS
        )
    except AWS_ERRORS as error:
        if code_of(error) == "ResourceNotFoundException":
            raise CannotCapture(
                f"There is no log group {group} in this account and region: correct `runtime.log_group`."
            ) from error
        raise CannotCapture(why(error, "logs:DescribeLogStreams")) from error
    streams = answer.get("logStreams", [])
    if tenant is not None and not belongs_to(tenant, _tags(logs, streams)):
        raise CannotCapture(not_tagged(tenant, f"the log group {group}"))
    names = [str(stream["logStreamName"]) for stream in streams]
    events: list[tuple[int, str]] = []
    for name in names:
        if events and time.monotonic() > until_s:
            break
        events += read_stream(logs, group, name, lines)
    return sorted(events, key=lambda event: event[0])[-lines:], names


def _tags(logs: Any, streams: list[dict[str, Any]]) -> dict[str, str]:
    """The tags of the group that these streams are of; its ARN is the beginning of theirs."""
    arn = next((str(stream["arn"]).partition(":log-stream:")[0] for stream in streams if "arn" in stream), "")
    if not arn:
        return {}
    try:
        found = logs.list_tags_for_resource(resourceArn=arn).get("tags", {})
    except AWS_ERRORS as error:
        raise CannotCapture(why(error, "logs:ListTagsForResource")) from error
    return {str(key): str(value) for key, value in found.items()}


def look_at_log_group(aws: AwsClients, plan: Plan, until_s: float) -> Look:
    """A look at the plan's log group alone; says nothing of the host. Never raises CannotCapture."""
    group = plan.runtime.log_group or ""
    try:
        try:
            logs = aws.client("logs", role_arn=plan.aws_role_arn, region=plan.aws_region)
        except AWS_ERRORS as error:
            raise CannotCapture(why(error, "logs:DescribeLogStreams")) from error
        events, streams = read_group(logs, group, plan.logs.lines, until_s, tenant_of(plan))
    except CannotCapture as failure:
        return blind(group, failure.reason)
    if not events:
        return Look(
            group,
            LayerStatus.UNKNOWN,
            "A log group tells nothing of the host.",
            LayerStatus.UNKNOWN,
            "It is empty.",
        )
    return Look(
        where=group,
        host=LayerStatus.UNKNOWN,
        host_says="A log group tells nothing of the host.",
        container=LayerStatus.OK,
        container_says=f"Its last {len(events)} lines were read.",
        details=tuple(f"stream {name}" for name in streams),
        name=streams[0] if streams else None,
        log="\n".join(text.rstrip("\n") for _, text in events),
    )
