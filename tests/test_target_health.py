"""Target health over the wire (moto's server), and one reading for all guards that ask."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from bot.aws import AwsClients
from bot.failures import CannotReadHealth
from bot.target_health import AlbTargetHealth
from policies.badness import balancer_badness
from policies.limits import HealthLimits, Mode, Plan
from tests.patience import PATIENCE_S, until

ARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef"


def plan(*groups: str, interval_s: float = 10.0, **facts: Any) -> Plan:
    limits = HealthLimits(interval_s=interval_s)
    return Plan(mode=Mode.AUTO, branch="develop", target_groups=groups, health=limits, **facts)


# --- over the wire ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws_server():
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(aws_server, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return AwsClients(region="eu-west-1")


@pytest.fixture
def group(aws):
    """A target group `web` with one instance in it; its ARN."""
    ec2 = boto3.client("ec2", region_name="eu-west-1")
    elb = aws.client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"eu-west-1{zone}")
        for n, zone in enumerate("ab")
    ]
    balancer = elb.create_load_balancer(Name="site", Subnets=[s["Subnet"]["SubnetId"] for s in subnets])
    found = elb.create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip")
    arn = found["TargetGroups"][0]["TargetGroupArn"]
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
    )
    elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": "10.0.0.9", "Port": 80}])
    yield arn
    elb.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"])
    elb.delete_target_group(TargetGroupArn=arn)


async def test_a_group_by_name_and_by_arn(aws, group):
    by_name = await AlbTargetHealth(aws).read(plan("web"))
    by_arn = await AlbTargetHealth(aws).read(plan(group))
    assert by_name == by_arn
    assert [(t.group, t.target, t.state) for t in by_name] == [("web", "10.0.0.9", "healthy")]
    assert balancer_badness(by_name) == 0.0


async def test_a_group_that_does_not_exist(aws, group):
    reader = AlbTargetHealth(aws)
    for wrong in ("wbe", group[:-4] + "dead"):
        with pytest.raises(CannotReadHealth) as failed:
            await reader.read(plan("web", wrong))
        name = "web" if wrong.startswith("arn") else "wbe"
        assert failed.value.reason == (
            f"There is no target group {name} in this account and region: check `target_groups`, "
            "the region and the role."
        )


async def test_an_aws_that_does_not_answer(monkeypatch, aws):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    reader = AlbTargetHealth(AwsClients(region="eu-west-1", attempts=1))
    with pytest.raises(CannotReadHealth) as failed:
        await reader.read(plan("web"))
    assert failed.value.reason.startswith(
        "AWS could not be reached for elasticloadbalancing:DescribeTargetGroups"
    )


# --- shared reads -------------------------------------------------------------------------------------


class Elb:
    """An ELB API that counts, and waits or fails on demand."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.arn_of = dict.fromkeys(("web", "api"), ARN)

    def client(self, service: str, *, role_arn: str | None = None, region: str | None = None) -> Any:
        self.calls.append(("client", f"{service} {role_arn} {region}"))
        return self

    def describe_target_groups(self, *, Names: list[str]) -> Any:  # noqa: N803 - AWS's own names
        self.calls.append(("name", Names[0]))
        if Names[0] not in self.arn_of:
            raise ClientError({"Error": {"Code": "TargetGroupNotFound"}}, "DescribeTargetGroups")
        return {"TargetGroups": [{"TargetGroupArn": self.arn_of[Names[0]]}]}

    def describe_target_health(self, *, TargetGroupArn: str) -> Any:  # noqa: N803
        self.calls.append(("health", TargetGroupArn))
        assert self.gate.wait(10)
        if self.error:
            raise self.error
        return {
            "TargetHealthDescriptions": [
                {"Target": {"Id": "i-2", "Port": 80}, "TargetHealth": {"State": "healthy"}},
                {
                    "Target": {"Id": "i-1", "Port": 81},
                    "TargetHealth": {
                        "State": "unhealthy",
                        "Reason": "Target.ResponseCodeMismatch",
                        "Description": "Health checks failed with these codes: [502]",
                    },
                },
                {"Target": {"Id": "i-1", "Port": 80}, "TargetHealth": {"State": "healthy"}},
            ]
        }

    def count(self, what: str) -> int:
        return sum(1 for name, _ in self.calls if name == what)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def elb() -> Elb:
    return Elb()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(elb, clock):
    found = AlbTargetHealth(elb, clock=clock)
    yield found
    elb.gate.set()
    found.close()


