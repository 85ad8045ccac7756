"""Runs one short script on one host over SSM and brings back what it printed, or a sentence on why not."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, Final

from bot.aws import AWS_ERRORS, AwsClients, code_of, is_passing, is_throttled, why
from bot.failures import CannotCapture
from policies.limits import Plan

RUN_SHELL_SCRIPT: Final = "AWS-RunShellScript"
STDOUT_LIMIT_CHARS: Final = 24_000
"""SSM returns no more of the standard output than this, and cuts its end: cut at the source instead."""
DELIVERY_TIMEOUT_S: Final = 30
"""The least that SSM takes for how long a command may wait for its agent."""
FIRST_PAUSE_S: Final = 0.15
LONGEST_PAUSE_S: Final = 1.0

SENDING: Final = "sending"

_INSTANCE: Final = re.compile(r"m?i-[0-9a-f]{8,17}")
_DOCUMENT: Final = re.compile(r"[A-Za-z0-9_:/.-]{3,200}")
_WAITING: Final = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})
_TRUNCATED: Final = re.compile(r"-{2,3}\s*Output truncated\s*-{2,3}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Printed:
    """What a script printed, how SSM says it ended, and whether SSM cut it."""

    stdout: str
    stderr: str
    status: str
    exit_code: int | None
    truncated: bool


def is_instance(target: str) -> bool:
    """Whether `target` is the id of an EC2 or managed instance, the only thing SSM can be asked about."""
    return bool(_INSTANCE.fullmatch(target))


class HostShell:
    """SSM Run Command in one account and region. Its scripts only read, so a call may be repeated."""

    def __init__(self, aws: AwsClients, plan: Plan) -> None:
        self._aws = aws
        self._role_arn, self._region = plan.aws_role_arn, plan.aws_region
        self._document = plan.runtime.ssm_document
        self._states: dict[str, str] = {}

    @property
    def takes_scripts(self) -> bool:
        """Whether the document is AWS's general one; an own document has its script and takes parameters."""
        return self._document == RUN_SHELL_SCRIPT

    def run(self, instance: str, parameters: dict[str, list[str]], *, until_s: float) -> Printed:
        """Run the document on `instance` with `parameters`; blocks until `until_s` (monotonic) at the latest.

        Raises CannotCapture with the sentence for the evidence: no rights, no agent, throttled, too slow.
        """
        if not is_instance(instance):
            raise CannotCapture(f"{instance!r} is not an instance id, so SSM cannot reach it.")
        if not _DOCUMENT.fullmatch(self._document):
            raise CannotCapture(
                f"{self._document!r} is not the name of an SSM document: correct `ssm_document`."
            )
        self._states[instance] = SENDING
        ssm = self._client()
        command = self._send(ssm, instance, parameters)
        return self._wait(ssm, instance, command, until_s)

    def waiting(self, instance: str) -> str:
        """What the command on `instance` is waiting for, as a sentence; asked when it is given up."""
        return _too_late(instance, self._states.get(instance, SENDING))

    def _client(self) -> Any:
        try:
            return self._aws.client("ssm", role_arn=self._role_arn, region=self._region)
        except AWS_ERRORS as error:
            raise CannotCapture(why(error, "ssm:SendCommand")) from error

    def _send(self, ssm: Any, instance: str, parameters: dict[str, list[str]]) -> str:
        try:
            answer = ssm.send_command(
                InstanceIds=[instance],
                DocumentName=self._document,
                Parameters=parameters,
                TimeoutSeconds=DELIVERY_TIMEOUT_S,
                Comment="rollback-bot: evidence",
            )
        except AWS_ERRORS as error:
            if code_of(error) == "InvalidInstanceId":
                raise CannotCapture(self._not_managed(ssm, instance)) from error
            if code_of(error) in ("InvalidDocument", "InvalidDocumentVersion"):
                raise CannotCapture(
                    f"There is no SSM document {self._document} in this account and region: create it, or"
                    " correct `ssm_document`."
                ) from error
            raise CannotCapture(why(error, "ssm:SendCommand")) from error
        return str(answer["Command"]["CommandId"])

    def _not_managed(self, ssm: Any, instance: str) -> str:
        """Why SSM does not take a command for `instance`."""
        try:
            answer = ssm.describe_instance_information(
                Filters=[{"Key": "InstanceIds", "Values": [instance]}], MaxResults=5
            )
            known = answer.get("InstanceInformationList") or []
        except AWS_ERRORS as error:
            # Not knowing why is no reason to say that the host is gone.
            return f"SSM takes no command for {instance}. {why(error, 'ssm:DescribeInstanceInformation')}"
        if known:
            ping, seen = known[0].get("PingStatus", "unknown"), known[0].get("LastPingDateTime")
            since = f", last seen {seen:%Y-%m-%d %H:%M} UTC" if hasattr(seen, "strftime") else ""
            return f"The SSM agent of {instance} is offline ({ping}{since}): the host may be down."
        return (
            f"SSM does not know {instance}: it is gone or stopped, or lacks the agent or an instance profile."
        )

    def _wait(self, ssm: Any, instance: str, command: str, until_s: float) -> Printed:
        pause_s, state = FIRST_PAUSE_S, "Pending"
        while True:
            try:
                answer = ssm.get_command_invocation(CommandId=command, InstanceId=instance)
                state = str(answer.get("Status", ""))
                if state not in _WAITING:
                    return _printed(instance, answer)
            except AWS_ERRORS as error:
                # Right after sending, SSM may not know its own command yet.
                if code_of(error) == "InvocationDoesNotExist":
                    state = "InvocationDoesNotExist"
                elif is_throttled(error):
                    state = "throttled"
                elif is_passing(error):
                    state = "no answer"
                else:
                    raise CannotCapture(why(error, "ssm:GetCommandInvocation")) from error
            self._states[instance] = state
            if time.monotonic() + pause_s > until_s:
                raise CannotCapture(_too_late(instance, state))
            time.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)


