"""Reads what users got from the load balancer's CloudWatch metrics: requests and 5xx by the minute, and history.

Metrics and dimensions: "CloudWatch metrics for your Application Load Balancer" in ELB's user guide. A minute
without traffic has no point at all, points come some minutes late, and what ELB answers by itself
(`HTTPCode_ELB_5XX_Count`: 502, 503, 504) is counted by load balancer only, not by target group.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bot.aws import AWS_ERRORS, AwsClients, why
from bot.failures import CannotReadHealth
from bot.shared_reads import SharedReads
from bot.target_groups import Account, TargetGroups, account_of, name_of
from bot.tenancy import tenant_of
from policies.facts import HealthSample, TargetSample, TrafficSample
from policies.limits import Plan

THREADS: Final = 4
MINUTE_S: Final = 60
FRESH_S: Final = 45.0
"""CloudWatch has one point a minute, and each metric that is asked for is paid for."""
AT_MOST_S: Final = 2.0
"""A poll is as good without it, and must not be late for it."""
NEWEST_S: Final = 300.0
"""A point that is older than this says nothing about the present."""
MOST_HOSTS: Final = 50
NAMESPACE: Final = "AWS/ApplicationELB"
ACTION: Final = "cloudwatch:GetMetricData"
_STATISTICS: Final = {
    "RequestCount": "Sum",
    "HTTPCode_Target_5XX_Count": "Sum",
    "HTTPCode_ELB_5XX_Count": "Sum",
    "HealthyHostCount": "Average",
    "UnHealthyHostCount": "Average",
}
_TRAFFIC: Final = ("RequestCount", "HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count")

Points = dict[int, dict[str, float]]
"""By minute (epoch s of its beginning), the values of the metrics that have a point there."""


@dataclass(frozen=True)
class _Question:
    """What one read asks for: the same question shares its answer."""

    account: Account
    group: str
    groups: tuple[str, ...]
    minutes: tuple[int, int] | None
    """From, to (epoch s) for history; None for the present."""
    tenant: str | None = None
    """What one tenant may read is never another's answer."""


