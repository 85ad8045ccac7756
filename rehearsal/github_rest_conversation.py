"""REST answers about the conversation of a pull request: the issue it is, comments, reactions, labels."""

from __future__ import annotations

from flask import request

from rehearsal.github_activity import COMMENT_LIMIT
from rehearsal.github_rest import Api, ApiError, Call
from rehearsal.github_shapes import Json
from rehearsal.github_shapes_work import REACTIONS
from rehearsal.github_state import Comment, Label, at_least

READ, WRITE = "issues|pull_requests:read", "issues|pull_requests:write"


def register(api: Api) -> None:
    _issue(api)
    _comments(api)
    _reactions(api)


def _text(call: Call) -> str:
    body = call.body(body=str)["body"]
    if not body.strip():
        problem = {"resource": "IssueComment", "code": "missing_field", "field": "body"}
        raise ApiError(422, "Validation Failed", [problem])
    if len(body) > COMMENT_LIMIT:
        problem = {
            "resource": "IssueComment",
            "code": "custom",
            "field": "body",
            "message": f"body is too long (maximum is {COMMENT_LIMIT} characters)",
        }
        raise ApiError(422, "Validation Failed", [problem])
    return str(body)


def _comment(call: Call, comment_id: int) -> Comment:
    found = call.repository.comments.get(comment_id)
    if found is None:
        raise ApiError(404, "Not Found")
    return found


def _own(call: Call, comment: Comment) -> Comment:
    """A comment the caller may change: its own, or anyone's for a person with write access."""
    if comment.author.login == call.user.login:
        return comment
    by_app = call.token is not None and call.token.app is not None
    if by_app or not at_least(call.repository.role_of(call.user.login), "write"):
        raise ApiError(403, "Resource not accessible by integration" if by_app else "Forbidden")
    return comment


def _issue(api: Api) -> None:
    @api.route("GET", "/repos/<owner>/<repo>/issues/<int:number>", READ)
    def issue(call: Call, number: int) -> Json:
        return call.github.shapes.issue(call.repository, call.pull(number))

    @api.route("GET", "/repos/<owner>/<repo>/issues/<int:number>/labels", READ)
    def labels(call: Call, number: int) -> list[Json]:
        shapes = call.github.shapes
        return call.page(
            call.pull(number).labels,
            lambda name: shapes.label(call.repository, call.repository.labels[name]),
        )

    @api.route("POST", "/repos/<owner>/<repo>/issues/<int:number>/labels", WRITE)
    def add_labels(call: Call, number: int) -> list[Json]:
        given, pull = call.body(labels=list), call.pull(number)
        for name in given["labels"]:
            label = call.repository.labels.setdefault(name, Label(call.github.ledger.next_id(), name))
            if label.name not in pull.labels:
                pull.labels.append(label.name)
        return [call.github.shapes.label(call.repository, call.repository.labels[n]) for n in pull.labels]


def _comments(api: Api) -> None:
    @api.route("GET", "/repos/<owner>/<repo>/issues/<int:number>/comments", READ)
    def comments(call: Call, number: int) -> list[Json]:
        call.pull(number)
        return call.page(
            call.repository.comments_on(number),
            lambda one: call.github.shapes.comment(call.repository, one),
        )

    @api.route("POST", "/repos/<owner>/<repo>/issues/<int:number>/comments", WRITE)
    def write(call: Call, number: int) -> tuple[Json, int]:
        text, pull = _text(call), call.pull(number)
        via = call.token.app if call.token else None
        comment = call.github.activity.comment(call.repository, pull, call.user, text, via)
        return call.github.shapes.comment(call.repository, comment), 201

    @api.route("GET", "/repos/<owner>/<repo>/issues/comments/<int:comment_id>", READ)
    def one(call: Call, comment_id: int) -> Json:
        return call.github.shapes.comment(call.repository, _comment(call, comment_id))

    @api.route("PATCH", "/repos/<owner>/<repo>/issues/comments/<int:comment_id>", WRITE)
    def edit(call: Call, comment_id: int) -> Json:
        comment = _own(call, _comment(call, comment_id))
        call.github.activity.edit_comment(call.repository, comment, _text(call), call.user)
        return call.github.shapes.comment(call.repository, comment)

    @api.route("DELETE", "/repos/<owner>/<repo>/issues/comments/<int:comment_id>", WRITE)
    def delete(call: Call, comment_id: int) -> tuple[None, int]:
        comment = _own(call, _comment(call, comment_id))
        call.github.activity.delete_comment(call.repository, comment, call.user)
        return None, 204


def _reactions(api: Api) -> None:
    rule = "/repos/<owner>/<repo>/issues/comments/<int:comment_id>/reactions"

    @api.route("GET", rule, READ)
    def reactions(call: Call, comment_id: int) -> list[Json]:
        wanted = request.args.get("content")
        found = [one for one in _comment(call, comment_id).reactions if wanted in (None, one.content)]
        return call.page(found, call.github.shapes.reaction)

    @api.route("POST", rule, WRITE)
    def react(call: Call, comment_id: int) -> tuple[Json, int]:
        content = call.body(content=str)["content"]
        if content not in REACTIONS:
            raise ApiError(
                422, "Validation Failed", [{"resource": "Reaction", "code": "invalid", "field": "content"}]
            )
        reaction, new = call.github.activity.react(_comment(call, comment_id), call.user, content)
        return call.github.shapes.reaction(reaction), 201 if new else 200