async def test_states_and_reasons_in_the_words_of_alb(reader):
    targets = await reader.read(plan("web"))
    assert [(t.group, t.target, t.state, t.reason, t.description) for t in targets] == [
        ("web", "i-1:80", "healthy", None, None),
        (
            "web",
            "i-1:81",
            "unhealthy",
            "Target.ResponseCodeMismatch",
            "Health checks failed with these codes: [502]",
        ),
        ("web", "i-2", "healthy", None, None),
    ]


async def test_a_hundred_guards_cost_one_reading(elb, reader):
    elb.gate.clear()
    waiting = [asyncio.create_task(reader.read(plan("web"))) for _ in range(100)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    elb.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError), "the others are not cancelled with it"
    assert all(answer == answers[1] for answer in answers[2:])
    assert (elb.count("health"), elb.count("name")) == (1, 1)


async def test_the_next_interval_reads_anew_and_remembers_the_name(elb, clock, reader):
    await reader.read(plan("web"))
    clock.now_s += 5
    await reader.read(plan("web"))
    assert elb.count("health") == 1
    clock.now_s += 5
    await reader.read(plan("web"))
    assert (elb.count("health"), elb.count("name")) == (2, 1)
    clock.now_s += 600
    await reader.read(plan("web"))
    assert elb.count("name") == 2, "a group may be recreated under its name"


async def test_a_recreated_group_is_found_again(elb, clock, reader):
    await reader.read(plan("web"))
    clock.now_s += 10
    elb.error = ClientError({"Error": {"Code": "TargetGroupNotFoundException"}}, "DescribeTargetHealth")
    with pytest.raises(CannotReadHealth):
        await reader.read(plan("web"))
    clock.now_s += 10
    elb.error = None
    assert len(await reader.read(plan("web"))) == 3
    assert elb.count("name") == 2


async def test_roles_and_regions_do_not_share(elb, reader):
    role = "arn:aws:iam::123456789012:role/rollback"
    await reader.read(plan("web"))
    await reader.read(plan("web", aws_role_arn=role))
    await reader.read(plan("web", aws_region="us-east-1"))
    await reader.read(plan(ARN, aws_role_arn=role, aws_region="us-east-1"))
    assert elb.count("health") == 4
    assert list(dict.fromkeys(what for name, what in elb.calls if name == "client")) == [
        "elbv2 None None",
        f"elbv2 {role} None",
        "elbv2 None us-east-1",
        f"elbv2 {role} eu-west-1",  # an ARN names its own region
    ]


async def test_several_groups_are_read_side_by_side_and_only_once_each(elb, reader):
    targets = await reader.read(plan("web", "api", "web"))
    assert [t.group for t in targets] == ["web"] * 3 + ["api"] * 3
    assert elb.count("health") == 2


async def test_half_a_picture_is_none(elb, reader):
    with pytest.raises(CannotReadHealth):
        await reader.read(plan("web", "missing"))


async def test_an_error_is_shared_too_and_told_in_a_sentence(elb, clock, reader):
    elb.error = EndpointConnectionError(endpoint_url="https://elb.example.com")
    for _ in range(3):
        with pytest.raises(CannotReadHealth) as failed:
            await reader.read(plan("web"))
    assert failed.value.reason.startswith(
        "AWS could not be reached for elasticloadbalancing:DescribeTargetHealth"
    )
    assert elb.count("health") == 1, "an AWS that is down is not asked more often"
    clock.now_s += 10
    elb.error = None
    assert await reader.read(plan("web"))


def test_event_loops_share_a_reading(elb, reader):
    answers: list[object] = []
    elb.gate.clear()
    threads = [
        threading.Thread(target=lambda: answers.append(asyncio.run(reader.read(plan("web")))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    until(lambda: elb.count("health") > 0, "one of them asks")
    elb.gate.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(answers) == 4
    assert elb.count("health") == 1


async def test_no_groups_no_calls(elb, reader):
    assert await reader.read(replace(plan(), target_groups=())) == ()
    assert elb.calls == []
