"""Reads target health from the load balancer (ELBv2), once for all guards that ask about the same group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from bot.aws import AWS_ERRORS, AwsClients, why
from bot.failures import CannotReadHealth
from bot.shared_reads import SharedReads
from bot.target_groups import Account, TargetGroups, account_of, is_not_found, name_of, not_found
from bot.tenancy import tenant_of
from policies.facts import TargetSample
from policies.limits import Plan

THREADS: Final = 8
"""boto3 blocks; more reads at once than this would only meet ELB's own request limits."""
READ_AT_MOST_S: Final = 5.0
"""As long as the site's own answer may take: an AWS that is slow must not make the polls of the site late."""
FRESH_SHARE: Final = 0.9
"""A reading serves everyone for this share of an interval, so that each guard's next poll reads anew."""


class AlbTargetHealth:
    """Fills `ports.TargetHealth`. Safe to share between event loops and threads."""

    def __init__(self, aws: AwsClients, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._groups = TargetGroups(aws, clock)
        self._reads: SharedReads[tuple[Account, str, str | None], tuple[TargetSample, ...]] = SharedReads(
            "target-health", THREADS, clock
        )

    async def read(self, plan: Plan) -> tuple[TargetSample, ...]:
        """The present state of every target of `plan.target_groups`, by group and target.

        Raises CannotReadHealth if any group cannot be read: half a picture could look like an outage, or like
        none. May be called again at will."""
        fresh_s = FRESH_SHARE * plan.health.interval_s
        if len(plan.target_groups) == 1:  # mostly, and then without a task of its own
            return await self._of_group(plan, plan.target_groups[0], fresh_s)
        answers = await asyncio.gather(
            *(self._of_group(plan, group, fresh_s) for group in dict.fromkeys(plan.target_groups)),
            return_exceptions=True,
        )
        targets: list[TargetSample] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            targets.extend(answer)
        return tuple(targets)

    def close(self) -> None:
        """Let the threads go; readings under way are finished."""
        self._reads.close()

    async def _of_group(self, plan: Plan, group: str, fresh_s: float) -> tuple[TargetSample, ...]:
        # What one tenant may read is never another's answer, so the tenant is part of the question.
        account, tenant = account_of(plan, group), tenant_of(plan)
        read = partial(self._read, account, group, tenant)
        try:
            return await self._reads.get((account, group, tenant), fresh_s, read, at_most_s=READ_AT_MOST_S)
        except TimeoutError:
            raise CannotReadHealth(
                f"AWS kept us waiting for target health for more than {READ_AT_MOST_S:g} s; "
                "the next poll looks again."
            ) from None

    def _read(self, account: Account, group: str, tenant: str | None) -> tuple[TargetSample, ...]:
        """In a thread."""
        try:
            self._groups.check(account, group, tenant)
            arn = self._groups.arn(account, group)
            answer = self._groups.client("elbv2", account).describe_target_health(TargetGroupArn=arn)
        except AWS_ERRORS as error:
            if is_not_found(error):
                self._groups.forget(account, group)  # recreated under the same name
                raise CannotReadHealth(not_found(group)) from None
            raise CannotReadHealth(why(error, "elasticloadbalancing:DescribeTargetHealth")) from None
        return tuple(_samples(name_of(group), answer.get("TargetHealthDescriptions", ())))


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
