"""What the evidence says of what docker printed: cut, forged, unreadable, or of a container that is gone."""

from __future__ import annotations

import json

import pytest

from bot.failures import BotFailure, CannotReadHealth
from policies.facts import (
    HealthSample,
    LayerStatus,
    ProbeSample,
    TargetSample,
)
from policies.limits import LogLimits, Plan, Runtime
from tests.ssm_captures import DJANGO, HOST, capture, layers, plan, poll
from tests.ssm_stand_in import DOCKER, Fault, SsmStandIn, always, invocation


async def test_output_that_ssm_cut_is_told(ssm: SsmStandIn) -> None:
    def answer(body: dict[str, object], count: int) -> dict[str, object]:
        whole = ssm._GetCommandInvocation(body, count)["StandardOutputContent"]
        return invocation("Success", whole.replace("Traceback", "x" * 30_000 + "\nTraceback"))

    ssm.replies["GetCommandInvocation"] = answer

    evidence = await capture()

    assert (
        "SSM cut the output at 24,000 characters; its end is missing."
        in layers(evidence)["container"].details
    )


async def test_a_long_log_keeps_its_tail_and_loses_the_line_that_was_cut(ssm: SsmStandIn) -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    filler = "\n".join(f"{number} " + f"token={token} " * 8 for number in range(200))
    (ssm.bin / "log").write_text(filler + "\n" + DJANGO)

    evidence = await capture(plan(logs=LogLimits(lines=2000)))

    assert "STATIC_ROOT" in evidence.log
    assert not any(token[at : at + 12] in evidence.log for at in range(len(token) - 11))
    assert any("Only the last 20,000 bytes" in line for line in layers(evidence)["container"].details)


async def test_a_container_that_is_gone_names_those_that_are_there(ssm: SsmStandIn) -> None:
    evidence = await capture(plan(runtime=Runtime(container="stagelog-web")))

    container = layers(evidence)["container"]
    assert container.status is LayerStatus.FAILING
    assert container.summary == f"{HOST}: There is no container stagelog-web; there is stagelog-api, cache."
    assert evidence.log == "" and evidence.container is None


@pytest.mark.parametrize(
    ("docker", "sentence"),
    [
        ("exit 127", "There is no docker command on the host."),
        (
            "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2; exit 1",
            "docker ps failed (exit code 1): Cannot connect to the Docker daemon",
        ),
        ("exit 124", "docker did not answer within 6 s"),
        ("echo 'permission denied while trying to connect' >&2; exit 1", "docker ps failed (exit code 1)"),
    ],
)
async def test_a_docker_that_fails_is_the_hosts_failure(ssm: SsmStandIn, docker: str, sentence: str) -> None:
    ssm.docker(docker)

    evidence = await capture()

    host = layers(evidence)["host"]
    assert host.status is LayerStatus.FAILING and sentence in host.summary
    assert layers(evidence)["container"].status is LayerStatus.UNKNOWN


async def test_a_log_cannot_pretend_to_be_a_section(ssm: SsmStandIn) -> None:
    (ssm.bin / "log").write_text(
        "@@rollback-0000000000000000 logs-ended 0\n@@rollback ps\nError: boom\n" + DJANGO
    )

    evidence = await capture()

    assert "@@rollback-0000000000000000 logs-ended 0" in evidence.log and "STATIC_ROOT" in evidence.log


async def test_a_log_driver_that_cannot_be_read_is_told(ssm: SsmStandIn) -> None:
    refusal = "Error response from daemon: configured logging driver does not support reading"
    ssm.docker(DOCKER.replace('cat "$(dirname "$0")/log"', f"echo '{refusal}' >&2; exit 1"))

    evidence = await capture()

    assert any("does not support reading" in line for line in layers(evidence)["container"].details)
    assert evidence.log == ""


@pytest.mark.parametrize("name", ["a;reboot", "$(id)", "a b", "-v", "", "a" * 200, "../x", "ü"])
async def test_a_name_that_is_no_container_name_reaches_no_shell(ssm: SsmStandIn, name: str) -> None:
    evidence = await capture(plan(runtime=Runtime(container=name)) if name else plan(runtime=Runtime()))

    assert ssm.sent == []
    assert layers(evidence)["host"].status is LayerStatus.UNKNOWN


async def test_targets_that_are_addresses_and_none_at_all(ssm: SsmStandIn) -> None:
    addresses = await capture(sample=poll("10.0.3.17"))
    nothing = await capture(sample=HealthSample(1.0, targets=()))

    assert "The targets are addresses, not instances" in layers(addresses)["host"].summary
    assert "No target is known" in layers(nothing)["host"].summary
    assert layers(nothing)["load balancer"].summary == "No target is registered."


class Broken:
    """A probe and a target health that fail in every way they can."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def probe(self, url: str) -> ProbeSample:
        raise self.error

    async def read(self, the_plan: Plan) -> tuple[TargetSample, ...]:
        raise self.error


@pytest.mark.parametrize(
    "error", [CannotReadHealth("DNS does not know x."), RuntimeError("password=hunter2"), OSError()]
)
async def test_capturing_never_raises(ssm: SsmStandIn, error: Exception) -> None:
    broken = Broken(error)

    evidence = await capture(
        plan(url="https://x.example", target_groups=("a",)),
        HealthSample(1.0),
        probe=broken,
        target_health=broken,
    )

    balancer = layers(evidence)["load balancer"]
    assert balancer.status is LayerStatus.UNKNOWN and "hunter2" not in balancer.summary
    if isinstance(error, BotFailure):
        assert error.reason in balancer.summary


async def test_what_ssm_quotes_is_redacted(ssm: SsmStandIn) -> None:
    ssm.replies["SendCommand"] = always(Fault("ValidationException", "bad token=ghp_" + "a1B2c3D4" * 5))

    evidence = await capture()

    assert "a1B2c3D4a1B2" not in repr(evidence) and "[redacted]" in layers(evidence)["host"].summary


async def test_a_log_is_not_kept_when_the_repositorys_own_pattern_is_wrong(ssm: SsmStandIn) -> None:
    evidence = await capture(plan(logs=LogLimits(redact=("(unclosed",))))

    assert evidence.log == "" and evidence.exit_code == 1
    assert "RE2 does not take '(unclosed': correct `logs.redact`." in layers(evidence)["host"].summary


async def test_only_some_hosts_of_many_are_looked_at(ssm: SsmStandIn) -> None:
    many = tuple(f"i-0{number:011x}" for number in range(10))

    evidence = await capture(sample=poll(*many))

    assert ssm.calls["SendCommand"] == 4
    assert "4 of 10 hosts were looked at." in layers(evidence)["host"].summary


async def test_the_command_only_reads(ssm: SsmStandIn) -> None:
    await capture()

    sent = ssm.sent[0]
    assert sent["DocumentName"] == "AWS-RunShellScript" and sent["InstanceIds"] == [HOST]
    assert sent["TimeoutSeconds"] == 30 and sent["Parameters"]["executionTimeout"] == ["60"]
    text = json.dumps(sent["Parameters"])
    assert "{{" not in text  # SSM would take it for a parameter of its own
