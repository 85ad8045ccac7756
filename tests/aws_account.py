"""An AWS account on loopback that enforces IAM policies, with one service broken in each of the three runtimes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from bot.container_logs import own_document
from rehearsal.aws import ADMINISTRATOR, Aws
from rehearsal.aws_gate import ACCOUNT
from rehearsal.health_checks import Target, TargetGroup
from rehearsal.load_balancer import HealthCheck, LoadBalancer
from rehearsal.machine import Machine
from rehearsal.serving import free_port, wait_until
from tests.patience import PATIENCE_S

REGION, HOST, OFFLINE = "eu-central-1", "i-0abc12345678", "i-0dead2345678"
REPOSITORY, GROUP, SERVICE, LOG_GROUP = "acme/stagelog", "stagelog-dev", "stagelog/api", "/stagelog/plain"
TAG = {"rollback-bot": REPOSITORY}
CRASH = "import os; print('Starting API', flush=True); os.environ['S3_UPLOAD_BUCKET']"
CRASHED = ["Starting API", "KeyError: 'S3_UPLOAD_BUCKET'"]
SECRET = "testing"


@contextmanager
def account(folder: Path, principals: dict[str, Any], roles: dict[str, Any] | None = None) -> Iterator[Aws]:
    """Everything broken and everything tagged; `principals` as `aws_gate.Gate` takes them, `admin` may do all."""
    image = folder / "image"
    image.mkdir()
    (image / "Dockerfile").write_text(
        f"FROM scratch\nWORKDIR /app\nCOPY . /app\nCMD {json.dumps([sys.executable, '-c', CRASH])}\n"
    )
    target_group = TargetGroup(GROUP, HealthCheck(interval_s=0.3))
    target = target_group.register(Target(HOST, free_port()))
    spec = {
        "principals": {"admin": {"policies": [ADMINISTRATOR]}} | principals,
        "roles": roles or {},
        "instance_tags": {HOST: {"app": "stagelog"}, OFFLINE: {"app": "stagelog"}},
    }
    with Machine(folder / "host") as host, LoadBalancer("stagelog", [target_group]) as balancer:
        host.docker("build", "-t", "stagelog-api:9f2c1a", str(image))
        host.docker("run", "-d", "--name", "stagelog-api", "stagelog-api:9f2c1a")
        with Aws(
            REGION,
            balancer.control_url,
            [(target_group, target.port)],
            {HOST: "10.0.3.17", OFFLINE: "10.0.3.18"},
            host.environment,
            tags={GROUP: TAG},
            iam=spec,
            offline=frozenset({OFFLINE}),
        ) as aws:
            _break_services(aws.url)
            _count_requests(aws)
            assert wait_until(lambda: target.state == "unhealthy", PATIENCE_S)
            assert wait_until(
                lambda: (
                    not (host.container("stagelog-api") or {"State": {"Running": True}})["State"]["Running"]
                ),
                PATIENCE_S,
            )
            yield aws


def client(url: str, service: str, key: str = "admin") -> Any:
    """boto3 as the owner of an access key."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=SECRET,
    )


def _break_services(url: str) -> None:
    """An ECS service whose task died, and a log group that ends with an error; an SSM document of our own."""
    ecs, ec2, ssm = client(url, "ecs"), client(url, "ec2"), client(url, "ssm")
    ecs.create_cluster(clusterName="stagelog")
    options = {"awslogs-group": "/stagelog/ecs", "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"}
    ecs.register_task_definition(
        family="api",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        containerDefinitions=[
            {
                "name": "api",
                "image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/api:9f2c1a",
                "memory": 128,
                "logConfiguration": {"logDriver": "awslogs", "options": options},
            }
        ],
    )
    ecs.create_service(
        cluster="stagelog",
        serviceName="api",
        taskDefinition="api",
        desiredCount=0,
        launchType="FARGATE",
        tags=[{"key": key, "value": value} for key, value in TAG.items()],
    )
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    task = ecs.run_task(
        cluster="stagelog",
        taskDefinition="api",
        launchType="FARGATE",
        group="service:api",
        startedBy="ecs-svc/1",
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group]}},
    )["tasks"][0]["taskArn"]
    ecs.stop_task(cluster="stagelog", task=task, reason="Essential container in task exited")
    put_log(url, "/stagelog/ecs", f"ecs/api/{task.rpartition('/')[2]}", CRASHED)
    put_log(url, LOG_GROUP, "api", CRASHED, tags=TAG)
    ssm.create_document(
        Name="rollback-bot-evidence",
        Content=json.dumps(own_document()),
        DocumentType="Command",
        DocumentFormat="JSON",
    )


def put_log(url: str, group: str, stream: str, lines: list[str], tags: dict[str, str] | None = None) -> None:
    logs = client(url, "logs")
    logs.create_log_group(logGroupName=group, **({"tags": tags} if tags else {}))
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    now_ms = int(time.time() * 1000)
    events = [{"timestamp": now_ms - len(lines) + at, "message": line} for at, line in enumerate(lines)]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def _count_requests(aws: Aws) -> None:
    """Forty requests a minute for the last ten minutes, and then errors only."""
    dimensions = [
        {"Name": "LoadBalancer", "Value": aws.arns["load_balancer"].partition("loadbalancer/")[2]},
        {"Name": "TargetGroup", "Value": aws.arns["target_groups"][GROUP].rpartition(":")[2]},
    ]
    now_s = int(time.time()) // 60 * 60
    data = [
        {"MetricName": name, "Timestamp": now_s - 60 * minute, "Value": value, "Dimensions": dimensions}
        for minute in range(1, 11)
        for name, value in (("RequestCount", 40.0), ("HTTPCode_Target_5XX_Count", 40.0 * (minute < 4)))
    ]
    client(aws.url, "cloudwatch").put_metric_data(Namespace="AWS/ApplicationELB", MetricData=data)
