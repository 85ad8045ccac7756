"""Evidence from the three runtimes: containers on a host over SSM, ECS services, CloudWatch log groups."""

# ruff: noqa: E501 - what a program printed stays whole
from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from bot.aws import AwsClients
from bot.container_logs import own_document
from bot.evidence import Capture
from policies.facts import Deploy, Evidence, HealthSample, Layer, LayerStatus, ProbeSample, TargetSample
from policies.limits import LogLimits, Mode, Plan, Runtime
from rehearsal.aws import Aws
from rehearsal.health_checks import HealthCheck, TargetGroup
from rehearsal.machine import Machine
from tests.patience import PATIENCE_S, until

DEPLOY = Deploy(
    "d-1", "acme/stagelog", "develop", "4" * 40, "develop", "https://x.example", "test", None, 1000.0
)
HOST, REGION = "i-0abc12345678", "eu-central-1"
CRASH = "import sys; print('Starting API', flush=True); sys.stderr.write('token=hunter2hunter2x\\n'); raise KeyError('S3_UPLOAD_BUCKET')"


def plan(runtime: Runtime, lines: int = 200) -> Plan:
    return Plan(Mode.AUTO, "develop", runtime=runtime, logs=LogLimits(lines=lines))


def poll(*targets: str, state: str = "unhealthy") -> HealthSample:
    samples = tuple(TargetSample("stagelog-dev", name, state, None, None) for name in targets)
    return HealthSample(30.0, probe=ProbeSample(0, 1, 502), targets=samples)


@lru_cache
def clients(url: str) -> AwsClients:
    """One set of clients an endpoint: making them is slow, and they keep the endpoint they were made with."""
    return AwsClients(REGION)


def layers(evidence: Evidence) -> dict[str, Layer]:
    return {layer.name: layer for layer in evidence.layers}


def keys(patch: pytest.MonkeyPatch, url: str) -> None:
    patch.setenv("AWS_ENDPOINT_URL", url)
    patch.setenv("AWS_ACCESS_KEY_ID", "testing")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


# --- containers over SSM: real processes, a real shell -----------------------------------------------


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    image = folder / "image"
    image.mkdir()
    (image / "Dockerfile").write_text(
        f"FROM scratch\nWORKDIR /app\nCOPY . /app\nCMD {json.dumps([sys.executable, '-c', CRASH])}\n"
    )
    group = TargetGroup("stagelog-dev", HealthCheck())
    with Machine(folder / "host") as host, pytest.MonkeyPatch.context() as patch:
        host.docker("build", "-t", "stagelog-api:9f2c1a", str(image))
        host.docker("run", "-d", "--name", "stagelog-api", "stagelog-api:9f2c1a")
        host.docker(
            "run",
            "-d",
            "--name",
            "cache",
            "-l",
            "com.docker.compose.service=redis",
            "stagelog-api:9f2c1a",
            "sleep",
            "600",
        )
        with Aws(REGION, "http://127.0.0.1:9", [(group, 8000)], {HOST: "10.0.3.17"}, host.environment) as aws:
            keys(patch, aws.url)
            yield host


def _exited(host: Machine, name: str) -> None:
    until(lambda: not (host.container(name) or {}).get("State", {}).get("Running", True), f"{name} exits")


async def test_a_container_that_died_at_boot(machine: Machine) -> None:
    _exited(machine, "stagelog-api")

    evidence = await Capture(clients(os.environ["AWS_ENDPOINT_URL"])).capture(
        DEPLOY, plan(Runtime(container="stagelog-api")), poll(HOST)
    )

    assert [layer.status for layer in evidence.layers] == ["failing", "ok", "failing"]
    assert evidence.container == "stagelog-api" and evidence.exit_code == 1 and evidence.restarts == 0
    assert evidence.container_status is not None and evidence.container_status.startswith("Exited (1)")
    assert evidence.image is not None and evidence.image.startswith("stagelog-api:9f2c1a (sha256:")
    assert "Starting API" in evidence.log and "hunter2" not in evidence.log and evidence.redacted == 1
    assert evidence.diagnosis is not None and evidence.diagnosis.line == "KeyError: 'S3_UPLOAD_BUCKET'"


