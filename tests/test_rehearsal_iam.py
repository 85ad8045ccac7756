"""The rehearsal's IAM decides as AWS's does, for what the policies in docs/ are written with, and guesses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from rehearsal.aws_iam import Call, Touched, UnknownElement, is_allowed, is_trusted

HOST = "arn:aws:ec2:eu-central-1:123456789012:instance/i-1"
DOCUMENT = "arn:aws:ssm:eu-central-1::document/AWS-RunShellScript"


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"} | one for one in statements],
    }


def send(*arns: str, **keys: str) -> Call:
    return Call(
        "ssm:SendCommand", tuple(Touched(arn, keys) for arn in arns), {"aws:RequestedRegion": "eu-central-1"}
    )


@pytest.mark.parametrize(
    ("statements", "call", "allowed"),
    [
        ([], send(HOST), False),
        ([{"Action": "ssm:SendCommand"}], send(HOST), True),
        ([{"Action": "SSM:sendcommand"}], send(HOST), True),
        ([{"Action": "ssm:Send*"}], send(HOST), True),
        ([{"Action": ["ssm:GetCommandInvocation", "ssm:List*"]}], send(HOST), False),
        ([{"Resource": HOST}], send(HOST), True),
        ([{"Resource": "arn:aws:ec2:*:*:instance/i-?"}], send(HOST), True),
        ([{"Resource": "arn:aws:ec2:*:*:instance/i-??"}], send(HOST), False),
        ([{"Resource": "arn:aws:ec2:us-east-1:*:instance/*"}], send(HOST), False),
        ([{"Resource": HOST}], send(HOST, DOCUMENT), False),  # everything that is touched must be allowed
        ([{"Resource": HOST}, {"Resource": DOCUMENT}], send(HOST, DOCUMENT), True),
        ([{"Resource": "arn:aws:ssm:*:*:document/AWS-*"}], send(DOCUMENT), True),
        ([{"Resource": "arn:aws:*"}], Call("ssm:GetCommandInvocation", (Touched("*"),)), False),
        ([{}, {"Effect": "Deny", "Resource": HOST}], send(HOST), False),
        ([{}, {"Effect": "Deny", "Action": "ecs:*"}], send(HOST), True),
        ([{"Condition": {"StringEquals": {"ssm:resourceTag/app": "web"}}}], send(HOST), False),
        (
            [{"Condition": {"StringEquals": {"SSM:ResourceTag/app": ["api", "web"]}}}],
            send(HOST, **{"ssm:resourceTag/app": "web"}),
            True,
        ),
        ([{"Condition": {"StringLike": {"aws:RequestedRegion": "eu-*"}}}], send(HOST), True),
        ([{"Condition": {"StringEquals": {"aws:RequestedRegion": "eu-*"}}}], send(HOST), False),
        (
            [{"Condition": {"StringLike": {"aws:RequestedRegion": "eu-*"}, "StringEquals": {"a": "b"}}}],
            send(HOST),
            False,
        ),
    ],
)
def test_a_call_is_allowed(statements: list[dict[str, Any]], call: Call, allowed: bool) -> None:
    assert is_allowed([policy(*statements)], call) is allowed


def test_several_policies_add_up_and_a_deny_in_any_counts() -> None:
    parts = [policy({"Resource": HOST}), policy({"Resource": DOCUMENT})]

    assert is_allowed(parts, send(HOST, DOCUMENT))
    assert not is_allowed([*parts, policy({"Effect": "Deny"})], send(HOST, DOCUMENT))


@pytest.mark.parametrize(
    "document",
    [
        policy({"NotAction": "iam:*"}),
        policy({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}),
        policy({"Effect": "allow"}),
        {"Statement": []},
        {"Version": "2008-10-17", "Statement": []},
    ],
)
def test_what_is_not_evaluated_is_refused_and_not_guessed(document: dict[str, Any]) -> None:
    with pytest.raises(UnknownElement):
        is_allowed([document], send(HOST))


@pytest.mark.parametrize(
    ("principal", "external_id", "trusted"),
    [
        ("arn:aws:iam::123456789012:root", "word", True),
        ("arn:aws:iam::123456789012:user/bot", "word", True),
        ("123456789012", "word", True),
        ("*", "word", True),
        ("arn:aws:iam::999999999999:root", "word", False),
        ("arn:aws:iam::123456789012:user/*", "word", False),  # no wildcards inside a principal
        ("arn:aws:iam::123456789012:root", "another", False),
        ("arn:aws:iam::123456789012:root", None, False),
    ],
)
def test_a_role_trusts(principal: str, external_id: str | None, trusted: bool) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "word"}},
    }
    keys = {"sts:ExternalId": external_id} if external_id else {}

    trust = {"Version": "2012-10-17", "Statement": statement}
    assert is_trusted(trust, "arn:aws:iam::123456789012:user/bot", keys) is trusted
