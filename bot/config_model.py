"""The shape of `.github/rollback.yml` and of the server's file; docs/ has the JSON Schema made from it.

Every key is optional: a model says only what a file may say, and the defaults stand in `policies.limits`.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal

import re2
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from policies.permission import CUSTOM_ROLE, TEAM

DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s?(ms|s|m|h|d)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> float:
    """Seconds of `10s`, `15m`, `2h`, `1d` or `500ms`. A bare number has no unit and is refused."""
    if isinstance(value, bool) or not isinstance(value, str):
        raise ValueError(f"needs a unit: write {value}s, {value}m or {value}h")
    match = DURATION.fullmatch(value.strip())
    if not match:
        raise ValueError("is not a duration; write for example 10s, 15m, 2h or 1d")
    seconds = float(match.group(1)) * _UNITS_S[match.group(2)]
    if seconds <= 0:
        raise ValueError("must be longer than zero")
    return seconds


def _pattern(value: str) -> str:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(value, options)
    except re2.error as error:
        why = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else error
        raise ValueError(f"is not an RE2 pattern: {why}") from None
    return value


def _ref(value: str) -> str:
    bad = re.search(r"[\x00-\x20~^:?*\[\\\x7f]|\.\.|@\{|//|^[-/.+]|/$|\.$|\.lock$|^@$", value)
    if bad or not value or value.startswith("refs/"):
        raise ValueError("is not a branch name")
    return value


def _web_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@:?#]+(:\d+)?(/\S*)?", value):
        raise ValueError("must be an http(s) address without credentials")
    return value


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(lambda seconds: f"{seconds:g}s", when_used="json"),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\d+(\.\d+)?\s?(ms|s|m|h|d)$", "examples": ["10s", "15m"]}
    ),
]
Branch = Annotated[str, AfterValidator(_ref)]
WebUrl = Annotated[str, AfterValidator(_web_url)]
Re2Pattern = Annotated[str, AfterValidator(_pattern)]
ContainerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
EcsService = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}/[A-Za-z0-9_-]{1,255}$")]
TargetGroup = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z0-9-]{1,32}|arn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]+:\d{12}:targetgroup/[A-Za-z0-9-]+/[0-9a-f]+)$"
    ),
]
_ROLES = ("read", "triage", "write", "maintain", "admin")
_MOST_ALLOWED = 20
_ALLOWANCE_SCHEMA = {
    "anyOf": [
        {"enum": list(_ROLES), "type": "string"},
        {"pattern": f"^{TEAM.pattern}$", "type": "string", "description": "a team, @org/team"},
        {"pattern": "^role:.{1,100}$", "type": "string", "description": "a custom role by its name"},
    ]
}


def _allowed(value: object) -> str | list[str]:
    """A role, `@org/team`, `role:NAME`, or a list of them, checked; a list of one is that one."""
    listed = list(value) if isinstance(value, list) else [value]
    if not 1 <= len(listed) <= _MOST_ALLOWED:
        raise ValueError(f"must name from 1 to {_MOST_ALLOWED} roles or teams")
    checked = list(dict.fromkeys(_allowance(one) for one in listed))
    return checked[0] if len(checked) == 1 else checked


def _allowance(value: object) -> str:
    if isinstance(value, str):
        text = str(value)  # ruamel's own kinds of text need not go further
        if text in _ROLES or TEAM.fullmatch(text) or CUSTOM_ROLE.fullmatch(text):
            return text
    near = difflib.get_close_matches(str(value).lower(), _ROLES, n=1, cutoff=0.5)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    raise ValueError(
        f'names {str(value)[:60]!r}, which is no role ({", ".join(_ROLES)}), no team ("@org/team") and no '
        f'custom role ("role:NAME"){hint}'
    )


Allowed = Annotated[
    str | list[str],
    BeforeValidator(_allowed),
    WithJsonSchema(
        {"anyOf": [*_ALLOWANCE_SCHEMA["anyOf"], {"type": "array", "items": _ALLOWANCE_SCHEMA, "minItems": 1}]}
    ),
]
Mode = Literal["auto", "approve", "observe"]


class Section(BaseModel):
    """Unknown keys are mistakes, never silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HealthSection(Section):
    interval: Duration | None = Field(None, description="pause between two polls")
    watch_for: Duration | None = Field(None, description="how long a deploy is watched")
    budget: Duration | None = Field(None, description="failure budget after the first good period")
    budget_before_first_good: Duration | None = Field(None, description="failure budget while booting")
    budget_with_crash: Duration | None = Field(None, description="failure budget once the container crashed")
    first_good_after: Duration | None = Field(None, description="how long it must be good to count as booted")
    on_unknown: Literal["hold", "ask"] | None = Field(
        None, description="what to do when nothing could be seen"
    )