async def test_a_container_found_by_its_compose_service(machine: Machine) -> None:
    evidence = await Capture(clients(os.environ["AWS_ENDPOINT_URL"])).capture(
        DEPLOY, plan(Runtime(container="redis")), poll(HOST)
    )

    container = layers(evidence)["container"]
    assert evidence.container == "cache" and evidence.exit_code is None
    assert container.status is LayerStatus.OK and "cache: Up" in container.summary


async def test_an_own_document_that_can_do_nothing_else(machine: Machine) -> None:
    content = json.dumps(own_document())
    ssm = clients(os.environ["AWS_ENDPOINT_URL"]).client("ssm")
    ssm.create_document(
        Name="rollback-bot-evidence", Content=content, DocumentType="Command", DocumentFormat="JSON"
    )
    runtime = Runtime(container="stagelog-api", ssm_document="rollback-bot-evidence")

    evidence = await Capture(clients(os.environ["AWS_ENDPOINT_URL"])).capture(
        DEPLOY, plan(runtime), poll(HOST)
    )

    assert evidence.exit_code == 1 and evidence.diagnosis is not None


def test_the_own_document_takes_only_names_and_numbers() -> None:
    document = own_document()

    assert document["schemaVersion"] == "2.2"
    assert set(document["parameters"]) == {"Mark", "Container", "Lines"}
    assert all(
        one["allowedPattern"].startswith("^") and one["allowedPattern"].endswith("$")
        for one in document["parameters"].values()
    )
    script = "\n".join(document["mainSteps"][0]["inputs"]["runCommand"])
    assert script.count("{{") == 3  # its parameters and nothing that SSM could mistake for one


def test_the_document_in_the_docs_is_this_one() -> None:
    path = Path(__file__).resolve().parent.parent / "docs" / "aws" / "rollback-bot-evidence.json"

    assert json.loads(path.read_text()) == own_document()


# --- ECS and CloudWatch against moto -----------------------------------------------------------------


@pytest.fixture(scope="module")
def moto_server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    httpx.post(f"{moto_server}/moto-api/reset", timeout=PATIENCE_S).raise_for_status()
    keys(monkeypatch, moto_server)
    return moto_server


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)


def _service(stopped: list[str], log: list[str] | None = None) -> list[str]:
    """A service with a task for each stop reason, the first of which logged `log`; their ids."""
    ecs, ec2 = client("ecs"), client("ec2")
    ecs.create_cluster(clusterName="prod")
    options = {"awslogs-group": "/ecs/api", "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"}
    ecs.register_task_definition(
        family="api",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        containerDefinitions=[
            {
                "name": "api",
                "image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/api:9f2c1a",
                "memory": 128,
                "logConfiguration": {"logDriver": "awslogs", "options": options},
            }
        ],
    )
    ecs.create_service(
        cluster="prod", serviceName="api", taskDefinition="api", desiredCount=0, launchType="FARGATE"
    )
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    security = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    ids = []
    for reason in stopped:
        task = ecs.run_task(
            cluster="prod",
            taskDefinition="api",
            launchType="FARGATE",
            group="service:api",
            startedBy="ecs-svc/1",
            networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [security]}},
        )["tasks"][0]
        ids.append(task["taskArn"].rsplit("/", 1)[-1])
        if reason:
            ecs.stop_task(cluster="prod", task=task["taskArn"], reason=reason)
    if log is not None:
        _log("/ecs/api", f"ecs/api/{ids[0]}", log)
    return ids


def _log(group: str, stream: str, lines: list[str]) -> None:
    logs = client("logs")
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    now_ms = int(time.time() * 1000)
    events = [{"timestamp": now_ms - len(lines) + at, "message": line} for at, line in enumerate(lines)]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


async def ecs(service: str = "prod/api", lines: int = 200) -> Evidence:
    return await Capture(clients(os.environ["AWS_ENDPOINT_URL"])).capture(
        DEPLOY, plan(Runtime(ecs_service=service), lines), poll("10.0.3.17")
    )


