"""Requests and errors by the minute from CloudWatch, over the wire (moto's server) and from a counting stand-in."""

from __future__ import annotations

import datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from bot.aws import AwsClients
from bot.failures import CannotReadHealth
from bot.traffic import CloudWatchTraffic
from policies.badness import badness_before, balancer_badness, traffic_badness, usual_rate_5xx
from policies.facts import TrafficSample
from policies.limits import HealthLimits, Mode, Plan

NOW_S = 1_777_903_230.0  # half a minute past 14:00 UTC
REGION = "arn:aws:elasticloadbalancing:eu-west-1:123456789012"
WEB, API, OTHER = (
    f"{REGION}:targetgroup/{name}/0123456789abcde{n}" for n, name in enumerate(("web", "api", "x"))
)
OURS, SHARED = f"{REGION}:loadbalancer/app/ours/1", f"{REGION}:loadbalancer/app/shared/2"


def plan(*groups: str) -> Plan:
    return Plan(mode=Mode.AUTO, branch="develop", target_groups=groups)


class Aws:
    """ELB and CloudWatch with given load balancers and points, counting what is asked."""

    def __init__(self) -> None:
        self.behind = {OURS: (WEB, API), SHARED: (OTHER, f"{REGION}:targetgroup/theirs/9")}
        self.points: dict[tuple[str, str], dict[int, float]] = {}
        """By (metric, dimension values) and minutes before now."""
        self.asked: list[list[str]] = []
        self.error: Exception | None = None

    def client(self, service: str, *, role_arn: str | None = None, region: str | None = None) -> Any:
        return self

    def describe_target_groups(self, **named: Any) -> Any:
        wanted = (named.get("TargetGroupArns") or named.get("Names"))[0]
        for arn in (WEB, API, OTHER):
            if wanted in (arn, arn.split("/")[1]):
                balancers = [lb for lb, arns in self.behind.items() if arn in arns]
                return {"TargetGroups": [{"TargetGroupArn": arn, "LoadBalancerArns": balancers}]}
        raise ClientError({"Error": {"Code": "TargetGroupNotFound"}}, "DescribeTargetGroups")

    def get_paginator(self, name: str) -> Any:
        return Pages(self, name)

    def set(self, metric: str, of: str, by_minute: dict[int, float]) -> None:
        self.points[(metric, of)] = by_minute


