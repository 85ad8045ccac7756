"""REST answers about deployments, their statuses, check runs, commit statuses and workflow runs."""

from __future__ import annotations

import time

from flask import request

from rehearsal.github_rest import Api, ApiError, Call
from rehearsal.github_shapes import Json
from rehearsal.github_state import CheckRun, Deployment

DEPLOYMENT_STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")
CONCLUSIONS = (
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "success",
    "skipped",
    "stale",
    "timed_out",
)
STATUS_STATES = ("error", "failure", "pending", "success")


def register(api: Api) -> None:
    _deployments(api)
    _deployment_statuses(api)
    _check_runs(api)
    _commit_statuses(api)
    _workflow_runs(api)


def _sha(call: Call, ref: str) -> str:
    sha = call.git.resolve(ref)
    if sha is None:
        raise ApiError(422, f"No commit found for SHA: {ref}")
    return sha


def _deployment(call: Call, deployment_id: int) -> Deployment:
    found = call.repository.deployments.get(deployment_id)
    if found is None:
        raise ApiError(404, "Not Found")
    return found


def _deployments(api: Api) -> None:
    @api.route("GET", "/repos/<owner>/<repo>/deployments", "deployments:read")
    def deployments(call: Call) -> list[Json]:
        asked = {key: request.args.get(key) for key in ("sha", "ref", "task", "environment")}
        found = [
            one
            for one in call.repository.deployments.values()
            if all(value in (None, getattr(one, key)) for key, value in asked.items())
        ]
        found.sort(key=lambda one: one.id, reverse=True)
        return call.page(found, lambda one: call.github.shapes.deployment(call.repository, one))

    @api.route("POST", "/repos/<owner>/<repo>/deployments", "deployments:write")
    def create(call: Call) -> tuple[Json, int]:
        given = call.body(ref=str)
        deployment = call.github.activity.deployment(
            call.repository,
            call.user,
            ref=given["ref"],
            sha=_sha(call, given["ref"]),
            environment=given.get("environment") or "production",
            task=given.get("task") or "deploy",
            description=given.get("description"),
            payload=given.get("payload") or {},
            transient=bool(given.get("transient_environment", False)),
            production=bool(given.get("production_environment", False)),
        )
        return call.github.shapes.deployment(call.repository, deployment), 201

    @api.route("GET", "/repos/<owner>/<repo>/deployments/<int:deployment_id>", "deployments:read")
    def one(call: Call, deployment_id: int) -> Json:
        return call.github.shapes.deployment(call.repository, _deployment(call, deployment_id))


def _deployment_statuses(api: Api) -> None:
    rule = "/repos/<owner>/<repo>/deployments/<int:deployment_id>/statuses"

    @api.route("GET", rule, "deployments:read")
    def statuses(call: Call, deployment_id: int) -> list[Json]:
        deployment = _deployment(call, deployment_id)
        newest_first = list(reversed(deployment.statuses))
        shapes = call.github.shapes
        return call.page(newest_first, lambda one: shapes.deployment_status(call.repository, deployment, one))

    @api.route("POST", rule, "deployments:write")
    def add(call: Call, deployment_id: int) -> tuple[Json, int]:
        given, deployment = call.body(state=str), _deployment(call, deployment_id)
        if given["state"] not in DEPLOYMENT_STATES:
            problem = {"resource": "DeploymentStatus", "code": "invalid", "field": "state"}
            raise ApiError(422, "Validation Failed", [problem])
        status = call.github.activity.deployment_status(
            call.repository,
            deployment,
            call.user,
            given["state"],
            description=given.get("description") or "",
            environment_url=given.get("environment_url") or "",
            log_url=given.get("log_url") or given.get("target_url") or "",
        )
        return call.github.shapes.deployment_status(call.repository, deployment, status), 201


