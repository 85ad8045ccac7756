"""Layers configuration (built-in < server < repository < environment) into the plan of one deploy."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, fields
from typing import Any

from bot.config_model import RepositoryFile, ServerFile
from bot.config_verify import PARTS, verifications_of
from policies.facts import Deploy
from policies.limits import HealthLimits, LogLimits, Mode, Plan, RollbackLimits, Runtime
from policies.permission import KEYS

CONFIG_PATH = ".github/rollback.yml"
_MAPS = ("health", "rollback", "permissions", "logs", "runtime", "verify")
_SECONDS = {
    "health": (
        "interval",
        "watch_for",
        "budget",
        "budget_before_first_good",
        "budget_with_crash",
        "first_good_after",
    ),
    "rollback": ("verify_within", "decide_within"),
}
APPROVE_BY_DEFAULT = "prod*"


@dataclass(frozen=True)
class Value:
    """One value in force and the layer it comes from."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Resolved:
    """All values in force for one environment, by dotted key."""

    environment: str
    values: dict[str, Value]
    listed: bool
    """Whether the repository's file names this environment."""

    def get(self, key: str) -> Any:
        found = self.values.get(key)
        return found.value if found else None


def built_in(environment: str) -> dict[str, Any]:
    """The defaults by dotted key, durations in seconds."""
    values: dict[str, Any] = {
        "mode": "approve" if fnmatch.fnmatchcase(environment.lower(), APPROVE_BY_DEFAULT) else "auto",
        "trigger": "deployment_status",
        "notify": [],
        "permissions.rollback": "write",
        "permissions.approve": "write",
        "permissions.hold": "write",
        "permissions.freeze": "maintain",
        "runtime.ssm_document": Runtime().ssm_document,
    }
    for section, limits in (
        ("health", HealthLimits()),
        ("rollback", RollbackLimits()),
        ("logs", LogLimits()),
    ):
        for field in fields(limits):
            name = field.name.removesuffix("_s")
            if section != "health" or name in _SECONDS["health"] or name == "on_unknown":
                value = getattr(limits, field.name)
                values[f"{section}.{name}"] = list(value) if isinstance(value, tuple) else value
    return values


def resolve(server: ServerFile | None, repository: RepositoryFile | None, environment: str) -> Resolved:
    """Merge the layers for `environment`; maps merge, lists replace, the server's `locked:` keys win."""
    values = {key: Value(value, "built-in") for key, value in built_in(environment).items()}
    own = (repository.environments or {}) if repository else {}
    if server is not None:
        _lay(values, server, "server")
        _lay(values, (server.environments or {}).get(environment), "server")
    fixed = {key: value for key, value in values.items() if _is_locked(key, server)}
    if repository is not None:
        _lay(values, repository, "repository")
        _lay(values, own.get(environment), f"environment {environment}")
    for key in [key for key in values if _is_locked(key, server)]:
        if key in fixed:
            origin = fixed[key].origin
            values[key] = Value(fixed[key].value, origin if "locked" in origin else f"{origin}, locked")
        else:
            del values[key]
    return Resolved(environment, values, listed=environment in own)


def _is_locked(key: str, server: ServerFile | None) -> bool:
    return any(key == lock or key.startswith(lock + ".") for lock in ((server and server.locked) or ()))


def _lay(values: dict[str, Value], section: Any, origin: str) -> None:
    if section is None:
        return
    said = section.model_dump(exclude_unset=True, exclude_none=True, by_alias=True)
    for key, value in said.items():
        if key in ("version", "environments", "locked", "tenancy", "aws", "notify_targets"):
            continue
        if key in _MAPS:
            for inner, inner_value in value.items():
                values[f"{key}.{inner}"] = Value(inner_value, origin)
        else:
            values[key] = Value(value, origin)


def triggers(resolved: Resolved, deploy: Deploy) -> bool:
    """Whether the event that told of `deploy` is the one this environment is guarded by. A signed
    POST /webhooks/deploys always is."""
    trigger = resolved.get("trigger")
    if deploy.source == "workflow_run":
        return isinstance(trigger, dict) and bool(trigger.get("workflow_run") == deploy.workflow)
    if deploy.source == "deployment_status":
        return bool(trigger == "deployment_status")
    return True