class Pages:
    def __init__(self, aws: Aws, name: str) -> None:
        self.aws, self.name = aws, name

    def paginate(self, **asked: Any) -> Any:
        if self.name == "describe_target_groups":
            arns = self.aws.behind[asked["LoadBalancerArn"]]
            yield from ({"TargetGroups": [{"TargetGroupArn": arn}]} for arn in arns)
            return
        if self.aws.error:
            raise self.aws.error
        queries = asked["MetricDataQueries"]
        self.aws.asked.append([query["Id"] for query in queries])
        for query in queries:
            metric = query["MetricStat"]["Metric"]
            assert metric["Namespace"] == "AWS/ApplicationELB"
            of = " ".join(d["Value"] for d in metric["Dimensions"])
            known = self.aws.points.get((metric["MetricName"], of), {})
            stamps = [
                datetime.datetime.fromtimestamp(NOW_S // 60 * 60 - 60 * ago, datetime.UTC) for ago in known
            ]
            inside = [
                (at, value)
                for at, value in zip(stamps, known.values(), strict=True)
                if asked["StartTime"] <= at < asked["EndTime"]
            ]
            for at, value in inside:  # one point a page
                yield {"MetricDataResults": [{"Id": query["Id"], "Timestamps": [at], "Values": [value]}]}


LB, WEB_DIM = "app/ours/1", "app/ours/1 targetgroup/web/0123456789abcde0"
API_DIM = "app/ours/1 targetgroup/api/0123456789abcde1"
OTHER_DIM = "app/shared/2 targetgroup/x/0123456789abcde2"


@pytest.fixture
def aws() -> Aws:
    return Aws()


@pytest.fixture
def traffic(aws):
    found = CloudWatchTraffic(aws, now=lambda: NOW_S)
    yield found
    found.close()


async def test_target_and_balancer_errors_count_both(aws, traffic):
    aws.set("RequestCount", WEB_DIM, {0: 10, 1: 50, 2: 60})
    aws.set("RequestCount", API_DIM, {1: 50})
    aws.set("HTTPCode_Target_5XX_Count", API_DIM, {1: 5})
    aws.set("HTTPCode_ELB_5XX_Count", LB, {1: 15, 2: 60})
    assert await traffic.latest(plan("web", "api")) == TrafficSample(100.0, 0.2)
    elb = [name for ids in aws.asked for name in ids if "elb_5xx" in name]
    assert len(elb) == 1, "the balancer's own errors are counted once for all groups behind it"


async def test_the_minute_that_is_still_running_does_not_count(aws, traffic):
    aws.set("RequestCount", WEB_DIM, {0: 500})
    assert await traffic.latest(plan("web")) is None


async def test_a_minute_of_long_ago_does_not_count(aws, traffic):
    aws.set("RequestCount", WEB_DIM, {5: 500})
    assert await traffic.latest(plan("web")) is None


async def test_no_traffic_is_no_rate(aws, traffic):
    assert await traffic.latest(plan("web")) is None
    assert await traffic.latest(plan()) is None


async def test_a_balancer_without_targets_fails_and_is_not_idle(aws, traffic):
    """ALB does not count requests for which it found no target."""
    aws.set("HTTPCode_ELB_5XX_Count", LB, {1: 40})
    assert await traffic.latest(plan("web", "api")) == TrafficSample(40.0, 1.0)


async def test_the_errors_of_a_shared_balancer_are_not_ours(aws, traffic):
    aws.set("RequestCount", OTHER_DIM, {1: 30})
    aws.set("HTTPCode_ELB_5XX_Count", "app/shared/2", {1: 1000})
    assert await traffic.latest(plan("x")) == TrafficSample(30.0, 0.0)
    aws.set("HTTPCode_ELB_5XX_Count", LB, {1: 1000})
    aws.set("RequestCount", WEB_DIM, {1: 30})
    assert await traffic.latest(plan("web")) == TrafficSample(30.0, 0.0), "api is behind it as well"


async def test_a_read_is_shared_for_most_of_a_minute(aws, traffic):
    aws.set("RequestCount", WEB_DIM, {1: 30})
    for _ in range(5):
        await traffic.latest(plan("web"))
    assert len(aws.asked) == 1


async def test_history_is_a_baseline(aws, traffic):
    aws.set("RequestCount", WEB_DIM, {2: 100, 3: 100})
    aws.set("HTTPCode_Target_5XX_Count", WEB_DIM, {3: 4})
    aws.set("HealthyHostCount", WEB_DIM, {1: 2.0, 2: 0.4, 3: 2.0})
    aws.set("UnHealthyHostCount", WEB_DIM, {2: 1.6})
    samples = await traffic.history(plan("web"), NOW_S - 300, NOW_S)
    minute = NOW_S // 60 * 60
    assert [sample.t_s for sample in samples] == [minute - 150, minute - 90, minute - 30]
    assert [sample.traffic for sample in samples] == [TrafficSample(100, 0.04), TrafficSample(100, 0.0), None]
    assert [balancer_badness(sample.targets) for sample in samples] == [0.0, 1.0, 0.0]
    limits = HealthLimits()
    assert [badness_before(sample, limits) for sample in samples] == [0.04, 1.0, 0.0]
    usual = usual_rate_5xx(samples, limits)
    assert usual == 0.02
    assert traffic_badness(TrafficSample(100, 0.07), usual, limits) == pytest.approx(0.5)


async def test_what_aws_refuses_is_told_in_a_sentence(aws, traffic):
    aws.error = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetMetricData")
    with pytest.raises(CannotReadHealth) as failed:
        await traffic.latest(plan("web"))
    assert failed.value.reason.startswith("AWS refused cloudwatch:GetMetricData (AccessDenied)")
    with pytest.raises(CannotReadHealth) as failed:
        await traffic.latest(plan("wbe"))
    assert failed.value.reason.startswith("There is no target group wbe in this account")


async def test_a_network_load_balancer_has_no_such_metrics(aws, traffic):
    aws.behind = {f"{REGION}:loadbalancer/net/tcp/3": (WEB,)}
    assert await traffic.latest(plan("web")) is None
    assert aws.asked == []


# --- over the wire ------------------------------------------------------------------------------------


@pytest.fixture
def over_the_wire(monkeypatch):
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    yield AwsClients(region="eu-west-1")
    server.stop()


async def test_points_of_a_real_api(over_the_wire):
    aws = over_the_wire
    ec2, elb, cloudwatch = (
        boto3.client("ec2", region_name="eu-west-1"),
        aws.client("elbv2"),
        aws.client("cloudwatch"),
    )
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"eu-west-1{zone}")[
            "Subnet"
        ]
        for n, zone in enumerate("ab")
    ]
    made = elb.create_load_balancer(Name="wire", Subnets=[subnet["SubnetId"] for subnet in subnets])
    balancer = made["LoadBalancers"][0]["LoadBalancerArn"]
    made = elb.create_target_group(Name="wire", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip")
    group = made["TargetGroups"][0]["TargetGroupArn"]
    forward = [{"Type": "forward", "TargetGroupArn": group}]
    elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=forward)
    now = datetime.datetime.now(datetime.UTC)
    lb_only = [{"Name": "LoadBalancer", "Value": balancer.partition(":loadbalancer/")[2]}]
    both = [*lb_only, {"Name": "TargetGroup", "Value": group.rpartition(":")[2]}]
    for name, dimensions, value in (
        ("RequestCount", both, 80.0),
        ("HTTPCode_Target_5XX_Count", both, 8.0),
        ("HTTPCode_ELB_5XX_Count", lb_only, 12.0),
    ):
        point = {"MetricName": name, "Dimensions": dimensions, "Value": value}
        stamped = {**point, "Timestamp": now - datetime.timedelta(seconds=130), "Unit": "Count"}
        cloudwatch.put_metric_data(Namespace="AWS/ApplicationELB", MetricData=[stamped])
    reader = CloudWatchTraffic(aws)
    assert await reader.latest(plan("wire")) == TrafficSample(80.0, 0.25)
    samples = await reader.history(plan(group), now.timestamp() - 300, now.timestamp())
    assert [sample.traffic for sample in samples] == [TrafficSample(80.0, 0.25)]
    reader.close()
