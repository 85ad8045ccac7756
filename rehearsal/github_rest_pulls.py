"""REST and GraphQL answers about pull requests: list, open, edit, merge, auto-merge, commits, files."""

from __future__ import annotations

import time

from flask import request

from rehearsal.github_pulls import MERGE_METHODS, CannotMerge
from rehearsal.github_rest import Api, ApiError, Call
from rehearsal.github_shapes import Json
from rehearsal.github_state import PullRequest, Repository, at_least, node_id


def register(api: Api) -> None:
    _list_and_open(api)
    _one(api)
    _merge(api)
    _graphql(api)


def _invalid(resource: str, field: str, message: str | None = None) -> ApiError:
    problem = {"resource": resource, "field": field, "code": "custom" if message else "invalid"}
    return ApiError(422, "Validation Failed", [problem | ({"message": message} if message else {})])


def _list_and_open(api: Api) -> None:
    @api.route("GET", "/repos/<owner>/<repo>/pulls", "pull_requests:read")
    def pulls(call: Call) -> list[Json]:
        state = request.args.get("state", "open")
        head, base = request.args.get("head"), request.args.get("base")
        owner = call.repository.owner.login
        oldest_first = request.args.get("direction", "desc") == "asc"
        found = [
            pull
            for pull in call.repository.pulls.values()
            if (state == "all" or pull.state == state)
            and (not head or head == f"{owner}:{pull.head_ref}")
            and (not base or base == pull.base_ref)
        ]
        found.sort(key=lambda pull: pull.number, reverse=not oldest_first)
        return call.page(found, lambda pull: call.github.shapes.pull_simple(call.repository, pull))

    @api.route("POST", "/repos/<owner>/<repo>/pulls", "pull_requests:write")
    def open_pull(call: Call) -> tuple[Json, int]:
        given = call.body(head=str, base=str)
        if not given.get("title"):
            raise ApiError(422, 'Invalid request.\n\n"title" wasn\'t supplied.')
        head = given["head"].removeprefix(f"{call.repository.owner.login}:")
        try:
            pull = call.github.pulls.open(
                call.repository,
                call.user,
                head=head,
                base=given["base"],
                title=given["title"],
                body=given.get("body"),
                draft=bool(given.get("draft", False)),
            )
        except ValueError as refused:
            text = str(refused)
            if text in ("head", "base"):
                raise _invalid("PullRequest", text) from refused
            problem = {"resource": "PullRequest", "code": "custom", "message": text}
            raise ApiError(422, "Validation Failed", [problem]) from refused
        return call.github.pulls.shape(call.repository, pull), 201


def _one(api: Api) -> None:
    @api.route("GET", "/repos/<owner>/<repo>/pulls/<int:number>", "pull_requests:read")
    def pull(call: Call, number: int) -> Json:
        return call.github.pulls.shape(call.repository, call.pull(number))

    @api.route("PATCH", "/repos/<owner>/<repo>/pulls/<int:number>", "pull_requests:write")
    def edit(call: Call, number: int) -> Json:
        given, pull = call.optional_body(), call.pull(number)
        if given.get("state") not in (None, "open", "closed"):
            raise _invalid("PullRequest", "state")
        pull.title = given.get("title") or pull.title
        pull.body = given.get("body", pull.body)
        pull.updated_s = time.time()
        if given.get("state") == "closed":
            call.github.pulls.close(call.repository, pull, call.user)
        return call.github.pulls.shape(call.repository, pull)

    @api.route("GET", "/repos/<owner>/<repo>/pulls/<int:number>/commits", "pull_requests:read")
    def commits(call: Call, number: int) -> list[Json]:
        people = call.github.people()
        found = call.github.pulls.commits(call.repository, call.pull(number))
        return call.page(found, lambda one: call.github.shapes.commit(call.repository, one, people))

    @api.route("GET", "/repos/<owner>/<repo>/pulls/<int:number>/files", "pull_requests:read")
    def files(call: Call, number: int) -> list[Json]:
        pull = call.pull(number)
        start = call.github.pulls.fork_point(call.repository, pull)
        found = call.git.changed_files(start, pull.head_sha)
        return call.page(found, lambda one: call.github.shapes.file(call.repository, one, pull.head_sha))


