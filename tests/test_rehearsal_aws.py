"""AWS as boto3 meets it in the rehearsal: health from the prober, commands that run, metrics counted."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from rehearsal.aws import CREDENTIALS, Aws
from rehearsal.janitor import Janitor
from rehearsal.load_balancer import HealthCheck, LoadBalancer, Target, TargetGroup
from rehearsal.machine import Machine
from rehearsal.serving import free_port, wait_until
from tests.patience import PATIENCE_S

REGION = "eu-central-1"
INSTANCE = "i-0123456789abcdef0"


@dataclass
class Cloud:
    aws: Aws
    machine: Machine
    balancer: LoadBalancer
    group: TargetGroup

    def client(self, service: str) -> Any:
        config = Config(retries={"max_attempts": 0}, proxies={})
        return boto3.client(
            service, endpoint_url=self.aws.url, region_name=REGION, config=config, **CREDENTIALS
        )

    @property
    def arn(self) -> str:
        return str(self.aws.arns["target_groups"]["stagelog-dev"])


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = Path(tmp_path_factory.mktemp("cloud"))
    port = free_port()
    group = TargetGroup("stagelog-dev", HealthCheck(interval_s=0.1))
    group.register(Target(INSTANCE, port))
    janitor = Janitor()
    with Machine(folder / "machine") as machine, LoadBalancer("stagelog", [group]) as balancer:
        aws = Aws(
            REGION,
            balancer.control_url,
            [(group, port)],
            {INSTANCE: "10.0.1.5"},
            machine.environment,
            log=folder / "aws.log",
            janitor=janitor,
            tags={"stagelog-dev": {"rollback-bot": "acme/stagelog"}},
        )
        with aws:
            yield Cloud(aws, machine, balancer, group)
    janitor.dismiss()


class Site:
    """Something that listens on the target's port."""

    def __init__(self, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def run(
    cloud: Cloud, *commands: str, document: str = "AWS-RunShellScript", **parameters: list[str]
) -> dict[str, Any]:
    """Send a command and wait for its end as a careful client does."""
    ssm = cloud.client("ssm")
    given = {"commands": list(commands), **parameters} if commands else parameters
    sent = ssm.send_command(InstanceIds=[INSTANCE], DocumentName=document, Parameters=given)["Command"]
    seen: list[str] = []
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            told = ssm.get_command_invocation(CommandId=sent["CommandId"], InstanceId=INSTANCE)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InvocationDoesNotExist"
            seen.append("InvocationDoesNotExist")
        else:
            seen.append(told["Status"])
            if told["Status"] not in ("Pending", "InProgress"):
                return {**told, "seen": seen}
        time.sleep(0.02)
    raise AssertionError(f"the command did not end: {seen}")


def test_target_health_is_what_the_prober_sees(cloud: Cloud) -> None:
    elb = cloud.client("elbv2")

    def told() -> dict[str, Any]:
        (one,) = elb.describe_target_health(TargetGroupArn=cloud.arn)["TargetHealthDescriptions"]
        return dict(one["TargetHealth"])

    wanted = {
        "State": "unhealthy",
        "Reason": "Target.FailedHealthChecks",
        "Description": "Health checks failed",
    }
    assert wait_until(lambda: told() == wanted, PATIENCE_S)
    site = Site(next(iter(cloud.group.targets.values())).port)
    assert wait_until(lambda: told() == {"State": "healthy"}, PATIENCE_S)
    site.stop()
    assert wait_until(lambda: told() == wanted, PATIENCE_S)
    other = elb.describe_target_health(TargetGroupArn=cloud.arn, Targets=[{"Id": "i-0fffffffffffffff0"}])
    assert other["TargetHealthDescriptions"][0]["TargetHealth"]["Reason"] == "Target.NotRegistered"


def test_a_target_group_is_found_by_name_and_by_arn_with_its_tags(cloud: Cloud) -> None:
    elb = cloud.client("elbv2")
    (by_name,) = elb.describe_target_groups(Names=["stagelog-dev"])["TargetGroups"]
    (by_arn,) = elb.describe_target_groups(TargetGroupArns=[cloud.arn])["TargetGroups"]
    assert by_name == by_arn and by_name["HealthCheckPath"] == "/health/"
    (balancer,) = elb.describe_load_balancers(LoadBalancerArns=by_name["LoadBalancerArns"])["LoadBalancers"]
    assert balancer["State"]["Code"] == "active"
    (tags,) = elb.describe_tags(ResourceArns=[cloud.arn])["TagDescriptions"]
    assert tags["Tags"] == [{"Key": "rollback-bot", "Value": "acme/stagelog"}]
    with pytest.raises(ClientError, match="TargetGroupNotFound"):
        elb.describe_target_groups(Names=["nobody"])


def test_a_command_really_runs_and_takes_its_time(cloud: Cloud) -> None:
    told = run(cloud, "docker ps -a", "echo out; echo err >&2")
    stages = ["InvocationDoesNotExist", "Pending", "InProgress", "Success"]
    passed = [stages.index(seen) for seen in told["seen"]]
    assert passed == sorted(passed) and len(set(passed)) > 1, "an answer comes late, and by stages"
    assert told["ResponseCode"] == 0
    assert told["StandardOutputContent"].startswith("CONTAINER ID") and "out" in told["StandardOutputContent"]
    assert told["StandardErrorContent"] == "err\n"


def test_a_failing_command_tells_its_exit_code(cloud: Cloud) -> None:
    told = run(cloud, "docker logs nobody")
    assert (told["Status"], told["ResponseCode"]) == ("Failed", 1)
    assert "No such container: nobody" in told["StandardErrorContent"]
    assert told["StandardErrorContent"].endswith("failed to run commands: exit status 1")


def test_only_the_head_of_long_output_comes_back(cloud: Cloud) -> None:
    told = run(cloud, "seq 1 20000", "seq 1 20000 >&2")
    assert len(told["StandardOutputContent"]) == 24_000 and told["StandardOutputContent"].startswith("1\n2\n")
    assert len(told["StandardErrorContent"]) == 8_000
    tail = run(cloud, "seq 1 20000 2>&1 | tail -c 20000")
    assert tail["StandardOutputContent"].endswith("\n20000\n")


def test_a_command_that_does_not_end_is_timed_out_with_its_children(cloud: Cloud) -> None:
    mark = f"31{int(time.time() * 1000) % 1_000_000}"
    told = run(cloud, f"sleep {mark} & sleep {mark}", executionTimeout=["1"])
    assert told["Status"] == "TimedOut"
    assert f"sleep {mark}" not in [line.strip() for line in _command_lines()]


def _command_lines() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines


def test_unknown_instances_and_documents_are_refused_as_aws_does(cloud: Cloud) -> None:
    ssm = cloud.client("ssm")
    for instance, document, code in (
        ("i-0fffffffffffffff0", "AWS-RunShellScript", "InvalidInstanceId"),
        (INSTANCE, "Nobody-Wrote-This", "InvalidDocument"),
    ):
        with pytest.raises(ClientError) as refused:
            ssm.send_command(InstanceIds=[instance], DocumentName=document, Parameters={"commands": ["true"]})
        assert refused.value.response["Error"]["Code"] == code


def test_an_own_document_runs_with_its_parameters_checked(cloud: Cloud) -> None:
    content = {
        "schemaVersion": "2.2",
        "parameters": {
            "container": {"type": "String", "allowedPattern": "^[a-z-]+$"},
            "lines": {"type": "String", "default": "200"},
        },
        "mainSteps": [
            {
                "action": "aws:runShellScript",
                "name": "logs",
                "inputs": {"runCommand": ["echo {{ container }} {{lines}}"]},
            }
        ],
    }
    ssm = cloud.client("ssm")
    ssm.create_document(Name="Rollback-Logs", DocumentType="Command", Content=json.dumps(content))
    told = run(cloud, document="Rollback-Logs", container=["stagelog-api"])
    assert told["StandardOutputContent"] == "stagelog-api 200\n"
    with pytest.raises(ClientError, match="InvalidParameters"):
        ssm.send_command(
            InstanceIds=[INSTANCE], DocumentName="Rollback-Logs", Parameters={"container": ["x; rm -rf /"]}
        )


def test_instances_are_online_and_invocations_can_be_listed(cloud: Cloud) -> None:
    ssm = cloud.client("ssm")
    (one,) = ssm.describe_instance_information()["InstanceInformationList"]
    assert (one["InstanceId"], one["PingStatus"]) == (INSTANCE, "Online")
    nobody = [{"Key": "InstanceIds", "Values": ["i-0fffffffffffffff0"]}]
    assert ssm.describe_instance_information(Filters=nobody)["InstanceInformationList"] == []
    told = run(cloud, "echo listed")
    (listed,) = ssm.list_command_invocations(CommandId=told["CommandId"], Details=True)["CommandInvocations"]
    assert listed["Status"] == "Success" and listed["CommandPlugins"][0]["Output"] == "listed\n"


def test_metrics_are_what_the_load_balancer_counted(cloud: Cloud) -> None:
    for _ in range(5):
        assert requests.get(cloud.balancer.url, timeout=PATIENCE_S).status_code == 502
    watch = cloud.client("cloudwatch")
    balancer = cloud.aws.arns["load_balancer"].partition("loadbalancer/")[2]
    group = cloud.arn.rpartition(":")[2]

    def points(metric: str, statistic: str, *dimensions: tuple[str, str]) -> list[float]:
        now = datetime.now(UTC)
        told = watch.get_metric_statistics(
            Namespace="AWS/ApplicationELB",
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions],
            StartTime=now - timedelta(minutes=10),
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=[statistic],
        )
        return [point[statistic] for point in told["Datapoints"]]

    of_balancer = ("LoadBalancer", balancer)
    assert wait_until(lambda: sum(points("HTTPCode_ELB_5XX_Count", "Sum", of_balancer)) >= 5, PATIENCE_S)
    assert sum(points("RequestCount", "Sum", of_balancer)) >= 5
    assert points("HTTPCode_Target_5XX_Count", "Sum", of_balancer) == [], "absent when there was none"
    hosts = (("TargetGroup", group), of_balancer)
    assert wait_until(lambda: max(points("UnHealthyHostCount", "Maximum", *hosts) or [0]) == 1, PATIENCE_S)


def test_aws_ends_with_whoever_started_it(tmp_path: Path) -> None:
    program = """
import sys, time
from rehearsal.aws import Aws
from rehearsal.load_balancer import LoadBalancer, TargetGroup
balancer = LoadBalancer("stagelog", [TargetGroup("stagelog-dev")]).start()
aws = Aws("eu-central-1", balancer.control_url, [(balancer.groups[0], 80)], {}, {"PATH": "/usr/bin:/bin"})
aws.start()
aws.wait()
print(aws._process.pid, flush=True)
time.sleep(300)
"""
    root = Path(__file__).resolve().parent.parent
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    assert wait_until(gone, PATIENCE_S)


def test_it_says_who_is_asking_and_listens_on_loopback_only(cloud: Cloud) -> None:
    assert cloud.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert cloud.aws.url.startswith("http://127.0.0.1:")
