"""What the evidence says when SSM is slow, throttled, offline or refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bot.aws import AwsClients
from bot.evidence import Capture
from bot.failures import CannotReadHealth
from bot.guard import guard
from policies.facts import (
    Deploy,
    Evidence,
    HealthSample,
    LayerStatus,
    TrafficSample,
)
from policies.limits import Plan
from tests.fakes import FakeWorld
from tests.patience import PATIENCE_S
from tests.ssm_captures import AWS, DEPLOY, HOST, SHORT_S, capture, layers, plan, poll
from tests.ssm_stand_in import DOCKER, Fault, SsmStandIn, after, always, invocation


async def test_the_layers_stand_in_the_runbooks_order(ssm: SsmStandIn) -> None:
    evidence = await capture()

    assert [layer.name for layer in evidence.layers] == ["load balancer", "host", "container"]
    balancer, host, container = evidence.layers
    assert (balancer.status, host.status, container.status) == ("failing", "ok", "failing")
    assert balancer.summary == (
        "The site answers 502 (bad gateway). Its target is unhealthy (Target.FailedHealthChecks)."
    )
    assert balancer.details == (
        f"stagelog-dev {HOST}: unhealthy (Target.FailedHealthChecks: Health checks failed)",
    )
    assert host.summary == f"{HOST}: SSM answers; docker knows 2 containers."
    assert container.summary == f"{HOST}: stagelog-api: Exited (1) 3 seconds ago after 4 restarts."
    assert evidence.failing_layer == balancer
    assert (evidence.exit_code, evidence.restarts) == (1, 4)
    assert evidence.image == "stagelog-api:9f2c1a (sha256:9f86d081884c)"
    assert evidence.diagnosis is not None and evidence.diagnosis.kind == "django_setting"
    assert "s3cretpassw0rd" not in repr(evidence) and evidence.redacted == 1


@pytest.mark.parametrize(
    ("action", "fault", "sentence"),
    [
        ("SendCommand", Fault("ThrottlingException", "Rate exceeded"), "AWS throttled ssm:SendCommand"),
        (
            "SendCommand",
            Fault(
                "AccessDeniedException",
                "User: arn:aws:iam::1:role/bot is not authorized to perform: ssm:SendCommand",
            ),
            "AWS refused ssm:SendCommand (AccessDeniedException): add ssm:SendCommand to the bot's IAM policy.",
        ),
        (
            "GetCommandInvocation",
            Fault("AccessDeniedException", "not authorized"),
            "AWS refused ssm:GetCommandInvocation",
        ),
        ("SendCommand", Fault("ExpiredTokenException", "expired"), "AWS did not accept our credentials"),
        ("SendCommand", Fault("InvalidInstanceId", ""), f"SSM does not know {HOST}"),
        ("SendCommand", Fault("InvalidDocument", ""), "There is no SSM document AWS-RunShellScript"),
        (
            "SendCommand",
            Fault("InternalServerError", "boom", 500),
            "ssm:SendCommand failed (InternalServerError)",
        ),
        ("GetCommandInvocation", Fault("InvocationDoesNotExist"), "did not know it (InvocationDoesNotExist)"),
        ("GetCommandInvocation", Fault("ThrottlingException"), "AWS throttled ssm:GetCommandInvocation"),
        ("GetCommandInvocation", invocation("Pending"), "did not take the command in time (Pending)"),
        ("GetCommandInvocation", invocation("Delayed"), "did not take the command in time (Delayed)"),
        ("GetCommandInvocation", invocation("InProgress"), "still ran when time was up (InProgress)"),
        (
            "GetCommandInvocation",
            invocation("TimedOut", details="Delivery Timed Out"),
            "SSM could not deliver the command",
        ),
        ("GetCommandInvocation", invocation("TimedOut", details="Execution Timed Out"), "ran out of time"),
        ("GetCommandInvocation", invocation("Cancelled"), "cancelled the command"),
        ("GetCommandInvocation", invocation("Failed", details="Undeliverable"), "failed (exit code 0)"),
        (
            "GetCommandInvocation",
            invocation("Failed", stderr="/bin/sh: cannot fork", code=2),
            "failed (exit code 2): /bin/sh: cannot fork",
        ),
        ("GetCommandInvocation", invocation("Success", stdout=""), "did not run the script"),
    ],
)
async def test_a_fault_is_a_sentence_in_its_place(
    ssm: SsmStandIn, action: str, fault: Fault | dict[str, object], sentence: str
) -> None:
    ssm.replies[action] = always(fault)

    evidence = await capture(deadline_s=SHORT_S if is_waited_for(action, fault) else PATIENCE_S)

    host = layers(evidence)["host"]
    assert sentence in host.summary
    assert host.status in (LayerStatus.UNKNOWN, LayerStatus.FAILING)
    assert layers(evidence)["container"].status is LayerStatus.UNKNOWN
    assert layers(evidence)["load balancer"].status is LayerStatus.FAILING
    assert evidence.log == "" and evidence.diagnosis is None


def is_waited_for(action: str, reply: Fault | dict[str, Any] | None) -> bool:
    """Whether the capture asks again and again after such a reply, for as long as it has time."""
    if isinstance(reply, Fault):
        return action == "GetCommandInvocation" and reply.code != "AccessDeniedException"
    return reply is not None and reply["Status"] in ("Pending", "Delayed", "InProgress")


class SeeingWorld(FakeWorld):
    """A guard's world whose evidence is really captured, from the SSM that misbehaves."""

    aws: AwsClients | None = None
    deadline_s = PATIENCE_S

    async def capture(self, deploy: Deploy, the_plan: Plan, latest: HealthSample | None) -> Evidence:
        self.did.append("capture")
        self.evidence = await capture(plan(), poll(), self.aws, self.deadline_s)
        return self.evidence