def _merge(api: Api) -> None:
    @api.route("GET", "/repos/<owner>/<repo>/pulls/<int:number>/merge", "pull_requests:read")
    def is_merged(call: Call, number: int) -> tuple[None, int]:
        if not call.pull(number).merged:
            raise ApiError(404, "Not Found")
        return None, 204

    @api.route("PUT", "/repos/<owner>/<repo>/pulls/<int:number>/merge", "contents:write")
    def merge(call: Call, number: int) -> Json:
        given = call.optional_body()
        method = given.get("merge_method") or "merge"
        if method not in MERGE_METHODS:
            raise _invalid("PullRequest", "merge_method")
        call.pull(number)
        try:
            merged = call.github.pulls.merge(
                call.repository,
                number,
                call.user,
                method=method,
                title=given.get("commit_title"),
                message=given.get("commit_message"),
                expected_head=given.get("sha"),
            )
        except CannotMerge as refused:
            raise ApiError(refused.status, refused.reason) from refused
        return {"sha": merged.sha, "merged": True, "message": "Pull Request successfully merged"}


def _graphql(api: Api) -> None:
    """The one mutation REST has no twin of; anything else is an error in GraphQL's shape."""

    def answer(call: Call) -> Json:
        given = call.body(query=str)
        variables = given.get("variables") or {}
        asked = variables.get("input") or variables
        if "enablePullRequestAutoMerge" not in given["query"]:
            return {
                "data": None,
                "errors": [{"type": "NOT_FOUND", "message": "Only auto-merge is played here."}],
            }
        problem = _auto_merge(call, asked)
        if problem:
            return {
                "data": {"enablePullRequestAutoMerge": None},
                "errors": [
                    {"type": "UNPROCESSABLE", "path": ["enablePullRequestAutoMerge"], "message": problem}
                ],
            }
        user = call.github.shapes.user(call.user)
        actor = {
            "login": call.user.login,
            "avatarUrl": user["avatar_url"],
            "resourcePath": f"/{call.user.login}",
            "url": user["html_url"],
        }
        answered = {"actor": actor, "clientMutationId": asked.get("clientMutationId")}
        answered["pullRequest"] = {"id": asked.get("pullRequestId")}
        return {"data": {"enablePullRequestAutoMerge": answered}}

    api.route("POST", "/graphql", "user")(answer)
    api.flask.add_url_rule(
        "/api/graphql", "graphql-enterprise", lambda: api._answer(answer, "user", {}), methods=["POST"]
    )


def _auto_merge(call: Call, asked: Json) -> str | None:
    """Switch auto-merge on; the sentence GitHub answers when it may not be."""
    found = _pull_of_node(call, str(asked.get("pullRequestId")))
    if found is None:
        return f"Could not resolve to a node with the global id of '{asked.get('pullRequestId')}'"
    repository, pull = found
    token = call.token
    if token is None or not at_least(call.github.token_role(token, repository), "write"):
        return "Resource not accessible by integration"
    if not repository.allow_auto_merge:
        return "Pull request Auto merge is not allowed for this repository"
    if pull.draft:
        return "Pull request is in draft state"
    if pull.base_ref not in repository.protected:
        return "Pull request is in clean status"
    method = str(asked.get("mergeMethod") or "MERGE").lower()
    call.github.pulls.enable_auto_merge(repository, pull, call.user, method)
    return None


def _pull_of_node(call: Call, node: str) -> tuple[Repository, PullRequest] | None:
    for repository in call.github.ledger.repositories.values():
        for pull in repository.pulls.values():
            if node_id("PullRequest", pull.id) == node:
                return repository, pull
    return None
