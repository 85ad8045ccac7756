"""Captures of evidence from an SSM on loopback that misbehaves as it is told to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot.aws import AwsClients
from bot.evidence import Capture
from policies.facts import (
    Deploy,
    Evidence,
    HealthSample,
    Layer,
    ProbeSample,
    TargetSample,
)
from policies.limits import Mode, Plan, Runtime
from tests.patience import PATIENCE_S
from tests.ssm_stand_in import SsmStandIn

DEPLOY = Deploy(
    "d-1", "acme/stagelog", "develop", "4" * 40, "develop", "https://x.example", "test", None, 1000.0
)
HOST = "i-0abc12345678"
SHORT_S = 6.0
"""The capture's time where it is the very thing that ends it."""
DJANGO = """Traceback (most recent call last):
django.core.exceptions.ImproperlyConfigured: You're using the staticfiles app without having set the STATIC_ROOT setting
DATABASE_URL=postgres://app:s3cretpassw0rd@db/app
"""


def plan(**changes: object) -> Plan:
    given: dict[str, object] = {"runtime": Runtime(container="stagelog-api"), **changes}
    return Plan(Mode.AUTO, "develop", **given)  # type: ignore[arg-type]


def poll(*hosts: str) -> HealthSample:
    targets = tuple(
        TargetSample("stagelog-dev", host, "unhealthy", "Target.FailedHealthChecks", "Health checks failed")
        for host in hosts or (HOST,)
    )
    return HealthSample(30.0, probe=ProbeSample(0, 3, 502, "bad gateway"), targets=targets)


AWS: dict[str, AwsClients] = {}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SsmStandIn]:
    with pytest.MonkeyPatch.context() as patch, SsmStandIn(tmp_path_factory.mktemp("ssm")) as server:
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        AWS["patient"] = AwsClients("eu-central-1", read_timeout_s=PATIENCE_S, attempts=2)
        AWS["hasty"] = AwsClients("eu-central-1", read_timeout_s=1.0, attempts=2)
        for clients in AWS.values():
            clients.client("ssm")  # making the first client takes a second on a busy machine
        yield server


@pytest.fixture
def ssm(stand_in: SsmStandIn) -> SsmStandIn:
    stand_in.reset()
    (stand_in.bin / "log").write_text(DJANGO)
    return stand_in


async def capture(
    the_plan: Plan | None = None,
    sample: HealthSample | None = None,
    aws: AwsClients | None = None,
    deadline_s: float = PATIENCE_S,
    **named: object,
) -> Evidence:
    capturer = Capture(aws or AWS["patient"], deadline_s=deadline_s, **named)  # type: ignore[arg-type]
    return await capturer.capture(DEPLOY, the_plan or plan(), sample or poll())


def layers(evidence: Evidence) -> dict[str, Layer]:
    return {layer.name: layer for layer in evidence.layers}
