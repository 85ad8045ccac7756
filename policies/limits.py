"""The numbers a decision compares with: defaults, units and where each comes from.

Sources: the failure budget's three limits, the 90 s and the baseline share were tuned on simulated traces to
at most 2.5 % false rollbacks (docs/judgement.md); the caps follow PyTorch's and Chromium's daily limits.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from policies.verifications import Verifications

T = TypeVar("T", bound=Hashable)
SHARED_PARTS = 4096


class Mode(StrEnum):
    """`auto` acts, `approve` asks first, `observe` only says what it would have done."""

    AUTO = "auto"
    APPROVE = "approve"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """Of the failure budget (seconds of badness) and the watch around it."""

    interval_s: float = 10.0
    watch_for_s: float = 900.0
    budget_s: float = 120.0
    budget_before_first_good_s: float = 180.0
    budget_with_crash_s: float = 60.0
    first_good_after_s: float = 90.0
    on_unknown: str = "hold"
    allowed_badness: float = 0.05
    baseline_window_s: float = 300.0
    baseline_bad_share: float = 0.30
    siblings_bad_share: float = 0.50
    min_requests_per_min: float = 20.0
    rate_5xx_scale: float = 0.10


@dataclass(frozen=True, slots=True)
class RollbackLimits:
    """Of acting: how, how often, how long to wait for a person and for recovery."""

    method: str = "push"
    on_push_rejected: str = "pull_request"
    on_conflict: str = "ask"
    unsafe_paths: tuple[str, ...] = ("**/migrations/**",)
    max_merges: int = 5
    max_per_hour: int = 2
    max_per_day: int = 4
    verify_within_s: float = 900.0
    freeze_after: str = "failed"
    decide_within_s: float = 600.0


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Of the captured log: how many lines, where it may be shown, what else to remove (RE2 patterns)."""

    lines: int = 200
    publish: str = "auto"
    redact: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Runtime:
    """What serves the environment: a container over SSM, an ECS service, or a CloudWatch log group."""

    container: str | None = None
    ecs_service: str | None = None
    log_group: str | None = None
    ssm_document: str = "AWS-RunShellScript"


@dataclass(frozen=True, slots=True)
class Plan:
    """How one deploy is guarded: the configuration in force, with what could not be used and why."""

    mode: Mode
    branch: str
    environment: str = ""
    """The environment that was deployed; an event that names none (a workflow run) is told by its trigger."""
    url: str | None = None
    target_groups: tuple[str, ...] = ()
    runtime: Runtime = Runtime()
    health: HealthLimits = HealthLimits()
    rollback: RollbackLimits = RollbackLimits()
    logs: LogLimits = LogLimits()
    permissions: tuple[tuple[str, str], ...] = (
        ("rollback", "write"),
        ("approve", "write"),
        ("hold", "write"),
        ("freeze", "maintain"),
    )
    """Pairs of a key and who it is for (`write`, `@org/team`, `role:NAME`); of several of one key one is enough."""
    notify: tuple[str, ...] = ()
    private: bool = True
    ignored: str | None = None
    """Why this deploy is not guarded at all (a preview, another trigger), or None."""
    notices: tuple[str, ...] = ()
    """What the people of the repository should know (no configuration file, an invalid one)."""
    config_from: str = "built-in defaults"
    verify: Verifications | None = None
    """What is looked at before a change that was rolled back goes in again."""
    aws_role_arn: str | None = None
    aws_region: str | None = None
    tenancy: str = "single"
    """`tagged`: only what carries the tag `rollback-bot` with the name of `repository` may be read in AWS."""
    repository: str = ""
    """`owner/name`, to hold it to its own where `tenancy` is `tagged`."""


_OF_ONE_DEPLOY = frozenset({"url"})


def shared(plan: Plan) -> Plan:
    """The same plan, made of the very objects that equal plans are made of: of ten thousand that one worker holds,
    nearly all have the same limits. May be repeated."""
    parts: dict[str, Any] = {
        field.name: _same(getattr(plan, field.name))
        for field in fields(plan)
        if field.name not in _OF_ONE_DEPLOY
    }
    return replace(plan, **parts)


@lru_cache(SHARED_PARTS, typed=True)
def _same(part: T) -> T:
    return part