async def test_an_ecs_task_that_died_is_told_with_its_log(moto: str) -> None:
    _service(
        ["Essential container in task exited"],
        ["Starting", "password=hunter2hunter2", "ModuleNotFoundError: No module named 'boto4'"],
    )

    evidence = await ecs()

    container = layers(evidence)["container"]
    assert (
        container.status is LayerStatus.FAILING and "Essential container in task exited" in container.summary
    )
    assert evidence.container == "api"
    assert (
        evidence.log.endswith("ModuleNotFoundError: No module named 'boto4'")
        and "hunter2" not in evidence.log
    )
    assert evidence.diagnosis is not None and evidence.diagnosis.kind == "missing_module"


@pytest.mark.parametrize(
    ("reason", "kind", "helps"),
    [
        ("OutOfMemoryError: Container killed due to memory usage", "out_of_memory", "maybe"),
        (
            "CannotPullContainerError: ref pull has been retried 1 time(s): api:9f2c1a: not found",
            "image_pull",
            "yes",
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: AccessDeniedException",
            "image_pull",
            "no",
        ),
        ("CannotStartContainerError: exec /start.sh: exec format error", "architecture", "yes"),
    ],
)
async def test_what_ecs_says_for_certain_is_the_cause(moto: str, reason: str, kind: str, helps: str) -> None:
    _service([reason], ["Starting"])

    evidence = await ecs()

    assert evidence.diagnosis is not None
    assert (evidence.diagnosis.kind, evidence.diagnosis.revert_helps.value) == (kind, helps)


async def test_a_task_that_was_only_replaced_did_not_fail(moto: str) -> None:
    _service(["Scaling activity initiated by (deployment ecs-svc/1)"])

    evidence = await ecs()

    assert "stopped" not in layers(evidence)["container"].summary and evidence.diagnosis is None


async def test_a_missing_log_stream_is_a_line_of_the_evidence(moto: str) -> None:
    _service(["Essential container in task exited"])

    evidence = await ecs()

    assert any("log" in line for line in layers(evidence)["container"].details) and evidence.log == ""


@pytest.mark.parametrize(
    ("service", "sentence"),
    [
        ("nope/api", "There is no ECS cluster nope"),
        ("prod/nope", "There is no ECS service nope in prod"),
        ("api", "is not `cluster/service`"),
        ("prod/a;b", "is not `cluster/service`"),
    ],
)
async def test_a_service_that_is_not_there(moto: str, service: str, sentence: str) -> None:
    _service([])

    evidence = await ecs(service)

    assert sentence in layers(evidence)["host"].summary and evidence.log == ""


async def test_a_log_group_alone_gives_its_last_lines(moto: str) -> None:
    _log(
        "/app/api",
        "i-0abc12345678/api",
        [f"line {number}" for number in range(50)] + ["KeyError: 'AWS_REGION'"],
    )
    runtime = Runtime(log_group="/app/api")

    evidence = await Capture(clients(os.environ["AWS_ENDPOINT_URL"])).capture(
        DEPLOY, plan(runtime, lines=10), poll(HOST)
    )

    assert evidence.log.split("\n") == [
        *(f"line {number}" for number in range(41, 50)),
        "KeyError: 'AWS_REGION'",
    ]
    assert evidence.diagnosis is not None and evidence.diagnosis.kind == "missing_env"
    assert layers(evidence)["host"].status is LayerStatus.UNKNOWN
    assert layers(evidence)["container"].status is LayerStatus.FAILING


@pytest.mark.parametrize(
    ("group", "sentence"),
    [("/none", "There is no log group /none"), ("a b", "is not the name of a log group")],
)
async def test_a_log_group_that_is_not_there(moto: str, group: str, sentence: str) -> None:
    evidence = await Capture(clients(os.environ["AWS_ENDPOINT_URL"])).capture(
        DEPLOY, plan(Runtime(log_group=group)), poll(HOST)
    )

    assert sentence in layers(evidence)["host"].summary
