"""Finds target groups by name or ARN: where they are looked up, as whom, and which load balancer serves them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bot.aws import AWS_ERRORS, AwsClients, code_of, why
from bot.failures import CannotReadHealth
from bot.tenancy import belongs_to, not_tagged
from policies.limits import Plan

KEPT_S: Final = 600.0
"""A group may be recreated under its name, and attached to another load balancer."""
TAGS_KEPT_S: Final = 60.0
"""Taking the tag away takes the right away, and giving it gives it, within so long."""
NOT_FOUND: Final = "TargetGroupNotFound"
DESCRIBE: Final = "elasticloadbalancing:DescribeTargetGroups"
DESCRIBE_TAGS: Final = "elasticloadbalancing:DescribeTags"


@dataclass(frozen=True)
class Account:
    """Where a group is looked up: as whom, and in which region (None: the bot's own)."""

    role_arn: str | None
    region: str | None


@dataclass(frozen=True)
class TargetGroup:
    """A target group as AWS knows it."""

    arn: str
    load_balancers: tuple[str, ...] = ()


class TargetGroups:
    """Remembers for ten minutes what it found. All methods block and raise CannotReadHealth."""

    def __init__(self, aws: AwsClients, clock: Callable[[], float] = time.monotonic) -> None:
        self._aws = aws
        self._clock = clock
        self._found: dict[tuple[Account, str], tuple[float, TargetGroup]] = {}
        self._served: dict[tuple[Account, str], tuple[float, frozenset[str]]] = {}
        self._tags: dict[tuple[Account, str], tuple[float, dict[str, str]]] = {}

    def client(self, service: str, account: Account) -> Any:
        """The AWS client of `service` for `account`. Raises botocore's errors."""
        return self._aws.client(service, role_arn=account.role_arn, region=account.region)

    def arn(self, account: Account, group: str) -> str:
        """The ARN of `group`; an ARN is its own."""
        return group if group.startswith("arn:") else self.find(account, group).arn

    def find(self, account: Account, group: str) -> TargetGroup:
        """The group of that name or ARN. May be repeated."""
        known = self._found.get((account, group))
        if known is not None and self._clock() - known[0] < KEPT_S:
            return known[1]
        named = {"TargetGroupArns": [group]} if group.startswith("arn:") else {"Names": [group]}
        try:
            answer = self.client("elbv2", account).describe_target_groups(**named)
        except AWS_ERRORS as error:
            if is_not_found(error):
                raise CannotReadHealth(not_found(group)) from None
            raise CannotReadHealth(why(error, DESCRIBE)) from None
        if not answer["TargetGroups"]:
            raise CannotReadHealth(not_found(group))
        facts = answer["TargetGroups"][0]
        found = TargetGroup(str(facts["TargetGroupArn"]), tuple(facts.get("LoadBalancerArns", ())))
        self._found[(account, group)] = (self._clock(), found)
        return found

    def served_by(self, account: Account, load_balancer: str) -> frozenset[str]:
        """The ARNs of the groups behind a load balancer. May be repeated."""
        known = self._served.get((account, load_balancer))
        if known is not None and self._clock() - known[0] < KEPT_S:
            return known[1]
        try:
            pages = self.client("elbv2", account).get_paginator("describe_target_groups")
            arns = frozenset(
                str(group["TargetGroupArn"])
                for page in pages.paginate(LoadBalancerArn=load_balancer)
                for group in page["TargetGroups"]
            )
        except AWS_ERRORS as error:
            raise CannotReadHealth(why(error, DESCRIBE)) from None
        self._served[(account, load_balancer)] = (self._clock(), arns)
        return arns

    def check(self, account: Account, group: str, tenant: str | None) -> None:
        """Raise CannotReadHealth with the sentence for it unless `group` may be read for `tenant` (see
        `bot.tenancy`); one that cannot be told may not. May be repeated."""
        if tenant is None:
            return
        if not belongs_to(tenant, self._tags_of(account, self.arn(account, group))):
            raise CannotReadHealth(not_tagged(tenant, f"the target group {name_of(group)}"))

    def _tags_of(self, account: Account, arn: str) -> dict[str, str]:
        known = self._tags.get((account, arn))
        if known is not None and self._clock() - known[0] < TAGS_KEPT_S:
            return known[1]
        try:
            answer = self.client("elbv2", account).describe_tags(ResourceArns=[arn])
        except AWS_ERRORS as error:
            if is_not_found(error):
                raise CannotReadHealth(not_found(arn)) from None
            raise CannotReadHealth(why(error, DESCRIBE_TAGS)) from None
        found = {
            str(tag["Key"]): str(tag.get("Value", ""))
            for described in answer.get("TagDescriptions", ())
            if described.get("ResourceArn") == arn
            for tag in described.get("Tags", ())
        }
        self._tags[(account, arn)] = (self._clock(), found)
        return found

    def forget(self, account: Account, group: str) -> None:
        """Look it up anew next time."""
        self._found.pop((account, group), None)


def account_of(plan: Plan, group: str) -> Account:
    """Where `plan` looks for `group`; an ARN names its own region."""
    own = group.split(":")[3] if group.startswith("arn:") and group.count(":") >= 5 else ""
    return Account(plan.aws_role_arn, own or plan.aws_region)


def name_of(group: str) -> str:
    """The name in `arn:aws:elasticloadbalancing:<region>:<account>:targetgroup/<name>/<id>`, or the name."""
    return group.split("/")[1] if group.startswith("arn:") and group.count("/") >= 2 else group


def is_not_found(error: Exception) -> bool:
    return code_of(error).startswith(NOT_FOUND)


def not_found(group: str) -> str:
    return (
        f"There is no target group {name_of(group)} in this account and region: check `target_groups`, "
        "the region and the role."
    )
