"""The frame of the stand-in's REST API: sign-in, permissions, errors in GitHub's shape, paging."""

from __future__ import annotations

import json
import time
import urllib.parse
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import jwt
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from rehearsal.github_git import BareRepository
from rehearsal.github_shapes import Json
from rehearsal.github_state import App, PullRequest, Repository, Token, User, at_least

if TYPE_CHECKING:
    from rehearsal.github import GitHub

DOCS = "https://docs.github.com/rest"
RATE_LIMIT = 5000
T = TypeVar("T")


class ApiError(Exception):
    """An answer other than success, in GitHub's words."""

    def __init__(self, status: int, message: str, errors: list[Any] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, errors


@dataclass(slots=True)
class Call:
    """One request that was let through: who asks, about which repository, with what body."""

    github: GitHub
    token: Token | None = None
    app: App | None = None
    repository_or_none: Repository | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def repository(self) -> Repository:
        if self.repository_or_none is None:
            raise ApiError(404, "Not Found")
        return self.repository_or_none

    @property
    def git(self) -> BareRepository:
        return self.github.git(self.repository)

    @property
    def user(self) -> User:
        if self.token is None:
            raise ApiError(401, "Requires authentication")
        return self.token.user

    def body(self, **fields: type | tuple[type, ...]) -> Json:
        """The JSON object sent; each named field must be there and of that type, else 422."""
        given = self.optional_body()
        for name, wanted in fields.items():
            if name not in given:
                raise ApiError(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
            if not isinstance(given[name], wanted):
                raise ApiError(
                    422, f"Invalid request.\n\nFor 'properties/{name}', {given[name]!r} is not valid."
                )
        return given

    @staticmethod
    def optional_body() -> Json:
        raw = request.get_data()
        if not raw:
            return {}
        try:
            given = json.loads(raw)
        except ValueError as error:
            raise ApiError(400, "Problems parsing JSON") from error
        if not isinstance(given, dict):
            raise ApiError(400, "Body should be a JSON object")
        return given

    def page(self, items: Sequence[T], render: Callable[[T], Json]) -> list[Json]:
        """The part of a list that `page` and `per_page` ask for; the Link header names the others."""
        size = min(max(_number("per_page", 30), 1), 100)
        number = max(_number("page", 1), 1)
        last = max(1, -(-len(items) // size))
        links: dict[str, int] = {}
        if number < last:
            links |= {"next": number + 1, "last": last}
        if number > 1:
            links |= {"prev": min(number - 1, last), "first": 1}
        if links:
            self.headers["Link"] = ", ".join(
                f'<{self._page_url(page)}>; rel="{name}"' for name, page in links.items()
            )
        return [render(item) for item in items[(number - 1) * size : number * size]]

    def _page_url(self, page: int) -> str:
        query = {**request.args.to_dict(), "page": str(page)}
        return f"{self.github.url}{request.path}?{urllib.parse.urlencode(query)}"

    def pull(self, number: int) -> PullRequest:
        found = self.repository.pulls.get(number)
        if found is None:
            raise ApiError(404, "Not Found")
        return found


Handler = Callable[..., Any]


def _number(name: str, default: int) -> int:
    try:
        return int(request.args.get(name, default))
    except ValueError:
        return default


class Api:
    """Registers handlers; each says what it needs, such as `issues:write`, `app` (a JWT) or `user`."""

    def __init__(self, github: GitHub, prefix: str) -> None:
        self.github, self.prefix = github, prefix
        self.flask = Flask("rehearsal.github", static_folder=None)
        self.flask.url_map.strict_slashes = False
        self.operations: list[tuple[str, str]] = []
        self.flask.register_error_handler(HTTPException, self._unknown)

    def route(self, method: str, rule: str, needs: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            def view(**parts: Any) -> Response:
                return self._answer(handler, needs, parts)

            self.flask.add_url_rule(
                self.prefix + rule, endpoint=f"{method} {rule}", view_func=view, methods=[method]
            )
            self.operations.append((method.lower(), rule))
            return handler

        return register

    def _unknown(self, error: HTTPException) -> Response:
        return self._error(ApiError(error.code or 500, "Not Found" if error.code == 404 else error.name))

    def _answer(self, handler: Handler, needs: str, parts: dict[str, Any]) -> Response:
        call = Call(self.github)
        try:
            self._sign_in(call, needs)
            if "owner" in parts:
                call.repository_or_none = self._repository(call, parts.pop("owner"), parts.pop("repo"))
            self._permit(call, needs)
            result = handler(call, **parts)
        except ApiError as error:
            return self._finish(self._error(error), call)
        content, status = result if isinstance(result, tuple) else (result, 200)
        body = b"" if content is None else json.dumps(content, ensure_ascii=False).encode()
        answer = Response(body, status=status, content_type="application/json; charset=utf-8")
        if content is not None and request.method == "GET":
            answer.add_etag(weak=True)
            answer.make_conditional(request)
        return self._finish(answer, call)

    def _finish(self, answer: Response, call: Call) -> Response:
        for name, value in call.headers.items():
            answer.headers[name] = value
        answer.headers["X-GitHub-Media-Type"] = "github.v3; format=json"
        answer.headers["X-GitHub-Request-Id"] = uuid.uuid4().hex[:20].upper()
        answer.headers["X-RateLimit-Limit"] = str(RATE_LIMIT)
        answer.headers["X-RateLimit-Remaining"] = str(RATE_LIMIT - 1)
        answer.headers["X-RateLimit-Used"] = "1"
        answer.headers["X-RateLimit-Reset"] = str(int(time.time()) + 3600)
        answer.headers["X-RateLimit-Resource"] = "core"
        self.github.requests.append((request.method, request.path, answer.status_code))
        return answer

    @staticmethod
    def _error(error: ApiError) -> Response:
        shape: Json = {"message": error.message}
        if error.errors is not None:
            shape["errors"] = error.errors
        shape |= {"documentation_url": DOCS, "status": str(error.status)}
        return Response(
            json.dumps(shape), status=error.status, content_type="application/json; charset=utf-8"
        )

    def _sign_in(self, call: Call, needs: str) -> None:
        kind, _, secret = request.headers.get("Authorization", "").partition(" ")
        secret = secret.strip()
        if kind.lower() == "basic" and request.authorization is not None:
            secret = request.authorization.password or ""
        if needs == "app":
            call.app = self._app_of_jwt(secret)
            return
        if not secret:
            return
        call.token = self.github.valid_token(secret)
        if call.token is None:
            raise ApiError(401, "Bad credentials")

    def _app_of_jwt(self, secret: str) -> App:
        app = self.github.ledger.app
        if not secret or app is None:
            raise ApiError(401, "A JSON web token could not be decoded")
        try:
            claims = jwt.decode(
                secret,
                app.public_key_pem,
                algorithms=["RS256"],
                options={"require": ["exp", "iat", "iss"]},
                leeway=30,
            )
        except jwt.ExpiredSignatureError as error:
            raise ApiError(
                401,
                "'Expiration time' claim ('exp') must be a numeric value representing "
                "the future time at which the assertion expires",
            ) from error
        except jwt.InvalidTokenError as error:
            raise ApiError(401, "A JSON web token could not be decoded") from error
        if str(claims["iss"]) not in (str(app.id), app.client_id):
            raise ApiError(401, "'Issuer' claim ('iss') must be an Integer")
        if claims["exp"] > time.time() + 600 + 30:
            raise ApiError(401, "'Expiration time' claim ('exp') is too far in the future")
        return app

    def _repository(self, call: Call, owner: str, name: str) -> Repository:
        found = self.github.ledger.repository(owner, name)
        if found is None:
            raise ApiError(404, "Not Found")
        role = self.github.token_role(call.token, found) if call.token else "none"
        if found.private and call.app is None and role == "none":
            raise ApiError(404, "Not Found")
        return found

    def _permit(self, call: Call, needs: str) -> None:
        if needs in ("app", "anyone"):
            return
        if needs == "user":
            if call.token is None:
                raise ApiError(401, "Requires authentication")
            return
        *names, level = needs.replace(":", "|").split("|")
        repository = call.repository
        if call.token is None:
            if level == "read" and not repository.private:
                return
            raise ApiError(401, "Requires authentication")
        if call.token.app is not None:
            self._permit_app(call.token, repository, names, level)
        elif not at_least(repository.role_of(call.token.user.login), _role_needed(names, level)):
            raise ApiError(403, "Must have admin rights to Repository." if level == "write" else "Forbidden")

    def _permit_app(self, token: Token, repository: Repository, names: list[str], level: str) -> None:
        if level == "read" and not repository.private:
            return
        granted = [token.permissions.get(name) for name in names]
        enough = any(have == "write" or (have == "read" and level == "read") for have in granted)
        if not enough or not self.github.token_covers(token, repository):
            raise ApiError(403, "Resource not accessible by integration")


def _role_needed(names: list[str], level: str) -> str:
    """What a person's collaborator role must be; anyone who can read may comment and open pull requests."""
    if level == "read" or "issues" in names:
        return "read"
    return "write"


def rest_application(github: GitHub, prefix: str) -> Any:
    """The WSGI application of the whole REST API under `prefix`."""
    from rehearsal import (
        github_rest_app,
        github_rest_code,
        github_rest_conversation,
        github_rest_deploys,
        github_rest_pulls,
    )

    api = Api(github, prefix)
    for part in (
        github_rest_app,
        github_rest_code,
        github_rest_pulls,
        github_rest_conversation,
        github_rest_deploys,
    ):
        part.register(api)
    github.operations = tuple(api.operations)
    return api.flask