class CloudWatchTraffic:
    """Requests and errors of an environment's target groups. Safe to share between event loops and threads."""

    def __init__(
        self,
        aws: AwsClients,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._groups = TargetGroups(aws, clock)
        self._now = now
        self._reads: SharedReads[_Question, Points] = SharedReads("traffic", THREADS, clock)

    async def latest(self, plan: Plan) -> TrafficSample | None:
        """The newest whole minute of all target groups together, None without traffic.

        Raises CannotReadHealth. May be called again at will: a read serves everyone for most of a minute."""
        try:
            points = _together(await self._read_all(plan, None))
        except TimeoutError:
            raise CannotReadHealth(
                f"AWS kept us waiting for traffic for more than {AT_MOST_S:g} s."
            ) from None
        now_s = self._now()
        whole = [
            minute
            for minute, values in points.items()
            if _traffic(values) and MINUTE_S <= now_s - minute <= NEWEST_S
        ]
        return _traffic(points[max(whole)]) if whole else None

    async def history(self, plan: Plan, since_s: float, until_s: float) -> tuple[HealthSample, ...]:
        """One sample a minute from `since_s` to `until_s` (epoch), oldest first; `t_s` is epoch as well, and the
        middle of its minute. Minutes without any point are left out. Raises CannotReadHealth; may be repeated."""
        begin, end = int(since_s) // MINUTE_S * MINUTE_S, -(-int(until_s) // MINUTE_S) * MINUTE_S
        answers = await self._read_all(plan, (begin, end))
        points = _together(answers)
        samples = []
        for minute in sorted(points):
            targets = tuple(
                target for group, found in answers.items() for target in _hosts(group, found.get(minute, {}))
            )
            sample = HealthSample(
                minute + MINUTE_S / 2, targets=targets or None, traffic=_traffic(points[minute])
            )
            if sample.targets or sample.traffic:
                samples.append(sample)
        return tuple(samples)

    def close(self) -> None:
        """Let the threads go; readings under way are finished."""
        self._reads.close()

    async def _read_all(self, plan: Plan, minutes: tuple[int, int] | None) -> dict[str, Points]:
        groups = tuple(dict.fromkeys(plan.target_groups))
        tenant = tenant_of(plan)
        questions = [_Question(account_of(plan, group), group, groups, minutes, tenant) for group in groups]
        at_most_s = AT_MOST_S if minutes is None else None
        reads = [
            self._reads.get(question, FRESH_S, partial(self._read, question), at_most_s=at_most_s)
            for question in questions
        ]
        if len(reads) == 1:  # mostly, and then without a task of its own
            return {name_of(groups[0]): await reads[0]}
        answers = await asyncio.gather(*reads, return_exceptions=True)
        found: dict[str, Points] = {}
        for group, answer in zip(groups, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            found[name_of(group)] = answer
        return found

    # --- in a thread ---------------------------------------------------------------------------------

    def _read(self, question: _Question) -> Points:
        account = question.account
        self._groups.check(account, question.group, question.tenant)
        group = self._groups.find(account, question.group)
        balancers = [arn for arn in group.load_balancers if ":loadbalancer/app/" in arn]
        if not balancers:
            return {}
        now = int(self._now())
        begin, end = question.minutes or (now - int(NEWEST_S) - MINUTE_S, now)
        names = _TRAFFIC if question.minutes is None else tuple(_STATISTICS)
        # What the balancer answered by itself belongs to us only if nobody else is behind it.
        ours = {self._groups.arn(account, name) for name in question.groups}
        queries = []
        for number, balancer in enumerate(balancers):
            alone = self._groups.served_by(account, balancer) <= ours
            first = alone and group.arn == min(self._groups.served_by(account, balancer) & ours)
            queries += [
                _query(f"m{number}_{name.lower()}", name, balancer, group.arn)
                for name in names
                if name != "HTTPCode_ELB_5XX_Count" or first
            ]
        try:
            return self._points(self.client(account), queries, begin, end)
        except AWS_ERRORS as error:
            raise CannotReadHealth(why(error, ACTION)) from None

    def client(self, account: Account) -> Any:
        """CloudWatch's client for `account`."""
        return self._groups.client("cloudwatch", account)

    def _points(self, client: Any, queries: list[dict[str, Any]], begin: int, end: int) -> Points:
        points: Points = {}
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries,
            StartTime=datetime.datetime.fromtimestamp(begin, datetime.UTC),
            EndTime=datetime.datetime.fromtimestamp(end, datetime.UTC),
        )
        names = {query["Id"]: query["MetricStat"]["Metric"]["MetricName"] for query in queries}
        for page in pages:
            for result in page["MetricDataResults"]:
                name = names[result["Id"]]
                for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                    minute = int(at.timestamp()) // MINUTE_S * MINUTE_S
                    values = points.setdefault(minute, {})
                    values[name] = values.get(name, 0.0) + float(value)
        return points


def _query(query_id: str, name: str, balancer: str, group: str) -> dict[str, Any]:
    dimensions = [{"Name": "LoadBalancer", "Value": balancer.partition(":loadbalancer/")[2]}]
    if name != "HTTPCode_ELB_5XX_Count":
        dimensions.append({"Name": "TargetGroup", "Value": group.rpartition(":")[2]})
    metric = {"Namespace": NAMESPACE, "MetricName": name, "Dimensions": dimensions}
    return {
        "Id": query_id,
        "MetricStat": {"Metric": metric, "Period": MINUTE_S, "Stat": _STATISTICS[name]},
        "ReturnData": True,
    }


def _together(answers: dict[str, Points]) -> Points:
    """The sums over all groups, minute by minute."""
    points: Points = {}
    for found in answers.values():
        for minute, values in found.items():
            total = points.setdefault(minute, {})
            for name, value in values.items():
                total[name] = total.get(name, 0.0) + value
    return points


def _traffic(values: dict[str, float]) -> TrafficSample | None:
    """ALB counts a request only once it has chosen a target for it; the 5xx it answered without one come on
    top, so that a balancer without any healthy target is seen to fail and not to be idle."""
    failed = values.get("HTTPCode_Target_5XX_Count", 0.0) + values.get("HTTPCode_ELB_5XX_Count", 0.0)
    requests = max(values.get("RequestCount", 0.0), failed)
    if requests <= 0:
        return None
    return TrafficSample(requests, failed / requests)


def _hosts(group: str, values: dict[str, float]) -> list[TargetSample]:
    """CloudWatch counts hosts and does not name them."""
    found = []
    for name, state, reason in (
        ("HealthyHostCount", "healthy", None),
        ("UnHealthyHostCount", "unhealthy", "Target.FailedHealthChecks"),
    ):
        for number in range(min(round(values.get(name, 0.0)), MOST_HOSTS)):
            found.append(TargetSample(group, f"{state}-{number + 1}", state, reason))
    return found
