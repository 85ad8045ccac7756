"""moto's Systems Manager with an agent behind it: commands really run in a shell, and take time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime
from typing import Any, cast

from moto.core.responses import ActionResult
from moto.ssm import models as ssm
from moto.ssm.exceptions import InvalidDocument, SSMException
from moto.ssm.responses import SimpleSystemManagerResponse

STDOUT_KEPT, STDERR_KEPT = 24_000, 8_000
DEFAULT_EXECUTION_TIMEOUT_S = 3600.0
_RUNNING: set[subprocess.Popen[bytes]] = set()


class Agent:
    """What the SSM agent of each known instance would do."""

    def __init__(
        self,
        instances: dict[str, str],
        environment: dict[str, str],
        *,
        delay_s: float = 0.15,
        offline: frozenset[str] = frozenset(),
    ) -> None:
        self.instances = instances
        self.offline = offline
        self.environment = environment
        self.delay_s = delay_s
        self.started_s = time.time()

    def run(
        self, command: RealCommand, invocation: dict[str, Any], script: str, folder: str, limit_s: float
    ) -> None:
        """Play one invocation from Pending to its end; never raises."""
        time.sleep(self.delay_s)
        command.visible = True
        time.sleep(self.delay_s / 3)
        began = time.time()
        invocation |= {
            "Status": "InProgress",
            "StatusDetails": "InProgress",
            "ExecutionStartDateTime": _iso(began),
        }
        command.settle()
        out, err, code, timed_out = self._shell(script, folder, limit_s)
        status = "TimedOut" if timed_out else ("Success" if code == 0 else "Failed")
        elapsed = time.time() - began
        if code and not timed_out:
            err += f"failed to run commands: exit status {code}"
        invocation |= {
            "Status": status,
            "StatusDetails": status,
            "ResponseCode": code,
            "ExecutionEndDateTime": _iso(began + elapsed),
            "ExecutionElapsedTime": f"PT{elapsed:.3f}S",
            "StandardOutputContent": _cut(out, STDOUT_KEPT),
            "StandardErrorContent": _cut(err, STDERR_KEPT),
        }
        command.settle()

    def _shell(self, script: str, folder: str, limit_s: float) -> tuple[str, str, int, bool]:
        process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            cwd=folder or "/",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        _RUNNING.add(process)
        timed_out = False
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        finally:
            _RUNNING.discard(process)
        code = process.returncode
        return (
            out.decode(errors="replace"),
            err.decode(errors="replace"),
            128 - code if code < 0 else code,
            timed_out,
        )


def stop_running_commands() -> None:
    """Take every shell that still runs down, with what it started."""
    for process in list(_RUNNING):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _cut(text: str, limit: int) -> str:
    return text[:limit]


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_agent: Agent | None = None


class RealCommand(ssm.Command):
    """A command whose invocations are carried out; `visible` says whether AWS has noticed it yet."""

    visible = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.status = self.status_details = "Pending"
        self.completed_count = 0
        for invocation in self.invocations:
            invocation |= {
                "Status": "Pending",
                "StatusDetails": "Pending",
                "ResponseCode": -1,
                "ExecutionStartDateTime": "",
                "ExecutionEndDateTime": "",
                "ExecutionElapsedTime": "",
                "DocumentVersion": "$DEFAULT",
                "StandardErrorUrl": "",
            }

    def start(self, agent: Agent, script: str) -> None:
        folder = (self.parameters.get("workingDirectory") or [""])[0]
        given = (self.parameters.get("executionTimeout") or [""])[0]
        limit_s = float(given) if given else DEFAULT_EXECUTION_TIMEOUT_S
        for invocation in self.invocations:
            threading.Thread(
                target=agent.run, args=(self, invocation, script, folder, limit_s), daemon=True
            ).start()

    def settle(self) -> None:
        """Bring the command's own state in line with its invocations'."""
        states = [invocation["Status"] for invocation in self.invocations]
        done = [state for state in states if state not in ("Pending", "InProgress")]
        self.completed_count = len(done)
        self.error_count = sum(1 for state in done if state == "Failed")
        if len(done) < len(states):
            self.status = "InProgress"
        else:
            self.status = next((state for state in done if state != "Success"), "Success")
        self.status_details = self.status

    def get_invocation(self, instance_id: str, plugin_name: str | None) -> dict[str, Any]:
        found = [one for one in self.invocations if one["InstanceId"] == instance_id]
        if not self.visible or not found or plugin_name not in (None, found[0]["PluginName"]):
            raise SSMException("InvocationDoesNotExist", "")
        return dict(found[0])


def _script(backend: ssm.SimpleSystemManagerBackend, document: str, parameters: dict[str, list[str]]) -> str:
    """The shell text that a document makes of its parameters."""
    if document == "AWS-RunShellScript":
        if not parameters.get("commands"):
            raise SSMException("InvalidParameters", "Parameter 'commands' is required")
        return "\n".join(parameters["commands"])
    try:
        content = backend.get_document(document, "", "", "JSON")["Content"]
    except Exception as error:
        raise InvalidDocument("The specified SSM document doesn't exist.") from error
    described = json.loads(content)
    defaults = {name: facts.get("default") for name, facts in described.get("parameters", {}).items()}
    lines: list[str] = []
    for step in described.get("mainSteps", []):
        lines += step["inputs"]["runCommand"]
    for name, default in defaults.items():
        value = parameters.get(name) or ([default] if isinstance(default, str) else default)
        if value is None:
            raise SSMException("InvalidParameters", f"Parameter '{name}' is required")
        pattern = described["parameters"][name].get("allowedPattern")
        if pattern and not all(re.search(pattern, one) for one in value):
            raise SSMException("InvalidParameters", f"Parameter '{name}' does not match {pattern}")
        lines = [_filled(line, name, " ".join(value)) for line in lines]
    return "\n".join(lines)


def _filled(line: str, name: str, value: str) -> str:
    """A document's line with `{{ name }}` replaced."""
    return re.sub(r"\{\{\s*" + re.escape(name) + r"\s*\}\}", lambda _: value, line)


