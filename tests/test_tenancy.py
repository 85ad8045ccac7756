"""`tenancy: tagged`: a repository reads health and logs of what carries its name and of nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from bot.aws import AwsClients
from bot.config import plan_of, resolve
from bot.config_file import read_config
from bot.config_model import ServerFile
from bot.evidence import Capture
from bot.failures import CannotReadHealth
from bot.target_health import AlbTargetHealth
from bot.tenancy import belongs_to, tenant_of
from bot.traffic import CloudWatchTraffic
from policies.badness import is_blind
from policies.facts import Deploy, Evidence, HealthSample, LayerStatus, TargetSample
from policies.limits import Mode, Plan, Runtime
from tests.patience import PATIENCE_S

REGION = "eu-central-1"
OURS, THEIRS = "acme/stagelog", "acme/payroll"
DEPLOY = Deploy("d-1", OURS, "develop", "4" * 40, "develop", None, "test", None, 1000.0)
REFUSED = (
    "The target group {} is not read, because it does not carry the tag `rollback-bot` = `acme/stagelog` "
    "(`tenancy: tagged`): have it tagged by whoever runs the AWS account."
)


def plan(*groups: str, runtime: Runtime | None = None, **facts: Any) -> Plan:
    given = {"tenancy": "tagged", "repository": OURS, **facts}
    return Plan(Mode.AUTO, "develop", target_groups=groups, runtime=runtime or Runtime(), **given)


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)


@pytest.fixture(scope="module")
def account() -> Iterator[dict[str, str]]:
    """Target groups, services and log groups of two teams and of none; ARNs of the groups by name."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        httpx.post(f"http://{host}:{port}/moto-api/reset", timeout=PATIENCE_S).raise_for_status()
        yield _settle()
    server.stop()


def _settle() -> dict[str, str]:
    elb, ecs = client("elbv2"), client("ecs")
    vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    arns = {}
    for name, owner in (("ours", "Acme/StageLog"), ("ours-too", OURS), ("theirs", THEIRS), ("nobodys", "")):
        arn = elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip")
        arns[name] = arn["TargetGroups"][0]["TargetGroupArn"]
        elb.register_targets(TargetGroupArn=arns[name], Targets=[{"Id": "10.0.0.9", "Port": 80}])
        if owner:
            elb.add_tags(ResourceArns=[arns[name]], Tags=[{"Key": "rollback-bot", "Value": owner}])
    ecs.create_cluster(clusterName="shared")
    ecs.register_task_definition(
        family="api", containerDefinitions=[{"name": "api", "image": "api:1", "memory": 128}]
    )
    for name, tags, group in (
        ("tagged", {"rollback-bot": OURS}, None),
        ("behind-ours", {}, "ours"),
        ("theirs", {"rollback-bot": THEIRS}, "theirs"),
        ("nobodys", {}, None),
    ):
        ecs.create_service(
            cluster="shared",
            serviceName=name,
            taskDefinition="api",
            desiredCount=0,
            tags=[{"key": key, "value": value} for key, value in tags.items()],
            loadBalancers=[{"targetGroupArn": arns[group], "containerName": "api", "containerPort": 80}]
            if group
            else [],
        )
    for name, tags in (
        ("/ours", {"rollback-bot": OURS}),
        ("/theirs", {"rollback-bot": THEIRS}),
        ("/nobodys", {}),
    ):
        logs = client("logs")
        logs.create_log_group(logGroupName=name, tags=tags or {"app": "x"})
        logs.create_log_stream(logGroupName=name, logStreamName="api")
        event = {"timestamp": int(time.time() * 1000), "message": "KeyError: 'AWS_REGION'"}
        logs.put_log_events(logGroupName=name, logStreamName="api", logEvents=[event])
    return arns


@pytest.fixture
def aws(account: dict[str, str]) -> AwsClients:
    return AwsClients(REGION)


async def refusal(reading: Any) -> str:
    with pytest.raises(CannotReadHealth) as failed:
        await reading
    return failed.value.reason


