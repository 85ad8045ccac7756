"""An Application Load Balancer's health checks: real requests, thresholds, states and reason codes."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from rehearsal.serving import LOOPBACK

_DESCRIPTIONS = {
    "Elb.RegistrationInProgress": "Target registration is in progress",
    "Elb.InitialHealthChecking": "Initial health checks in progress",
    "Target.FailedHealthChecks": "Health checks failed",
    "Target.Timeout": "Request timed out",
    "Target.NotRegistered": "Target is not registered to the target group",
    "Target.NotInUse": "Target group is not configured to receive traffic from the load balancer",
    "Target.DeregistrationInProgress": "Target deregistration is in progress",
    "Target.HealthCheckDisabled": "Health checks are disabled for this target group",
}


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How a target group asks its targets; ALB's own defaults are 30 s, 5 s, 5 and 2."""

    path: str = "/health/"
    interval_s: float = 0.5
    timeout_s: float = 2.0
    healthy_threshold: int = 2
    unhealthy_threshold: int = 2
    matcher: str = "200"
    enabled: bool = True

    def accepts(self, code: int) -> bool:
        """Whether a status code is in a matcher such as `200`, `200,301` or `200-399`."""
        for part in self.matcher.split(","):
            low, _, high = part.strip().partition("-")
            if int(low) <= code <= int(high or low):
                return True
        return False


@dataclass(slots=True)
class Target:
    """One registered instance and port, with what the checks found."""

    id: str
    port: int
    zone: str = "eu-central-1a"
    host: str = LOOPBACK
    state: str = "initial"
    reason: str | None = "Elb.RegistrationInProgress"
    codes: str | None = None
    successes: int = 0
    failures: int = 0
    leaves_s: float | None = None
    checks: list[tuple[float, bool, str]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """The target as `describe_target_health` tells it."""
        described = _DESCRIPTIONS.get(self.reason or "")
        if self.reason == "Target.ResponseCodeMismatch":
            described = f"Health checks failed with these codes: [{self.codes}]"
        return {
            "id": self.id,
            "port": self.port,
            "zone": self.zone,
            "state": self.state,
            "reason": self.reason,
            "description": described,
        }


_CHECKS_KEPT = 2000


class TargetGroup:
    """The targets of one group; `start` begins to check them, `draining_s` is the deregistration delay."""

    def __init__(self, name: str, check: HealthCheck | None = None, *, draining_s: float = 2.0) -> None:
        self.name = name
        self.check = check or HealthCheck()
        self.draining_s = draining_s
        self.attached = True
        self.targets: dict[tuple[str, int], Target] = {}
        self.changes: list[tuple[float, str, str, str | None]] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> TargetGroup:
        self._stopped.clear()
        for target in list(self.targets.values()):
            self._watch(target)
        return self

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=self.check.timeout_s + 1)

    def register(self, target: Target) -> Target:
        """Add a target; one success makes a new one healthy, whatever the threshold."""
        with self._lock:
            self.targets[target.id, target.port] = target
        if self._threads:
            self._watch(target)
        return target

    def deregister(self, target: Target) -> None:
        """Drain a target, then forget it."""
        target.leaves_s = time.time() + self.draining_s
        self._set(target, "draining", "Target.DeregistrationInProgress")

    def health(self) -> list[dict[str, Any]]:
        """Every target's state, as AWS would describe it now."""
        with self._lock:
            targets = list(self.targets.values())
        if not self.attached:
            told = {"reason": "Target.NotInUse", "description": _DESCRIPTIONS["Target.NotInUse"]}
            return [{**target.facts(), "state": "unused", **told} for target in targets]
        return [target.facts() for target in targets]

    def routable(self) -> list[Target]:
        """Where traffic may go: healthy targets, or all of them when none is (ALB fails open)."""
        with self._lock:
            targets = [one for one in self.targets.values() if one.state not in ("draining", "unused")]
        healthy = [one for one in targets if one.state == "healthy"]
        return healthy or targets

    def counts(self) -> tuple[int, int]:
        """(healthy, unhealthy) hosts, as CloudWatch counts them."""
        states = [target.state for target in list(self.targets.values())]
        return states.count("healthy"), states.count("unhealthy")

    def _watch(self, target: Target) -> None:
        thread = threading.Thread(target=self._check_for_ever, args=(target,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _check_for_ever(self, target: Target) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            if target.leaves_s is not None and time.time() >= target.leaves_s:
                with self._lock:
                    self.targets.pop((target.id, target.port), None)
                return
            if not self.check.enabled:
                self._set(target, "unavailable", "Target.HealthCheckDisabled")
            elif target.leaves_s is None:
                self._note(target, *self._ask(target))
            self._stopped.wait(max(0.0, self.check.interval_s - (time.monotonic() - began)))

    def _ask(self, target: Target) -> tuple[bool, str, str | None]:
        """One request: (passed, reason code when not, the status code it answered)."""
        connection = http.client.HTTPConnection(target.host, target.port, timeout=self.check.timeout_s)
        try:
            connection.request("GET", self.check.path, headers={"User-Agent": "ELB-HealthChecker/2.0"})
            answer = connection.getresponse()
            answer.read()
        except TimeoutError:
            return False, "Target.Timeout", None
        except (OSError, http.client.HTTPException):
            return False, "Target.FailedHealthChecks", None
        finally:
            with contextlib.suppress(OSError):
                connection.close()
        if self.check.accepts(answer.status):
            return True, "", str(answer.status)
        return False, "Target.ResponseCodeMismatch", str(answer.status)

    def _note(self, target: Target, passed: bool, reason: str, code: str | None) -> None:
        target.checks.append((time.time(), passed, code or reason))
        del target.checks[:-_CHECKS_KEPT]
        fresh = target.state == "initial"
        if passed:
            target.successes, target.failures = target.successes + 1, 0
            if fresh or target.successes >= self.check.healthy_threshold:
                self._set(target, "healthy", None)
            return
        target.successes, target.failures = 0, target.failures + 1
        target.codes = code
        if target.failures >= self.check.unhealthy_threshold or target.state == "unhealthy":
            self._set(target, "unhealthy", reason)
        elif fresh:
            self._set(target, "initial", "Elb.InitialHealthChecking")

    def _set(self, target: Target, state: str, reason: str | None) -> None:
        if target.leaves_s is not None and state != "draining":
            return
        if (target.state, target.reason) != (state, reason):
            self.changes.append((time.time(), target.id, state, reason))
        target.state, target.reason = state, reason
