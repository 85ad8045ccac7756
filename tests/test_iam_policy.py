"""The IAM policies in docs/ are enough for all three runtimes, and nothing in them is too much: AWS enforces them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bot.aws import AwsClients
from bot.evidence import Capture
from bot.failures import CannotReadHealth
from bot.target_health import AlbTargetHealth
from bot.traffic import CloudWatchTraffic
from policies.facts import Deploy, Evidence, HealthSample, LayerStatus, ProbeSample, TargetSample
from policies.limits import Mode, Plan, Runtime
from rehearsal.aws import Aws
from rehearsal.aws_gate import ACCOUNT
from tests.aws_account import (
    GROUP,
    HOST,
    LOG_GROUP,
    OFFLINE,
    REGION,
    REPOSITORY,
    SECRET,
    SERVICE,
    account,
    client,
)

DOCS = Path(__file__).resolve().parent.parent / "docs"
POLICY = json.loads((DOCS / "iam-policy.json").read_text())
NARROWED = json.loads((DOCS / "aws" / "iam-policy-narrowed.json").read_text())
ASSUME = json.loads((DOCS / "aws" / "assume-role-policy.json").read_text())
TRUST = json.loads((DOCS / "aws" / "trust-policy.json").read_text())
ROLE = f"arn:aws:iam::{ACCOUNT}:role/rollback-bot"
EXTERNAL_ID = TRUST["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"]
DEPLOY = Deploy("d-1", REPOSITORY, "develop", "4" * 40, "develop", None, "test", None, 1000.0)


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


ENTRIES = [
    (statement["Sid"], action) for statement in POLICY["Statement"] for action in listed(statement["Action"])
]


def without(sid: str, action: str) -> dict[str, Any]:
    """The policy with one action taken out of one statement."""
    statements = []
    for statement in POLICY["Statement"]:
        left = [one for one in listed(statement["Action"]) if (statement["Sid"], one) != (sid, action)]
        if left:
            statements.append({**statement, "Action": left})
    return {**POLICY, "Statement": statements}


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the policies that the bot has at the moment: its clients are made once, which is slow."""
    return tmp_path_factory.mktemp("policies") / "bot.json"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory, policies: Path) -> Iterator[Aws]:
    principals = {"bot": {"file": str(policies)}, "home": {"policies": [ASSUME]}}
    roles = {ROLE: {"policies": [POLICY], "trust": TRUST}}
    with account(tmp_path_factory.mktemp("account"), principals, roles) as running:
        yield running