# --- whose it is -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tenancy", "repository", "tag", "may"),
    [
        ("single", OURS, None, True),
        ("single", "", THEIRS, True),
        ("tagged", OURS, OURS, True),
        ("tagged", OURS, "ACME/Stagelog ", True),  # GitHub's names have no case
        ("tagged", OURS, THEIRS, False),
        ("tagged", OURS, "acme/stagelog-2", False),
        ("tagged", OURS, "acme/*", False),
        ("tagged", OURS, "", False),
        ("tagged", OURS, None, False),
        ("tagged", "", "", False),  # a plan from before the upgrade
        ("tagged", "", None, False),
        ("shared", OURS, THEIRS, False),  # a word of another release
    ],
)
def test_who_may_read_what(tenancy: str, repository: str, tag: str | None, may: bool) -> None:
    tags = {} if tag is None else {"rollback-bot": tag, "app": "x"}

    assert belongs_to(tenant_of(plan(tenancy=tenancy, repository=repository)), tags) is may


def test_only_the_servers_file_decides_and_its_default_trusts() -> None:
    made = {}
    for text in ("version: 1", "tenancy: tagged"):
        server = read_config(text.encode(), ServerFile, "server.yml")
        given = {"default_branch": "develop", "private": True, "server": server, "file_found": True}
        made[text] = plan_of(resolve(server, None, "develop"), DEPLOY, **given)  # type: ignore[arg-type]

    assert tenant_of(made["version: 1"]) is None
    assert tenant_of(made["tenancy: tagged"]) == OURS


# --- health ------------------------------------------------------------------------------------------


async def test_own_groups_are_read_by_name_and_arn(aws: AwsClients, account: dict[str, str]) -> None:
    targets = await AlbTargetHealth(aws).read(plan("ours", account["ours-too"]))

    assert [target.group for target in targets] == ["ours", "ours-too"]


@pytest.mark.parametrize("group", ["theirs", "nobodys"])
async def test_other_groups_are_not_read_whatever_they_are_called_by(
    aws: AwsClients, account: dict[str, str], group: str
) -> None:
    for named in (group, account[group]):
        for reading in (
            AlbTargetHealth(aws).read(plan(named)),
            AlbTargetHealth(aws).read(plan("ours", named)),
            CloudWatchTraffic(aws).latest(plan("ours", named)),
            CloudWatchTraffic(aws).history(plan(named), 0.0, 600.0),
        ):
            assert await refusal(reading) == REFUSED.format(group)


async def test_one_account_for_one_team_needs_no_tags(aws: AwsClients, account: dict[str, str]) -> None:
    targets = await AlbTargetHealth(aws).read(plan("theirs", "nobodys", tenancy="single"))

    assert len(targets) == 2


async def test_what_one_team_has_read_is_not_told_to_another(
    aws: AwsClients, account: dict[str, str]
) -> None:
    health, traffic = AlbTargetHealth(aws), CloudWatchTraffic(aws)

    for trusted in (plan("theirs", repository=THEIRS), plan("theirs", tenancy="single")):
        await health.read(trusted)
        await traffic.latest(trusted)

    assert await refusal(health.read(plan("theirs"))) == REFUSED.format("theirs")
    assert await refusal(traffic.latest(plan("theirs"))) == REFUSED.format("theirs")


async def test_a_tag_that_comes_or_goes_counts_within_a_minute(
    aws: AwsClients, account: dict[str, str]
) -> None:
    now_s = [1000.0]
    health, elb = AlbTargetHealth(aws, clock=lambda: now_s[0]), client("elbv2")

    await refusal(health.read(plan("nobodys")))
    elb.add_tags(ResourceArns=[account["nobodys"]], Tags=[{"Key": "rollback-bot", "Value": OURS}])
    now_s[0] += 61
    assert await health.read(plan("nobodys"))
    elb.remove_tags(ResourceArns=[account["nobodys"]], TagKeys=["rollback-bot"])
    now_s[0] += 61
    assert await refusal(health.read(plan("nobodys"))) == REFUSED.format("nobodys")