@pytest.mark.parametrize(
    ("trouble", "replies", "slow", "sentence"),
    [
        ("slow", {}, {"SendCommand": PATIENCE_S}, "AWS did not answer ssm:SendCommand"),
        ("throttled", {"GetCommandInvocation": Fault("ThrottlingException")}, {}, "AWS throttled"),
        ("offline", {"SendCommand": Fault("InvalidInstanceId")}, {}, "SSM does not know"),
        ("refused", {"SendCommand": Fault("AccessDeniedException")}, {}, "AWS refused ssm:SendCommand"),
        ("unknown", {"GetCommandInvocation": Fault("InvocationDoesNotExist")}, {}, "InvocationDoesNotExist"),
        (
            "truncated",
            {"GetCommandInvocation": invocation("Success", "x" * 30_000)},
            {},
            "did not run the script",
        ),
        ("gone", None, {}, "There is no container stagelog-api; there is stagelog-web, cache."),
    ],
)
async def test_whatever_ssm_does_the_deploy_is_put_back_and_the_evidence_says_what_it_lacks(
    ssm: SsmStandIn, trouble: str, replies: dict[str, Any] | None, slow: dict[str, float], sentence: str
) -> None:
    if replies is None:
        ssm.docker(DOCKER.replace("stagelog-api", "stagelog-web"))
    ssm.replies |= {action: always(reply) for action, reply in (replies or {}).items()}
    ssm.delay_s |= slow
    world = SeeingWorld()
    world.aws = AWS["hasty"] if slow else None
    if any(is_waited_for(action, reply) for action, reply in (replies or {}).items()):
        world.deadline_s = SHORT_S

    await guard(DEPLOY, world)

    assert world.did.index("capture") < world.did.index("revert")
    assert world.evidence.seconds < PATIENCE_S, (
        "the revert waits for the capture, and for nothing else of AWS"
    )
    assert (
        sentence in f"{layers(world.evidence)['host'].summary} {layers(world.evidence)['container'].summary}"
    )
    shown = world.told[-1]
    assert shown.evidence == world.evidence
    assert f"Evidence captured in {world.evidence.seconds:.1f} s." in [
        moment.what for moment in shown.timeline
    ]


async def test_not_being_allowed_to_ask_is_not_told_as_a_host_that_is_gone(ssm: SsmStandIn) -> None:
    ssm.replies["SendCommand"] = always(Fault("InvalidInstanceId"))
    ssm.replies["DescribeInstanceInformation"] = always(Fault("AccessDeniedException", "not authorized"))

    said = layers(await capture())["host"].summary

    assert said.startswith(f"SSM takes no command for {HOST}. AWS refused ssm:DescribeInstanceInformation")
    assert "gone" not in said