@pytest.fixture(scope="module")
def become(aws: Aws) -> Iterator[Callable[..., AwsClients]]:
    """A function that gives the AWS clients of the owner of an access key."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL", aws.url)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

        def clients(key: str, **named: Any) -> AwsClients:
            patch.setenv("AWS_ACCESS_KEY_ID", key)
            return AwsClients(REGION, connect_timeout_s=60.0, read_timeout_s=60.0, **named)

        yield clients


@pytest.fixture(scope="module")
def bot(become: Callable[..., AwsClients]) -> AwsClients:
    made = become("bot")
    made.client("ssm")
    return made


@pytest.fixture
def allow(bot: AwsClients, policies: Path) -> Callable[..., AwsClients]:
    """A function that gives the bot these policies and no others."""

    def allowed(*documents: dict[str, Any]) -> AwsClients:
        fresh = policies.with_suffix(".new")
        fresh.write_text(json.dumps(documents))
        fresh.replace(policies)
        return bot

    return allowed


def plan(runtime: Runtime, **facts: Any) -> Plan:
    given = {"target_groups": (GROUP,), "tenancy": "tagged", "repository": REPOSITORY, **facts}
    return Plan(Mode.AUTO, "develop", runtime=runtime, **given)


STORIES = {
    "docker": plan(Runtime(container="stagelog-api")),
    "ecs": plan(Runtime(ecs_service=SERVICE)),
    "logs": plan(Runtime(log_group=LOG_GROUP)),
}
OF_SERVICE = {
    "cloudwatch": ("docker",),
    "elasticloadbalancing": ("docker",),
    "ssm": ("docker", "offline"),
    "ecs": ("ecs",),
    "logs": ("ecs", "logs"),
}


async def captured(aws: AwsClients, story: str, **facts: Any) -> Evidence:
    """The evidence of a story, with nothing known before, so that every layer is read here."""
    capture = Capture(aws, None, AlbTargetHealth(aws), CloudWatchTraffic(aws), deadline_s=120.0)
    latest = None
    if story == "offline":
        targets = (TargetSample(GROUP, OFFLINE, "unhealthy", "Target.Timeout"),)
        latest = HealthSample(30.0, ProbeSample(0, 3, 502), targets)
    return await capture.capture(DEPLOY, replace(STORIES.get(story, STORIES["docker"]), **facts), latest)


def text(evidence: Evidence) -> str:
    return "\n".join(
        f"{layer.status} {layer.summary}\n" + "\n".join(layer.details) for layer in evidence.layers
    )


# --- enough ------------------------------------------------------------------------------------------


async def _whole_story(aws: AwsClients, **facts: Any) -> None:
    docker, ecs, logs, offline = await asyncio.gather(
        *(captured(aws, story, **facts) for story in ("docker", "ecs", "logs", "offline"))
    )
    for evidence in (docker, ecs, logs):
        balancer, _, container = evidence.layers
        assert "refused" not in text(evidence), text(evidence)
        assert balancer.summary.startswith("Its target is unhealthy (Target.FailedHealthChecks).")
        assert "requests a minute are answered 5xx" in balancer.summary
        assert container.status is LayerStatus.FAILING
        assert evidence.diagnosis is not None
        assert (evidence.diagnosis.kind, evidence.diagnosis.line) == (
            "missing_env",
            "KeyError: 'S3_UPLOAD_BUCKET'",
        )
    assert docker.exit_code == 1
    assert f"The SSM agent of {OFFLINE} is offline (ConnectionLost" in offline.layers[1].summary
    before = await CloudWatchTraffic(aws).history(STORIES["docker"], *_ten_minutes())
    assert before and before[0].traffic is not None and before[0].traffic.rate_5xx == 0.0


def _ten_minutes() -> tuple[float, float]:
    return time.time() - 600, time.time()


async def test_the_policy_is_enough_for_the_whole_story(allow: Any) -> None:
    await _whole_story(allow(POLICY))


@pytest.mark.long
async def test_the_policy_is_enough_where_everybody_is_trusted(allow: Any) -> None:
    await _whole_story(allow(POLICY), tenancy="single")


async def test_the_narrowed_policy_is_enough_within_what_it_names(allow: Any) -> None:
    runtime = Runtime(container="stagelog-api", ssm_document="rollback-bot-evidence")
    evidence = await captured(allow(NARROWED), "docker", runtime=runtime)
    assert evidence.exit_code == 1 and "refused" not in text(evidence)
    for story in ("ecs", "logs"):
        evidence = await captured(allow(NARROWED), story)
        assert evidence.diagnosis is not None and "refused" not in text(evidence), text(evidence)


@pytest.mark.parametrize(
    ("runtime", "action"),
    [
        (Runtime(container="stagelog-api"), "ssm:SendCommand"),
        (Runtime(ecs_service="payroll/api"), "ecs:DescribeServices"),
        (Runtime(log_group="/payroll"), "logs:DescribeLogStreams"),
    ],
)
async def test_the_narrowed_policy_stops_at_what_it_names(allow: Any, runtime: Runtime, action: str) -> None:
    evidence = await captured(allow(NARROWED), "docker", runtime=runtime)
    assert f"AWS refused {action}" in evidence.layers[1].summary and evidence.log == ""


async def test_the_narrowed_policy_stops_at_untagged_instances_and_other_regions(allow: Any) -> None:
    ssm, elb = allow(NARROWED).client("ssm"), allow(NARROWED).client("elbv2", region="us-east-1")
    with pytest.raises(ClientError) as untagged:
        ssm.send_command(InstanceIds=["i-0fff12345678"], DocumentName="rollback-bot-evidence", Parameters={})
    with pytest.raises(ClientError) as elsewhere:
        elb.describe_target_groups()
    assert untagged.value.response["Error"]["Code"] == "AccessDeniedException"
    assert elsewhere.value.response["Error"]["Code"] == "AccessDenied"


# --- and nothing too much ----------------------------------------------------------------------------


@pytest.mark.parametrize(("sid", "action"), ENTRIES, ids=lambda one: one.replace(":", "-"))
async def test_without_one_action_its_part_of_the_evidence_says_so(allow: Any, sid: str, action: str) -> None:
    clients = allow(without(sid, action))
    stories = OF_SERVICE[action.partition(":")[0]]

    told = [text(evidence) for evidence in [await captured(clients, story) for story in stories]]

    broken = [said for said in told if f"AWS refused {action} " in said]
    assert broken, told
    assert all(f"add {action} to the bot's IAM policy" in said for said in broken)


async def test_without_target_health_no_health_is_known_and_nothing_is_blamed(allow: Any) -> None:
    clients = allow(without("ReadHealth", "elasticloadbalancing:DescribeTargetHealth"))
    with pytest.raises(CannotReadHealth) as failed:
        await AlbTargetHealth(clients).read(STORIES["docker"])
    assert failed.value.reason.startswith(
        "AWS refused elasticloadbalancing:DescribeTargetHealth (AccessDenied)"
    )


async def test_a_key_that_nobody_has_is_told_from_one_without_rights(become: Any, allow: Any) -> None:
    nothing = text(await captured(allow(), "offline"))
    unknown = text(await captured(become("stranger"), "offline"))

    assert "AWS refused ssm:SendCommand (AccessDeniedException)" in nothing
    assert "AWS did not accept our credentials for ssm:SendCommand (UnrecognizedClientException)" in unknown


# --- another account's role --------------------------------------------------------------------------


async def test_a_role_is_taken_on_with_its_external_id_and_does_the_rest(become: Any) -> None:
    clients = become("home", external_ids={ROLE: EXTERNAL_ID})

    evidence = await captured(clients, "docker", aws_role_arn=ROLE)
    itself = await captured(clients, "docker")

    assert evidence.exit_code == 1 and "refused" not in text(evidence), text(evidence)
    assert "AWS refused elasticloadbalancing:DescribeT" in text(itself)  # alone it may only take on roles


@pytest.mark.parametrize("external_ids", [{}, {ROLE: "another"}])
async def test_a_role_is_not_given_for_the_wrong_external_id(
    become: Any, external_ids: dict[str, str]
) -> None:
    evidence = await captured(become("home", external_ids=external_ids), "offline", aws_role_arn=ROLE)

    assert "AWS refused sts:AssumeRole (AccessDenied)" in evidence.layers[1].summary


async def test_without_the_right_to_take_on_roles_it_says_so(become: Any, allow: Any) -> None:
    allow(POLICY)
    clients = become("bot", external_ids={ROLE: EXTERNAL_ID})

    evidence = await captured(clients, "offline", aws_role_arn=ROLE)

    assert "AWS refused sts:AssumeRole (AccessDenied)" in evidence.layers[1].summary


# --- what the gate itself is worth --------------------------------------------------------------------


def test_the_account_answers_as_each_service_does(aws: Aws, allow: Any) -> None:
    allow()
    codes = {}
    for service, method, given in (
        ("elbv2", "describe_target_groups", {}),
        ("cloudwatch", "get_metric_data", {"MetricDataQueries": [], "StartTime": 0, "EndTime": 60}),
        ("ssm", "get_command_invocation", {"CommandId": "c" * 36, "InstanceId": HOST}),
        ("ecs", "list_tasks", {"cluster": "x"}),
        ("logs", "describe_log_streams", {"logGroupName": "x"}),
        ("sts", "assume_role", {"RoleArn": ROLE, "RoleSessionName": "x-y"}),
    ):
        with pytest.raises(ClientError) as refused:
            getattr(client(aws.url, service, "bot"), method)(**given)
        codes[service] = refused.value.response["Error"]["Code"]
    assert codes == {
        "elbv2": "AccessDenied",
        "cloudwatch": "AccessDenied",
        "ssm": "AccessDeniedException",
        "ecs": "AccessDeniedException",
        "logs": "AccessDeniedException",
        "sts": "AccessDenied",
    }