async def test_a_group_that_is_not_there_is_told_as_before(aws: AwsClients, account: dict[str, str]) -> None:
    assert (await refusal(AlbTargetHealth(aws).read(plan("gone")))).startswith(
        "There is no target group gone"
    )


# --- logs --------------------------------------------------------------------------------------------


async def captured(aws: AwsClients, the_plan: Plan, latest: HealthSample | None = None) -> Evidence:
    capture = Capture(aws, None, AlbTargetHealth(aws), CloudWatchTraffic(aws), deadline_s=60.0)
    return await capture.capture(DEPLOY, the_plan, latest)


async def test_nothing_of_a_group_that_is_not_ours_reaches_the_evidence(
    aws: AwsClients, account: dict[str, str]
) -> None:
    evidence = await captured(aws, plan("theirs", runtime=Runtime(container="payroll")))

    balancer, host, _ = evidence.layers
    assert (
        balancer.summary == REFUSED.format("theirs") and balancer.details == ()
    )  # once, not for each reading
    assert balancer.status is LayerStatus.UNKNOWN and host.status is LayerStatus.UNKNOWN
    assert host.summary == "No target is known, so there is no host to look at."
    assert evidence.log == "" and evidence.diagnosis is None
    assert is_blind(HealthSample(0.0, error=REFUSED))


@pytest.mark.parametrize("service", ["theirs", "nobodys"])
async def test_a_service_that_is_not_ours_is_not_read(
    aws: AwsClients, account: dict[str, str], service: str
) -> None:
    evidence = await captured(aws, plan(runtime=Runtime(ecs_service=f"shared/{service}")))

    host = evidence.layers[1]
    assert host.summary.startswith(f"The ECS service shared/{service} is not read, because it does not carry")
    assert host.status is LayerStatus.UNKNOWN and host.details == ()


@pytest.mark.parametrize("service", ["tagged", "behind-ours"])
async def test_a_service_is_ours_by_its_tag_or_by_the_group_it_serves(
    aws: AwsClients, account: dict[str, str], service: str
) -> None:
    evidence = await captured(aws, plan(runtime=Runtime(ecs_service=f"shared/{service}")))

    assert "0 of 0 tasks run." in evidence.layers[1].summary


@pytest.mark.parametrize("group", ["/theirs", "/nobodys"])
async def test_a_log_group_that_is_not_ours_is_not_read(
    aws: AwsClients, account: dict[str, str], group: str
) -> None:
    evidence = await captured(aws, plan(runtime=Runtime(log_group=group)))

    assert evidence.layers[1].summary.startswith(f"The log group {group} is not read, because it does not")
    assert evidence.log == "" and evidence.container is None


async def test_an_own_log_group_is_read(aws: AwsClients, account: dict[str, str]) -> None:
    evidence = await captured(aws, plan(runtime=Runtime(log_group="/ours")))
    trusting = await captured(aws, plan(runtime=Runtime(log_group="/theirs"), tenancy="single"))

    assert evidence.diagnosis is not None and evidence.diagnosis.kind == "missing_env"
    assert trusting.log == evidence.log


async def test_instances_come_from_own_groups_alone(aws: AwsClients, account: dict[str, str]) -> None:
    """Whatever a repository writes into `runtime.container`, the hosts are those that its own groups name."""
    latest = HealthSample(1.0, targets=(TargetSample("ours", "10.0.0.9", "unhealthy", "Target.Timeout"),))

    evidence = await captured(aws, plan("ours", runtime=Runtime(container="payroll")), latest)
    none = await captured(
        aws, plan("theirs", runtime=Runtime(container="payroll")), replace(latest, targets=None)
    )

    assert "The targets are addresses" in evidence.layers[1].summary
    assert "No target is known" in none.layers[1].summary
