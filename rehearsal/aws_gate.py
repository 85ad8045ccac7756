"""Lets a call to moto through only if the caller's policies allow it, and else answers as the service would.

moto's own enforcement was left out: it knows neither the resource of a call nor conditions, so that every scoped
statement would deny. Which resources and keys an action has: AWS's Service Authorization Reference.
"""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse
from moto.sts.models import sts_backends

from rehearsal.aws_elb import ACCOUNT
from rehearsal.aws_iam import Call, Touched, is_allowed, is_trusted

Json = dict[str, Any]
Parameters = Callable[[str], Any]

_CREDENTIAL: Final = re.compile(r"Credential=([^/,\s]+)/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")
_PREFIXES: Final = {"monitoring": "cloudwatch"}
"""IAM's name of a service, where it is not the one that signs its requests."""
_QUERY: Final = frozenset({"elasticloadbalancing", "sts", "ec2"})
_EVERYTHING: Final = (Touched("*"),)


class Refused(ServiceException):
    """AWS's common errors, which no service's own model describes; moto looks for that by the module's name."""


class Gate:
    """Who may do what in this AWS.

    `spec`: `principals` by access key id and `roles` by ARN, each with `policies` (documents) or the `file` that has
    them now, roles with their `trust` document as well; `instance_tags` by instance id; `journal`, a file that takes
    one line a decided call.
    """

    def __init__(self, spec: Json) -> None:
        self._principals: dict[str, Json] = spec["principals"]
        self._roles: dict[str, Json] = spec.get("roles", {})
        self._instance_tags: dict[str, dict[str, str]] = spec.get("instance_tags", {})
        self._journal = Path(spec["journal"]) if spec.get("journal") else None
        self._lock = threading.Lock()

    def refusal(self, response: BaseResponse) -> tuple[int, Refused] | None:
        """HTTP status and error for a call that may not be made, None for one that may."""
        signed = _CREDENTIAL.search(response.headers.get("Authorization", ""))
        if signed is None:
            return 403, Refused("MissingAuthenticationToken", "Request is missing a signature.")
        key, region, service = signed.groups()
        is_query = service in _QUERY
        who = self._who(key)
        if who is None:
            code = "InvalidClientTokenId" if is_query else "UnrecognizedClientException"
            return (403 if is_query else 400), Refused(
                code, "The security token included in the request is invalid."
            )
        arn, policies = who
        prefix = _PREFIXES.get(service, service)
        action = f"{prefix}:{response._get_action()}"
        touched = _touched(action, response._get_param, region, self._instance_tags)
        call = Call(action, touched, {"aws:RequestedRegion": region})
        allowed = is_allowed(policies, call) and self._is_trusted(call, arn, response._get_param)
        self._note(arn, call, allowed)
        if allowed:
            return None
        # IAM names one resource of those it refused, and none where the action has none.
        on = f" on resource: {touched[0].arn}" if touched[0].arn != "*" else ""
        said = (
            f"User: {arn} is not authorized to perform: {action}{on} because no identity-based policy allows "
            f"the {action} action"
        )
        code = "AccessDenied" if is_query or prefix == "cloudwatch" else "AccessDeniedException"
        return (403 if is_query or prefix == "cloudwatch" else 400), Refused(code, said)

    def _who(self, key: str) -> tuple[str, list[Json]] | None:
        """ARN and policies of the owner of an access key."""
        if key in self._principals:
            return f"arn:aws:iam::{ACCOUNT}:user/{key}", _policies(self._principals[key])
        for backends in list(sts_backends.values()):
            for role in backends["aws"].assumed_roles:
                if role.access_key_id == key and role.role_arn in self._roles:
                    name = role.role_arn.rpartition("/")[2]
                    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{role.session_name}"
                    return arn, _policies(self._roles[role.role_arn])
        return None

    def _is_trusted(self, call: Call, principal: str, given: Parameters) -> bool:
        if call.action != "sts:AssumeRole":
            return True
        role = self._roles.get(str(given("RoleArn")))
        external_id = given("ExternalId")
        keys = {"sts:ExternalId": str(external_id)} if external_id else {}
        return role is not None and is_trusted(role["trust"], principal, keys)

    def _note(self, principal: str, call: Call, allowed: bool) -> None:
        if self._journal is None:
            return
        line = {
            "principal": principal,
            "action": call.action,
            "resources": [one.arn for one in call.touched],
            "allowed": allowed,
        }
        with self._lock, self._journal.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _policies(owner: Json) -> list[Json]:
    if "file" in owner:
        found: list[Json] = json.loads(Path(owner["file"]).read_text())
        return found
    return list(owner["policies"])