def _too_late(instance: str, state: str) -> str:
    if state == "InvocationDoesNotExist":
        return (
            f"SSM took the command for {instance} and then did not know it (InvocationDoesNotExist) in time."
        )
    if state == "throttled":
        return f"AWS throttled ssm:GetCommandInvocation for {instance} until time was up."
    if state == SENDING:
        return f"AWS did not answer ssm:SendCommand for {instance} in time."
    if state == "no answer":
        return f"AWS did not answer ssm:GetCommandInvocation for {instance} until time was up."
    if state in ("Pending", "Delayed"):
        return (
            f"The SSM agent of {instance} did not take the command in time ({state}): it is offline or busy."
        )
    return (
        f"The command on {instance} still ran when time was up ({state}): the host is slow or docker hangs."
    )


def _printed(instance: str, answer: dict[str, Any]) -> Printed:
    status = str(answer.get("Status", ""))
    details = str(answer.get("StatusDetails") or status)
    stdout = str(answer.get("StandardOutputContent") or "")
    stderr = str(answer.get("StandardErrorContent") or "")
    if status not in ("Success", "Failed") and not stdout:
        raise CannotCapture(_ended(instance, status, details))
    if status == "Failed" and not stdout:
        said = " ".join(stderr.split())[:300]
        raise CannotCapture(
            f"The command on {instance} failed (exit code {answer.get('ResponseCode', '?')})"
            + (f": {said}" if said else " and printed nothing.")
        )
    code = answer.get("ResponseCode")
    return Printed(
        stdout=stdout,
        stderr=stderr,
        status=status,
        exit_code=code if isinstance(code, int) and code >= 0 else None,
        truncated=len(stdout) >= STDOUT_LIMIT_CHARS or bool(_TRUNCATED.search(stdout[-200:])),
    )


def _ended(instance: str, status: str, details: str) -> str:
    flat = details.replace(" ", "").lower()
    if "delivery" in flat or "undeliverable" in flat:
        return f"SSM could not deliver the command to {instance} ({details}): its agent is offline."
    if "accessdenied" in flat:
        return f"SSM refused the command on {instance} ({details}): allow the document in the IAM policy."
    if status == "TimedOut":
        return f"The command on {instance} ran out of time ({details}): the host is slow or docker hangs."
    if status in ("Cancelled", "Cancelling"):
        return f"Somebody or a limit cancelled the command on {instance} ({details})."
    return f"The command on {instance} ended as {details or 'unknown'} and printed nothing."
