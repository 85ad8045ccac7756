"""Start and stop the process that plays AWS, and tell where it listens.

with Aws(region, balancer_control_url, groups, instances, machine.environment) as aws:
    boto3.client("elbv2", endpoint_url=aws.url, region_name=aws.region, **credentials)
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from rehearsal.health_checks import TargetGroup
from rehearsal.janitor import Janitor
from rehearsal.serving import LOOPBACK, free_port
from rehearsal.surroundings import RehearsalFailed, bare_environment

START_WITHIN_S = 60.0
METRICS_PERIOD_S = 1.0
ADMINISTRATOR = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
CREDENTIALS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


class CannotStartAws(RehearsalFailed):
    """The process that plays AWS ended or stayed silent."""


class Aws:
    """moto in a process of its own, so that its import delays nobody; `wait` until it answers."""

    def __init__(
        self,
        region: str,
        control_url: str,
        groups: list[tuple[TargetGroup, int]],
        instances: dict[str, str],
        environment: dict[str, str],
        *,
        load_balancer: str = "stagelog",
        log: Path | None = None,
        janitor: Janitor | None = None,
        tags: dict[str, dict[str, str]] | None = None,
        iam: dict[str, Any] | None = None,
        offline: frozenset[str] = frozenset(),
    ) -> None:
        """`tags` by target group; `iam`: who may do what (see `aws_gate.Gate`), everybody everything without it;
        `offline`: instances whose agent was heard of and no longer answers."""
        self.region = region
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.arns: dict[str, Any] = {}
        self._log, self._janitor = log, janitor
        self._process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()
        self._spec = {
            "port": self.port,
            "region": region,
            "control_url": control_url,
            "load_balancer": load_balancer,
            "metrics_period_s": METRICS_PERIOD_S,
            "instances": instances,
            "environment": environment,
            "iam": iam,
            "offline": sorted(offline),
            "target_groups": [
                {
                    "name": group.name,
                    "port": port,
                    "path": group.check.path,
                    "matcher": group.check.matcher,
                    "interval_s": group.check.interval_s,
                    "timeout_s": group.check.timeout_s,
                    "healthy_threshold": group.check.healthy_threshold,
                    "unhealthy_threshold": group.check.unhealthy_threshold,
                    "instances": list(instances),
                    "tags": (tags or {}).get(group.name, {}),
                }
                for group, port in groups
            ],
        }

    def __enter__(self) -> Aws:
        self.start()
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Aws:
        """Start the process and return at once."""
        root = Path(__file__).resolve().parent.parent
        complaints: IO[bytes] | int = self._log.open("wb") if self._log else subprocess.DEVNULL
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rehearsal.aws_server"],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=bare_environment({"AWS_EC2_METADATA_DISABLED": "true"}),
            text=True,
            start_new_session=True,
        )
        if self._janitor is not None:
            self._janitor.watch(self._process.pid)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._spec) + "\n")
        self._process.stdin.flush()
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def wait(self, timeout_s: float = START_WITHIN_S) -> None:
        """Block until AWS answers; CannotStartAws when it does not."""
        if not self._ready.wait(timeout_s) or not self.arns:
            end = self._log.read_text(errors="replace")[-1500:] if self._log else ""
            raise CannotStartAws(f"The process that plays AWS did not start. The end of its log:\n{end}")

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=5)
        self._process = None

    def _listen(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with contextlib.suppress(ValueError):
            line = self._process.stdout.readline()
            if line:
                self.arns = json.loads(line)
        self._ready.set()
