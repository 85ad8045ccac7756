"""REST answers about the App, its installation and tokens, its webhook deliveries, people and rate limits."""

from __future__ import annotations

import time
from typing import Any

from rehearsal.github_rest import RATE_LIMIT, Api, ApiError, Call
from rehearsal.github_shapes import Json
from rehearsal.github_state import App, iso


def register(api: Api) -> None:
    _the_app(api)
    _deliveries(api)
    _people(api)


def _app(call: Call) -> App:
    if call.app is None:
        raise ApiError(401, "A JSON web token could not be decoded")
    return call.app


def _the_app(api: Api) -> None:
    @api.route("GET", "/app", "app")
    def the_app(call: Call) -> Json:
        return {**call.github.shapes.app(_app(call)), "installations_count": 1}

    @api.route("GET", "/app/installations", "app")
    def installations(call: Call) -> list[Json]:
        return call.page([_app(call)], call.github.shapes.installation)

    @api.route("GET", "/app/installations/<int:installation_id>", "app")
    def installation(call: Call, installation_id: int) -> Json:
        return call.github.shapes.installation(_installed(call, installation_id))

    @api.route("GET", "/repos/<owner>/<repo>/installation", "app")
    def installation_of_repository(call: Call) -> Json:
        app = _app(call)
        if call.repository.owner is not app.owner:
            raise ApiError(404, "Not Found")
        return call.github.shapes.installation(app)

    @api.route("POST", "/app/installations/<int:installation_id>/access_tokens", "app")
    def access_token(call: Call, installation_id: int) -> tuple[Json, int]:
        return _new_token(call, _installed(call, installation_id)), 201

    @api.route("GET", "/installation/repositories", "user")
    def repositories(call: Call) -> Json:
        token = call.token
        if token is None or token.app is None:
            raise ApiError(
                403,
                "You must authenticate with an installation access token in order to list "
                "repositories for an installation.",
            )
        found = [
            one for one in call.github.ledger.repositories.values() if call.github.token_covers(token, one)
        ]
        shapes = call.github.shapes
        return {
            "total_count": len(found),
            "repositories": call.page(found, shapes.repository),
            "repository_selection": "all",
        }


def _installed(call: Call, installation_id: int) -> App:
    app = _app(call)
    if installation_id != app.installation_id:
        raise ApiError(404, "Not Found")
    return app


def _new_token(call: Call, app: App) -> Json:
    wanted = call.optional_body()
    permissions = wanted.get("permissions") or dict(app.permissions)
    for name, level in permissions.items():
        have = app.permissions.get(name)
        if have is None or (level == "write" and have != "write"):
            raise ApiError(422, "The permissions requested are not granted to this installation.")
    names, ids = wanted.get("repositories"), wanted.get("repository_ids")
    covered = None
    chosen = [one for one in call.github.ledger.repositories.values() if one.owner is app.owner]
    if names is not None or ids is not None:
        chosen = [one for one in chosen if one.name in (names or []) or one.id in (ids or [])]
        if len(chosen) < len(names or []) + len(ids or []):
            raise ApiError(
                422,
                "There is at least one repository that does not exist or is not accessible "
                "to the parent installation.",
            )
        covered = frozenset(one.id for one in chosen)
    token = call.github.installation_token(app, {"metadata": "read", **permissions}, covered)
    answer: Json = {
        "token": token.secret,
        "expires_at": iso(token.expires_s),
        "permissions": token.permissions,
        "repository_selection": "all" if covered is None else "selected",
    }
    if covered is not None:
        answer["repositories"] = [call.github.shapes.repository(one) for one in chosen]
    return answer


def _deliveries(api: Api) -> None:
    @api.route("GET", "/app/hook/config", "app")
    def config(call: Call) -> Json:
        return {
            "content_type": "json",
            "insecure_ssl": "0",
            "secret": "********",
            "url": call.github.webhooks.url or "",
        }

    @api.route("GET", "/app/hook/deliveries", "app")
    def deliveries(call: Call) -> list[Json]:
        return call.page(list(reversed(call.github.webhooks.deliveries)), lambda one: one.item())

    @api.route("GET", "/app/hook/deliveries/<int:delivery_id>", "app")
    def delivery(call: Call, delivery_id: int) -> Json:
        for one in call.github.webhooks.deliveries:
            if one.id == delivery_id:
                return one.whole()
        raise ApiError(404, "Not Found")

    @api.route("POST", "/app/hook/deliveries/<int:delivery_id>/attempts", "app")
    def redeliver(call: Call, delivery_id: int) -> tuple[Json, int]:
        if call.github.webhooks.redeliver(delivery_id) is None:
            raise ApiError(404, "Not Found")
        return {}, 202


def _people(api: Api) -> None:
    @api.route("GET", "/user", "user")
    def me(call: Call) -> Json:
        if call.token is not None and call.token.app is not None:
            raise ApiError(403, "Resource not accessible by integration")
        return call.github.shapes.public_user(call.user)

    @api.route("GET", "/users/<username>", "anyone")
    def user(call: Call, username: str) -> Json:
        known = call.github.ledger.users.get(username.lower())
        if known is None:
            raise ApiError(404, "Not Found")
        return call.github.shapes.public_user(known)

    @api.route("GET", "/orgs/<org>/teams/<team_slug>/memberships/<username>", "user")
    def membership(call: Call, org: str, team_slug: str, username: str) -> Json:
        token = call.token
        if token is not None and token.app is not None and "members" not in token.permissions:
            raise ApiError(403, "Resource not accessible by integration")
        members = call.github.ledger.teams.get(f"{org}/{team_slug}".lower(), {})
        state = next((members[login] for login in members if login.lower() == username.lower()), None)
        if state is None:
            raise ApiError(404, "Not Found")
        url = f"{call.github.api_url}/organizations/1/team/1/memberships/{username}"
        return {"state": state, "role": "member", "url": url}

    @api.route("GET", "/rate_limit", "anyone")
    def rate_limit(call: Call) -> Json:
        reset = int(time.time()) + 3600
        rate: dict[str, Any] = {"limit": RATE_LIMIT, "used": 1, "remaining": RATE_LIMIT - 1, "reset": reset}
        search = {"limit": 30, "used": 0, "remaining": 30, "reset": reset}
        return {"resources": {"core": rate, "search": search, "graphql": rate}, "rate": rate}