class RollbackSection(Section):
    method: Literal["push", "pull_request"] | None = None
    on_push_rejected: Literal["pull_request", "hold"] | None = None
    on_conflict: Literal["ask", "hold"] | None = None
    unsafe_paths: list[Annotated[str, Field(min_length=1, max_length=300)]] | None = Field(
        None, max_length=100, description="globs; a diff that touches one is never reverted without a person"
    )
    max_merges: Annotated[int, Field(ge=1, le=50)] | None = None
    max_per_hour: Annotated[int, Field(ge=0, le=100)] | None = None
    max_per_day: Annotated[int, Field(ge=0, le=500)] | None = None
    verify_within: Duration | None = Field(None, description="how long recovery may take")
    freeze_after: Literal["failed", "always", "never"] | None = None
    decide_within: Duration | None = Field(None, description="how long a hold or question waits for a person")


class PermissionsSection(Section):
    """Who may say what: a role (and every higher one), a team, a custom role, or a list of which one is enough."""

    rollback: Allowed | None = None
    approve: Allowed | None = None
    hold: Allowed | None = Field(None, description="with --repo, maintain at least")
    freeze: Allowed | None = None
    reland: Allowed | None = Field(None, description="as rollback, where it is not given")
    cancel: Allowed | None = Field(None, description="as approve, where it is not given")
    resume: Allowed | None = Field(None, description="as hold, where it is not given")
    unfreeze: Allowed | None = Field(None, description="as freeze, where it is not given")
    logs: Allowed | None = Field(None, description="write, where it is not given")


class LogsSection(Section):
    lines: Annotated[int, Field(ge=1, le=2000)] | None = None
    publish: Literal["auto", "always", "never"] | None = None
    redact: list[Re2Pattern] | None = Field(None, max_length=50, description="further RE2 patterns to remove")


class RuntimeSection(Section):
    container: ContainerName | None = Field(None, description="docker container reached over SSM")
    ecs_service: EcsService | None = Field(None, description="cluster/service")
    log_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./#-]{1,512}$")] | None = None
    ssm_document: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/-]{3,128}$")] | None = None


class ImageCheck(Section):
    file: Annotated[str, Field(pattern=r"^/[^\x00\n]{1,500}$")]
    contains: list[str] = Field(default_factory=list, max_length=50)


class BootLogCheck(Section):
    contains: list[str] = Field(default_factory=list, max_length=50)
    never: list[str] = Field(default_factory=list, max_length=50)


class SmokeExpectation(Section):
    status: Annotated[int, Field(ge=100, le=599)] = 200
    jmespath: str | None = None


class SmokeCheck(Section):
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE"] = "GET"
    path: Annotated[str, Field(pattern=r"^/\S{0,1000}$")]
    body: Any | None = Field(None, alias="json")
    expect: SmokeExpectation = SmokeExpectation()


class VerifySection(Section):
    """The runbook's four verifications, carried by a reland."""

    image: ImageCheck | None = None
    boot_log: BootLogCheck | None = None
    smoke: SmokeCheck | None = None
    env: list[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]] | None = Field(
        None, max_length=200
    )


class WorkflowTrigger(Section):
    workflow_run: Annotated[str, Field(min_length=1, max_length=255)]


class Common(Section):
    """What may stand at the top and again in an environment, where it wins."""

    mode: Mode | None = Field(None, description="auto acts, approve asks first, observe only tells")
    trigger: Literal["deployment_status"] | WorkflowTrigger | None = None
    health: HealthSection | None = None
    rollback: RollbackSection | None = None
    permissions: PermissionsSection | None = None
    logs: LogsSection | None = None
    notify: list[Annotated[str, Field(max_length=500)]] | None = Field(None, max_length=20)


class EnvironmentSection(Common):
    branch: Branch | None = None
    url: WebUrl | None = None
    target_groups: list[TargetGroup] | None = Field(None, max_length=20)
    runtime: RuntimeSection | None = None
    verify: VerifySection | None = None


class RepositoryFile(Common):
    """`.github/rollback.yml`."""

    version: Literal[1] = 1
    environments: (
        dict[Annotated[str, Field(min_length=1, max_length=255)], EnvironmentSection | None] | None
    ) = None


class AwsAccess(Section):
    role_arn: (
        Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,128}$")] | None
    ) = None
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")] | None = None
    external_id: Annotated[str, Field(min_length=2, max_length=1224)] | None = None


class ServerFile(RepositoryFile):
    """The file that ROLLBACK_CONFIG names: the same form, and what no repository may decide for itself."""

    locked: list[Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]+)*$")]] | None = Field(
        None,
        max_length=200,
        description="keys (such as rollback.max_per_day) that repositories cannot change",
    )
    tenancy: Literal["single", "tagged"] | None = None
    aws: dict[str, AwsAccess] | None = Field(None, description="by owner/name; * for every repository")
    notify_targets: dict[str, str] | None = Field(None, description="names that `notify` may use")