def patch_commands(agent: Agent) -> None:
    """Give moto's Systems Manager this agent."""
    setattr(ssm, "Command", RealCommand)  # noqa: B010
    original = ssm.SimpleSystemManagerBackend.send_command

    def send(self: ssm.SimpleSystemManagerBackend, **named: Any) -> RealCommand:
        for name in named["instance_ids"] or []:
            if name not in agent.instances or name in agent.offline:
                raise SSMException(
                    "InvalidInstanceId", f"Instances [[{name}]] not in a valid state for account"
                )
        script = _script(self, named["document_name"] or "", named["parameters"] or {})
        command = cast("RealCommand", original(self, **named))
        command.start(agent, script)
        return command

    setattr(ssm.SimpleSystemManagerBackend, "send_command", send)  # noqa: B010

    def describe_instances(self: SimpleSystemManagerResponse) -> ActionResult:
        wanted: set[str] | None = None
        for one in self._get_param("Filters") or []:
            if one.get("Key") == "InstanceIds":
                wanted = set(one.get("Values") or [])
        for one in self._get_param("InstanceInformationFilterList") or []:
            if one.get("key") == "InstanceIds":
                wanted = set(one.get("valueSet") or [])
        known = [
            {
                "InstanceId": name,
                "PingStatus": "ConnectionLost" if name in agent.offline else "Online",
                "LastPingDateTime": time.time(),
                "AgentVersion": "3.3.987.0",
                "IsLatestVersion": True,
                "PlatformType": "Linux",
                "PlatformName": "Amazon Linux",
                "PlatformVersion": "2023",
                "ResourceType": "EC2Instance",
                "IPAddress": address,
                "ComputerName": f"ip-{address.replace('.', '-')}.eu-central-1.compute.internal",
            }
            for name, address in agent.instances.items()
            if wanted is None or name in wanted
        ]
        return ActionResult({"InstanceInformationList": known})

    setattr(SimpleSystemManagerResponse, "describe_instance_information", describe_instances)  # noqa: B010

    def list_invocations(self: SimpleSystemManagerResponse) -> ActionResult:
        command_id, instance = self._get_param("CommandId"), self._get_param("InstanceId")
        details = self._get_param("Details", False)
        shown = []
        for command in self.ssm_backend.list_commands(command_id, None):
            for one in command.invocations:
                if instance in (None, one["InstanceId"]):
                    shown.append(_listed(cast("RealCommand", command), one, bool(details)))
        return ActionResult({"CommandInvocations": shown})

    setattr(SimpleSystemManagerResponse, "list_command_invocations", list_invocations)  # noqa: B010


def _listed(command: RealCommand, invocation: dict[str, Any], details: bool) -> dict[str, Any]:
    listed = {
        "CommandId": command.command_id,
        "InstanceId": invocation["InstanceId"],
        "DocumentName": command.document_name,
        "RequestedDateTime": command.requested_date_time,
        "Status": invocation["Status"],
        "StatusDetails": invocation["StatusDetails"],
        "CommandPlugins": [],
    }
    if details:
        output = invocation["StandardOutputContent"]
        plugin = {
            "Name": invocation["PluginName"],
            "Status": invocation["Status"],
            "StatusDetails": invocation["StatusDetails"],
            "ResponseCode": invocation["ResponseCode"],
            "Output": output[:2500],
        }
        listed["CommandPlugins"] = [plugin]
    return listed
