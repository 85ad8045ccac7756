"""Reads target health from the load balancer (ELBv2), once for all guards that ask about the same group."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from bot.aws import AWS_ERRORS, AwsClients, code_of, why
from bot.failures import CannotReadHealth
from policies.facts import TargetSample
from policies.limits import Plan

THREADS: Final = 8
"""boto3 blocks; more reads at once than this would only meet ELB's own request limits."""
FRESH_SHARE: Final = 0.9
"""A reading serves everyone for this share of an interval, so that each guard's next poll reads anew."""
ARN_KEPT_S: Final = 600.0
NOT_FOUND: Final = "TargetGroupNotFound"


@dataclass(frozen=True)
class _Account:
    """Where a group is looked up: as whom, and in which region (None: the bot's own)."""

    role_arn: str | None
    region: str | None


@dataclass
class _Reading:
    begun_s: float
    future: Future[tuple[TargetSample, ...]]


class AlbTargetHealth:
    """Fills `ports.TargetHealth`. Safe to share between event loops and threads.

    A reading, failed ones included, is shared by everyone who asks about its group within the interval: ten
    guards of one service cost one call, and an AWS that is down is not asked more often for that."""

    def __init__(self, aws: AwsClients, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._aws = aws
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: dict[tuple[_Account, str], _Reading] = {}
        self._arns: dict[tuple[_Account, str], tuple[float, str]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="target-health")

    async def read(self, plan: Plan) -> tuple[TargetSample, ...]:
        """The present state of every target of `plan.target_groups`, by group and target.

        Raises CannotReadHealth if any group cannot be read: half a picture could look like an outage, or like
        none. May be called again at will."""
        readings = [self._reading(plan, group) for group in dict.fromkeys(plan.target_groups)]
        # A watch that is cancelled must not cancel the reading under the others that wait for it.
        waits = [asyncio.shield(asyncio.wrap_future(reading.future)) for reading in readings]
        groups = await asyncio.gather(*waits, return_exceptions=True)
        targets: list[TargetSample] = []
        for group in groups:
            if isinstance(group, BaseException):
                raise group
            targets.extend(group)
        return tuple(targets)

    def close(self) -> None:
        """Let the threads go; readings under way are finished."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _reading(self, plan: Plan, group: str) -> _Reading:
        account = _Account(plan.aws_role_arn, _region(group) or plan.aws_region)
        key = (account, group)
        now_s = self._clock()
        with self._lock:
            reading = self._readings.get(key)
            fresh_s = FRESH_SHARE * plan.health.interval_s
            if reading is None or (reading.future.done() and now_s - reading.begun_s >= fresh_s):
                reading = _Reading(now_s, self._threads.submit(self._read_group, account, group))
                self._readings[key] = reading
                self._forget(now_s)
            return reading

    def _forget(self, now_s: float) -> None:
        """Drop readings of groups that nobody watches any more (called with the lock held)."""
        if len(self._readings) > 1000:
            old = [
                key for key, r in self._readings.items() if r.future.done() and now_s - r.begun_s > ARN_KEPT_S
            ]
            for key in old:
                del self._readings[key]

    # --- in a thread ---------------------------------------------------------------------------------

    def _read_group(self, account: _Account, group: str) -> tuple[TargetSample, ...]:
        try:
            client = self._aws.client("elbv2", role_arn=account.role_arn, region=account.region)
            arn = group if group.startswith("arn:") else self._arn(client, account, group)
            try:
                answer = client.describe_target_health(TargetGroupArn=arn)
            except ClientError as error:
                if code_of(error).startswith(NOT_FOUND):
                    self._arns.pop((account, group), None)  # recreated under the same name: look it up anew
                raise
        except AWS_ERRORS as error:
            if code_of(error).startswith(NOT_FOUND):
                raise CannotReadHealth(_not_found(group)) from None
            raise CannotReadHealth(why(error, "elasticloadbalancing:DescribeTargetHealth")) from None
        return tuple(_samples(_name(group), answer.get("TargetHealthDescriptions", ())))

    def _arn(self, client: Any, account: _Account, name: str) -> str:
        known = self._arns.get((account, name))
        if known is not None and self._clock() - known[0] < ARN_KEPT_S:
            return known[1]
        try:
            found = client.describe_target_groups(Names=[name])["TargetGroups"]
        except AWS_ERRORS as error:
            if code_of(error).startswith(NOT_FOUND):
                raise CannotReadHealth(_not_found(name)) from None
            raise CannotReadHealth(why(error, "elasticloadbalancing:DescribeTargetGroups")) from None
        if not found:
            raise CannotReadHealth(_not_found(name))
        arn = str(found[0]["TargetGroupArn"])
        self._arns[(account, name)] = (self._clock(), arn)
        return arn


def _samples(group: str, descriptions: Iterable[dict[str, Any]]) -> list[TargetSample]:
    ids = [str(d.get("Target", {}).get("Id", "")) for d in descriptions]
    samples = []
    for target_id, description in zip(ids, descriptions, strict=True):
        health = description.get("TargetHealth", {})
        port = description.get("Target", {}).get("Port")
        # One host may serve on several ports; each is a target of its own then.
        name = f"{target_id}:{port}" if ids.count(target_id) > 1 and port else target_id
        samples.append(
            TargetSample(
                group=group,
                target=name,
                state=str(health.get("State", "")),
                reason=health.get("Reason"),
                description=health.get("Description"),
            )
        )
    return sorted(samples, key=lambda sample: sample.target)


def _not_found(group: str) -> str:
    return (
        f"There is no target group {_name(group)} in this account and region: check `target_groups`, "
        "the region and the role."
    )


def _name(group: str) -> str:
    """The name in `arn:aws:elasticloadbalancing:<region>:<account>:targetgroup/<name>/<id>`, or the name."""
    return group.split("/")[1] if group.startswith("arn:") and group.count("/") >= 2 else group


def _region(group: str) -> str | None:
    return group.split(":")[3] or None if group.startswith("arn:") and group.count(":") >= 5 else None