def environment_of(
    server: ServerFile | None, repository: RepositoryFile | None, deploy: Deploy
) -> str | None:
    """The environment that `deploy` went to: its own, or (a workflow run names none) the one whose trigger is
    that workflow, preferring the one of the deployed branch. None if no environment, or no single one, is."""
    if deploy.environment:
        return deploy.environment
    names = {name for file in (server, repository) if file for name in (file.environments or {})}
    found = [
        one for one in (resolve(server, repository, name) for name in sorted(names)) if triggers(one, deploy)
    ]
    of_branch = [one for one in found if one.get("branch") == deploy.branch]
    chosen = of_branch or found
    return chosen[0].environment if len(chosen) == 1 else None


def plan_of(
    resolved: Resolved,
    deploy: Deploy,
    *,
    default_branch: str,
    private: bool,
    server: ServerFile | None,
    file_found: bool,
    problem: str | None = None,
) -> Plan:
    """The plan of one deploy. `problem`: why the repository's file could not be used (then only observe)."""
    get = resolved.get
    url = get("url") or deploy.url
    groups = tuple(get("target_groups") or ())
    mode, notices = Mode(get("mode")), []
    if problem is not None:
        mode = Mode.OBSERVE
        notices.append(f"The configuration cannot be used, so the bot only observes. {problem}")
    elif not file_found:
        mode = Mode.OBSERVE
        notices.append(
            f"There is no `{CONFIG_PATH}` before this deploy, so the bot only observes. "
            "Add the file with `version: 1` to let it act."
        )
    access = (server.aws or {}) if server else {}
    aws = access.get(deploy.repository) or access.get("*")
    return Plan(
        mode=mode,
        branch=get("branch") or default_branch,
        environment=resolved.environment,
        url=url,
        target_groups=groups,
        runtime=Runtime(
            container=get("runtime.container"),
            ecs_service=get("runtime.ecs_service"),
            log_group=get("runtime.log_group"),
            ssm_document=get("runtime.ssm_document"),
        ),
        health=HealthLimits(
            **{f"{name}_s": get(f"health.{name}") for name in _SECONDS["health"]},
            on_unknown=get("health.on_unknown"),
        ),
        rollback=RollbackLimits(
            **{f"{name}_s": get(f"rollback.{name}") for name in _SECONDS["rollback"]},
            method=get("rollback.method"),
            on_push_rejected=get("rollback.on_push_rejected"),
            on_conflict=get("rollback.on_conflict"),
            unsafe_paths=tuple(get("rollback.unsafe_paths")),
            max_merges=get("rollback.max_merges"),
            max_per_hour=get("rollback.max_per_hour"),
            max_per_day=get("rollback.max_per_day"),
            freeze_after=get("rollback.freeze_after"),
        ),
        logs=LogLimits(get("logs.lines"), get("logs.publish"), tuple(get("logs.redact"))),
        permissions=_permissions(resolved),
        verify=verifications_of(
            {part: value for part in PARTS if (value := get(f"verify.{part}")) is not None}
        ),
        notify=tuple(get("notify")),
        private=private,
        ignored=_why_ignored(resolved, deploy, url, groups),
        notices=tuple(notices),
        config_from=CONFIG_PATH if file_found and problem is None else "built-in defaults",
        aws_role_arn=aws.role_arn if aws else None,
        aws_region=aws.region if aws else None,
        tenancy=(server.tenancy if server and server.tenancy else "single"),
        repository=deploy.repository,
    )


def _permissions(resolved: Resolved) -> tuple[tuple[str, str], ...]:
    """Each key with who it is for, one pair for each."""
    said = ((key, resolved.get(f"permissions.{key}")) for key in KEYS)
    return tuple((key, one) for key, who in said if who for one in (who if isinstance(who, list) else (who,)))


def _why_ignored(resolved: Resolved, deploy: Deploy, url: str | None, groups: tuple[str, ...]) -> str | None:
    if not resolved.environment:
        return f"No environment in {CONFIG_PATH} has the trigger {{workflow_run: {deploy.workflow}}}."
    if not triggers(resolved, deploy):
        return (
            f"Heard by {deploy.source}, but {resolved.environment} is guarded by "
            f"{resolved.get('trigger')}, so this event is not acted on."
        )
    if not url and not groups:
        return (
            f"Nothing to watch: {resolved.environment} has no `url` and no `target_groups` in {CONFIG_PATH}, "
            "and the deployment carries no URL."
        )
    return None
