"""Roles of other accounts: taken on once with the external id, kept, and renewed before they end (a real STS wire)."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs

import pytest

from bot.aws import AwsClients

ROLE, OTHER = (f"arn:aws:iam::{account}:role/rollback-bot" for account in ("111122223333", "444455556666"))


class Sts:
    """Gives out keys `ASIA1`, `ASIA2`, … that last `lasts_s`, and remembers who asked for what."""

    def __init__(self) -> None:
        self.lasts_s = 3600.0
        self.given: list[dict[str, str]] = []
        self.seen: list[str] = []
        sts = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                form = {key: values[0] for key, values in body.items()}
                answer = sts.answer(form, self.headers["Authorization"]).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, form: dict[str, str], authorization: str) -> str:
        key = re.search(r"Credential=([^/]+)/", authorization)
        assert key is not None
        if form["Action"] != "AssumeRole":
            self.seen.append(key[1])
            return (
                "<DescribeTargetGroupsResponse><DescribeTargetGroupsResult><TargetGroups/>"
                "</DescribeTargetGroupsResult></DescribeTargetGroupsResponse>"
            )
        self.given.append(form | {"by": key[1]})
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.lasts_s)
        return (
            "<AssumeRoleResponse><AssumeRoleResult><Credentials>"
            f"<AccessKeyId>ASIA{len(self.given)}</AccessKeyId><SecretAccessKey>x</SecretAccessKey>"
            f"<SessionToken>y</SessionToken><Expiration>{end:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
            "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
        )


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sts]:
    made = Sts()
    Thread(target=made.server.serve_forever, daemon=True).start()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "home")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    yield made
    made.server.shutdown()
    made.server.server_close()


def read(aws: AwsClients, role: str | None = ROLE, region: str | None = None) -> None:
    aws.client("elbv2", role_arn=role, region=region).describe_target_groups()


def test_a_role_is_taken_on_once_with_its_external_id(sts: Sts) -> None:
    aws = AwsClients("eu-central-1", external_ids={ROLE: "a long word"})

    for _ in range(3):
        read(aws)
    read(aws, region="us-east-1")

    assert sts.seen == ["ASIA1"] * 4  # one set of keys for all services and regions of the role
    (asked,) = sts.given
    assert (asked["RoleArn"], asked["ExternalId"]) == (ROLE, "a long word")
    assert (asked["by"], asked["RoleSessionName"]) == ("home", "rollback-bot")


def test_each_role_has_its_own_keys_and_external_id(sts: Sts) -> None:
    aws = AwsClients("eu-central-1", external_ids={ROLE: "a long word"})

    for role in (ROLE, OTHER, None, ROLE):
        read(aws, role)

    assert sts.seen == ["ASIA1", "ASIA2", "home", "ASIA1"]
    assert [one.get("ExternalId") for one in sts.given] == ["a long word", None]


def test_keys_that_are_about_to_end_are_renewed_before_they_do(sts: Sts) -> None:
    sts.lasts_s = 60.0  # botocore renews what lasts less than ten minutes
    aws = AwsClients("eu-central-1", external_ids={ROLE: "a long word"})

    read(aws)
    sts.lasts_s = 3600.0
    read(aws)
    read(aws)

    assert sts.seen[-1] == sts.seen[-2] != sts.seen[0]
    assert {one["ExternalId"] for one in sts.given} == {"a long word"}