class SlowTraffic:
    """A CloudWatch that answers after a while, or refuses."""

    def __init__(self, answer: TrafficSample | Exception, after_s: float = 0.0) -> None:
        self.answer, self.after_s = answer, after_s

    async def latest(self, the_plan: Plan) -> TrafficSample | None:
        await asyncio.sleep(self.after_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def history(self, the_plan: Plan, since_s: float, until_s: float) -> tuple[HealthSample, ...]:
        return ()


@pytest.mark.parametrize(
    ("traffic", "sentence"),
    [
        (SlowTraffic(TrafficSample(40.0, 0.5)), "50% of 40 requests a minute are answered 5xx."),
        (
            SlowTraffic(CannotReadHealth("AWS refused cloudwatch:GetMetricData.")),
            "AWS refused cloudwatch:GetMetricData.",
        ),
        (SlowTraffic(RuntimeError("boom")), "CloudWatch: boom"),
        (SlowTraffic(TrafficSample(40.0, 0.5), after_s=PATIENCE_S), "CloudWatch did not answer in time."),
    ],
)
async def test_cloudwatch_adds_to_the_first_layer_and_holds_nothing_up(
    ssm: SsmStandIn, traffic: SlowTraffic, sentence: str
) -> None:
    deadline_s = SHORT_S if traffic.after_s else PATIENCE_S
    evidence = await capture(
        plan(target_groups=("stagelog-dev",)), poll(), deadline_s=deadline_s, traffic=traffic
    )

    assert layers(evidence)["load balancer"].summary.endswith(sentence)
    assert evidence.exit_code == 1 and evidence.seconds < PATIENCE_S


async def test_an_agent_that_is_offline_is_told_with_its_last_sign(ssm: SsmStandIn) -> None:
    ssm.replies["SendCommand"] = always(Fault("InvalidInstanceId"))
    ssm.replies["DescribeInstanceInformation"] = always(
        {"InstanceInformationList": [{"PingStatus": "ConnectionLost", "LastPingDateTime": 1_772_355_600}]}
    )

    evidence = await capture()

    assert "is offline (ConnectionLost, last seen 2026-03-01 09:00 UTC)" in layers(evidence)["host"].summary


async def test_a_command_that_ssm_does_not_know_yet_is_asked_for_again(ssm: SsmStandIn) -> None:
    ssm.replies["GetCommandInvocation"] = after(
        3, Fault("InvocationDoesNotExist"), lambda body, count: ssm._GetCommandInvocation(body, count)
    )

    evidence = await capture()

    assert evidence.exit_code == 1 and ssm.calls["SendCommand"] == 1


async def test_a_slow_aws_does_not_hold_the_revert(ssm: SsmStandIn) -> None:
    ssm.delay_s["SendCommand"] = PATIENCE_S

    evidence = await capture(deadline_s=SHORT_S)

    assert evidence.seconds < PATIENCE_S
    said = layers(evidence)["host"].summary
    assert said == f"AWS did not answer ssm:SendCommand for {HOST} in time."


async def test_an_aws_that_is_gone_is_said_so(ssm: SsmStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    evidence = await capture(aws=AwsClients("eu-central-1", attempts=1))

    assert "AWS could not be reached for ssm:SendCommand" in layers(evidence)["host"].summary


async def test_no_region_and_no_credentials_are_sentences(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    without_region = await Capture(AwsClients()).capture(DEPLOY, plan(), poll())
    without_keys = await Capture(AwsClients("eu-central-1")).capture(DEPLOY, plan(), poll())

    assert "There is no AWS region" in layers(without_region)["host"].summary
    assert "There are no AWS credentials" in layers(without_keys)["host"].summary


async def test_one_host_that_hangs_does_not_hide_another(ssm: SsmStandIn) -> None:
    other = "i-0fff12345678"

    def answer(body: dict[str, object], count: int) -> dict[str, object]:
        if body["InstanceId"] == other:
            return invocation("InProgress")
        return ssm._GetCommandInvocation(body, count)

    ssm.replies["GetCommandInvocation"] = answer

    evidence = await capture(sample=poll(HOST, other), deadline_s=SHORT_S)

    assert evidence.exit_code == 1 and "STATIC_ROOT" in evidence.log
    host = layers(evidence)["host"]
    assert host.status is LayerStatus.UNKNOWN and "still ran when time was up" in host.summary
    assert any(HOST in line and "SSM answers" in line for line in host.details)