def _check_runs(api: Api) -> None:
    @api.route("POST", "/repos/<owner>/<repo>/check-runs", "checks:write")
    def create(call: Call) -> tuple[Json, int]:
        if call.token is None or call.token.app is None:
            raise ApiError(403, "You must authenticate via a GitHub App.")
        given = call.body(name=str, head_sha=str)
        run = CheckRun(
            call.github.ledger.next_id(),
            given["name"],
            _sha(call, given["head_sha"]),
            call.token.app,
            time.time(),
        )
        _fill(run, given)
        call.repository.check_runs[run.id] = run
        return call.github.shapes.check_run(call.repository, run), 201

    @api.route("GET", "/repos/<owner>/<repo>/check-runs/<int:check_run_id>", "checks:read")
    def one(call: Call, check_run_id: int) -> Json:
        return call.github.shapes.check_run(call.repository, _check_run(call, check_run_id))

    @api.route("PATCH", "/repos/<owner>/<repo>/check-runs/<int:check_run_id>", "checks:write")
    def edit(call: Call, check_run_id: int) -> Json:
        run = _check_run(call, check_run_id)
        _fill(run, call.optional_body())
        return call.github.shapes.check_run(call.repository, run)

    @api.route("GET", "/repos/<owner>/<repo>/commits/<sha>/check-runs", "checks:read")
    def of_commit(call: Call, sha: str) -> Json:
        full, name = _sha(call, sha), request.args.get("check_name")
        found = [
            run
            for run in call.repository.check_runs.values()
            if run.head_sha == full and name in (None, run.name)
        ]
        shapes = call.github.shapes
        shown = call.page(found, lambda run: shapes.check_run(call.repository, run))
        return {"total_count": len(found), "check_runs": shown}


def _check_run(call: Call, check_run_id: int) -> CheckRun:
    found = call.repository.check_runs.get(check_run_id)
    if found is None:
        raise ApiError(404, "Not Found")
    return found


def _fill(run: CheckRun, given: Json) -> None:
    conclusion = given.get("conclusion")
    if conclusion is not None and conclusion not in CONCLUSIONS:
        raise ApiError(422, f"Invalid request.\n\n{conclusion} is not a member of {list(CONCLUSIONS)}.")
    output = given.get("output")
    if output is not None and not {"title", "summary"} <= output.keys():
        raise ApiError(422, 'Invalid request.\n\n"title", "summary" weren\'t supplied.')
    run.name = given.get("name", run.name)
    run.status = given.get("status", run.status)
    run.details_url = given.get("details_url", run.details_url)
    run.external_id = given.get("external_id", run.external_id)
    run.actions = given.get("actions", run.actions)
    run.output = output or run.output
    if conclusion is not None:
        run.status, run.conclusion, run.completed_s = "completed", conclusion, time.time()


def _commit_statuses(api: Api) -> None:
    @api.route("GET", "/repos/<owner>/<repo>/commits/<sha>/statuses", "statuses:read")
    def statuses(call: Call, sha: str) -> list[Json]:
        full = _sha(call, sha)
        found = [one for one in reversed(call.repository.commit_statuses) if one.sha == full]
        return call.page(found, lambda one: call.github.shapes.commit_status(call.repository, one))

    @api.route("POST", "/repos/<owner>/<repo>/statuses/<sha>", "statuses:write")
    def create(call: Call, sha: str) -> tuple[Json, int]:
        given = call.body(state=str)
        if given["state"] not in STATUS_STATES:
            raise ApiError(
                422, "Validation Failed", [{"resource": "Status", "code": "invalid", "field": "state"}]
            )
        status = call.github.activity.commit_status(
            call.repository,
            _sha(call, sha),
            call.user,
            given["state"],
            given.get("context") or "default",
            given.get("description"),
            given.get("target_url"),
        )
        return call.github.shapes.commit_status(call.repository, status), 201


def _workflow_runs(api: Api) -> None:
    def shape(call: Call, run_id: int) -> Json:
        run = call.repository.workflow_runs.get(run_id)
        if run is None:
            raise ApiError(404, "Not Found")
        parts = call.github.events._workflow_parts(call.repository, run)
        return dict(parts["workflow_run"])

    @api.route("GET", "/repos/<owner>/<repo>/actions/runs/<int:run_id>", "actions:read")
    def one(call: Call, run_id: int) -> Json:
        return shape(call, run_id)

    @api.route("GET", "/repos/<owner>/<repo>/actions/runs", "actions:read")
    def runs(call: Call) -> Json:
        sha, branch = request.args.get("head_sha"), request.args.get("branch")
        found = [
            run.id
            for run in call.repository.workflow_runs.values()
            if sha in (None, run.head_sha) and branch in (None, run.head_branch)
        ]
        found.sort(reverse=True)
        return {"total_count": len(found), "workflow_runs": call.page(found, lambda one: shape(call, one))}