def _touched(
    action: str, given: Parameters, region: str, tags: dict[str, dict[str, str]]
) -> tuple[Touched, ...]:
    """What a call touches. An action without resource types touches `*`: no ARN in a policy fits that."""
    arns = _ARNS.get(action)
    if arns is None:
        return _EVERYTHING
    return tuple(arns(given, f"{region}:{ACCOUNT}", tags)) or _EVERYTHING


def _send_command(given: Parameters, where: str, tags: dict[str, dict[str, str]]) -> list[Touched]:
    name = str(given("DocumentName") or "")
    # AWS's own documents belong to no account.
    owner = f"{where.partition(':')[0]}:" if name.startswith("AWS-") else where
    document = name if name.startswith("arn:") else f"arn:aws:ssm:{owner}:document/{name}"
    return [
        Touched(document),
        *(
            Touched(
                f"arn:aws:ec2:{where}:instance/{instance}",
                {f"ssm:resourceTag/{key}": value for key, value in tags.get(instance, {}).items()},
            )
            for instance in given("InstanceIds") or []
        ),
    ]


def _describe_services(given: Parameters, where: str, _: object) -> list[Touched]:
    cluster = str(given("cluster")).rpartition("/")[2]
    return [
        Touched(
            one if one.startswith("arn:") else f"arn:aws:ecs:{where}:service/{cluster}/{one}",
            _cluster(where, cluster),
        )
        for one in given("services") or []
    ]


def _list_tasks(given: Parameters, where: str, _: object) -> list[Touched]:
    return [Touched("*", _cluster(where, str(given("cluster")).rpartition("/")[2]))]


def _describe_tasks(given: Parameters, where: str, _: object) -> list[Touched]:
    cluster = str(given("cluster")).rpartition("/")[2]
    return [
        Touched(
            one if one.startswith("arn:") else f"arn:aws:ecs:{where}:task/{cluster}/{one}",
            _cluster(where, cluster),
        )
        for one in given("tasks") or []
    ]


def _cluster(where: str, cluster: str) -> dict[str, str]:
    return {"ecs:cluster": f"arn:aws:ecs:{where}:cluster/{cluster}"}


_ARNS: Final[dict[str, Callable[[Parameters, str, Any], list[Touched]]]] = {
    "ssm:SendCommand": _send_command,
    "ecs:DescribeServices": _describe_services,
    "ecs:ListTasks": _list_tasks,
    "ecs:DescribeTasks": _describe_tasks,
    # CloudWatch Logs asks for the group's streams with an empty name where a call is about all of them.
    "logs:DescribeLogStreams": lambda given, where, _: [
        Touched(f"arn:aws:logs:{where}:log-group:{given('logGroupName')}:log-stream:")
    ],
    "logs:GetLogEvents": lambda given, where, _: [
        Touched(f"arn:aws:logs:{where}:log-group:{given('logGroupName')}:log-stream:{given('logStreamName')}")
    ],
    "logs:ListTagsForResource": lambda given, where, _: [Touched(str(given("resourceArn")))],
    "sts:AssumeRole": lambda given, where, _: [Touched(str(given("RoleArn")))],
}


def patch_authorization(gate: Gate) -> None:
    """Put the gate in front of every call that moto answers, in whatever protocol it came."""
    original = BaseResponse.call_action
    warnings.filterwarnings(
        "ignore", message=r"Exception\(Refused\)"
    )  # no service's model has the common errors

    def call_action(self: BaseResponse) -> Any:
        refused = gate.refusal(self)
        if refused is None:
            return original(self)
        _, headers, body = self.serialized(ActionResult(refused[1]))
        return refused[0], headers, body

    setattr(BaseResponse, "call_action", call_action)  # noqa: B010  a method of moto's, on purpose
