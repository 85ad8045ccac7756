"""Every answer of the stand-in GitHub is held against GitHub's own description of that operation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from tests.patience import PATIENCE_S
from tests.rehearsal_openapi import description, shape_of
from tests.rehearsal_worlds import Played, play_github

REPO = "/repos/<owner>/<repo>"
NOT_DESCRIBED = {("post", "/graphql"), ("get", "/repos/{}/{}/contents")}
"""GraphQL is not REST; the root folder's list is described as the list of any folder."""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    one = play_github(Path(tmp_path_factory.mktemp("openapi")))
    yield one
    one.github.stop()


class Caller:
    """Asks the API, remembers which operations were asked and what was wrong with the answers."""

    def __init__(self, played: Played) -> None:
        self.played = played
        self.asked: set[tuple[str, str]] = set()
        self.problems: list[str] = []
        self.person = played.github.personal_token("max")
        now = int(time.time())
        claims = {"iat": now - 60, "exp": now + 500, "iss": str(played.app.id)}
        self.jwt = jwt.encode(claims, played.private_key, algorithm="RS256")
        self.installation = self._new_installation_token()

    def _new_installation_token(self) -> str:
        rule = "/app/installations/<int:installation_id>/access_tokens"
        path = f"/app/installations/{self.played.app.installation_id}/access_tokens"
        return str(self("post", rule, path, token=self.jwt, wanted=201)["token"])

    def __call__(
        self, method: str, rule: str, path: str, *, token: str | None = None, wanted: int = 200, **body: Any
    ) -> Any:
        sent = requests.request(
            method,
            self.played.github.api_url + path,
            json=body or None,
            headers={"Authorization": f"Bearer {token or self.person}"},
            timeout=PATIENCE_S,
        )
        assert sent.status_code == wanted, f"{method} {path}: {sent.status_code} {sent.text[:500]}"
        self.asked.add((method, rule))
        content = sent.json() if sent.content else None
        self.problems += description().problems(method, rule, sent.status_code, content)
        return content

    def repo(self, method: str, rule: str, path: str, **more: Any) -> Any:
        return self(method, REPO + rule, f"/repos/acme/stagelog{path}", **more)


def test_every_operation_answers_as_github_describes_it(played: Played) -> None:
    description()
    call = Caller(played)
    _ask_about_the_app(call)
    _ask_about_code(call)
    number = _ask_about_pulls(call)
    _ask_about_the_conversation(call, number)
    _ask_about_deploys(call)
    assert call.problems == []
    served = {(method, shape_of(rule)) for method, rule in played.github.operations}
    asked = {(method, shape_of(rule)) for method, rule in call.asked} | NOT_DESCRIBED
    assert served - asked == set(), "these operations are served but were not checked"


def _ask_about_the_app(call: Caller) -> None:
    app = call.played.app
    call("get", "/app", "/app", token=call.jwt)
    call("get", "/app/installations", "/app/installations", token=call.jwt)
    call(
        "get",
        "/app/installations/<int:installation_id>",
        f"/app/installations/{app.installation_id}",
        token=call.jwt,
    )
    call.repo("get", "/installation", "/installation", token=call.jwt)
    selected = call(
        "post",
        "/app/installations/<int:installation_id>/access_tokens",
        f"/app/installations/{app.installation_id}/access_tokens",
        token=call.jwt,
        wanted=201,
        repositories=["stagelog"],
        permissions={"contents": "read"},
    )
    assert selected["repositories"][0]["full_name"] == "acme/stagelog"
    call("get", "/installation/repositories", "/installation/repositories", token=call.installation)
    hooks = call.played.github.webhooks
    hooks.configure("http://127.0.0.1:9/nobody", "secret", hook_id=1, target_id=app.id)
    call.played.github.events.ping()
    while not hooks.idle():
        time.sleep(0.02)
    call("get", "/app/hook/config", "/app/hook/config", token=call.jwt)
    listed = call("get", "/app/hook/deliveries", "/app/hook/deliveries", token=call.jwt)
    path = f"/app/hook/deliveries/{listed[0]['id']}"
    call("get", "/app/hook/deliveries/<int:delivery_id>", path, token=call.jwt)
    rule = "/app/hook/deliveries/<int:delivery_id>/attempts"
    call("post", rule, f"{path}/attempts", token=call.jwt, wanted=202)
    call("get", "/user", "/user")
    call("get", "/users/<username>", "/users/dana")
    call.played.github.ledger.teams["acme/oncall"] = {"lee": "active"}
    rule = "/orgs/<org>/teams/<team_slug>/memberships/<username>"
    call("get", rule, "/orgs/acme/teams/oncall/memberships/lee", token=call.installation)
    call("get", rule, "/orgs/acme/teams/oncall/memberships/dana", wanted=404)
    call("get", "/rate_limit", "/rate_limit")


def _ask_about_code(call: Caller) -> None:
    base, feature = call.played.base, call.played.feature
    call.repo("get", "", "")
    call.repo("get", "/branches", "/branches")
    call.repo("get", "/branches/<path:branch>", "/branches/feature/x")
    call.played.github.protect(call.played.repository, "feature/x", required_checks=("ci",))
    call.repo("get", "/branches/<path:branch>", "/branches/feature/x")
    call.repo("get", "/git/ref/<path:ref>", "/git/ref/heads/develop")
    call.repo("get", "/collaborators/<username>/permission", "/collaborators/lee/permission")
    call.repo("post", "/labels", "/labels", wanted=201, name="rollback", color="ff0000")
    call.repo("get", "/labels", "/labels")
    call.repo("get", "/commits", "/commits?sha=feature/x")
    call.repo("get", "/commits/<path:ref>", f"/commits/{feature}")
    call.repo("get", "/commits/<path:ref>", f"/commits/{base}")
    call.repo("get", "/git/commits/<sha>", f"/git/commits/{feature}")
    call.repo("get", "/compare/<path:basehead>", f"/compare/{base}...{feature}")
    call.repo("get", "/contents/<path:path>", "/contents/a.txt")
    call.repo("get", "/contents/<path:path>", "/contents/b.txt?ref=feature/x")
    assert [one["name"] for one in call.repo("get", "/contents/<path:path>", "/contents/")] == ["a.txt"]


def _ask_about_pulls(call: Caller) -> int:
    created = call.repo(
        "post",
        "/pulls",
        "/pulls",
        wanted=201,
        token=call.installation,
        title="Revert",
        head="feature/x",
        base="develop",
        body="Why",
        draft=True,
    )
    number = int(created["number"])
    assert created["draft"] is True and created["user"]["type"] == "Bot"
    call.repo("get", "/pulls", "/pulls?state=all")
    call.repo("get", "/pulls/<int:number>", f"/pulls/{number}")
    call.repo("patch", "/pulls/<int:number>", f"/pulls/{number}", title="Revert it")
    call.repo("get", "/pulls/<int:number>/commits", f"/pulls/{number}/commits")
    call.repo("get", "/pulls/<int:number>/files", f"/pulls/{number}/files")
    call.repo("get", "/pulls/<int:number>/merge", f"/pulls/{number}/merge", wanted=404)
    rule = "/pulls/<int:number>/merge"
    call.repo("put", rule, f"/pulls/{number}/merge", wanted=405)
    call.played.repository.pulls[number].draft = False
    merged = call.repo("put", rule, f"/pulls/{number}/merge", merge_method="merge")
    call.repo("get", rule, f"/pulls/{number}/merge", wanted=204)
    call.repo("get", "/commits/<sha>/pulls", f"/commits/{merged['sha']}/pulls")
    call.repo("get", "/pulls/<int:number>", f"/pulls/{number}")
    return number


def _ask_about_the_conversation(call: Caller, number: int) -> None:
    call.repo("get", "/issues/<int:number>", f"/issues/{number}")
    rule = "/issues/<int:number>/labels"
    call.repo("post", rule, f"/issues/{number}/labels", labels=["rollback"])
    call.repo("get", rule, f"/issues/{number}/labels")
    rule, path = "/issues/<int:number>/comments", f"/issues/{number}/comments"
    comment = call.repo("post", rule, path, wanted=201, token=call.installation, body="Rolled back.")
    assert comment["user"]["login"] == "rollback-bot[bot]"
    assert comment["performed_via_github_app"]["slug"] == "rollback-bot"
    call.repo("get", rule, path)
    one, where = "/issues/comments/<int:comment_id>", f"/issues/comments/{comment['id']}"
    call.repo("get", one, where)
    call.repo("patch", one, where, token=call.installation, body="Recovered.")
    call.repo("post", one + "/reactions", where + "/reactions", wanted=201, content="eyes")
    call.repo("post", one + "/reactions", where + "/reactions", wanted=200, content="eyes")
    call.repo("get", one + "/reactions", where + "/reactions")
    call.repo("delete", one, where, wanted=204)
    call.repo("get", one, where, wanted=404)


def _ask_about_deploys(call: Caller) -> None:
    played = call.played
    created = call.repo("post", "/deployments", "/deployments", wanted=201, ref="develop", environment="dev")
    call.repo("get", "/deployments", "/deployments?environment=dev")
    rule, path = "/deployments/<int:deployment_id>", f"/deployments/{created['id']}"
    call.repo("get", rule, path)
    call.repo("post", rule + "/statuses", path + "/statuses", wanted=201, state="success")
    call.repo("get", rule + "/statuses", path + "/statuses")
    sha = played.base
    run = call.repo(
        "post",
        "/check-runs",
        "/check-runs",
        wanted=201,
        token=call.installation,
        name="rollback/freeze",
        head_sha=sha,
        status="in_progress",
        output={"title": "Frozen", "summary": "Why"},
    )
    rule, path = "/check-runs/<int:check_run_id>", f"/check-runs/{run['id']}"
    call.repo("patch", rule, path, token=call.installation, conclusion="failure")
    call.repo("get", rule, path)
    call.repo("get", "/commits/<sha>/check-runs", f"/commits/{sha}/check-runs")
    call.repo("post", "/statuses/<sha>", f"/statuses/{sha}", wanted=201, state="pending", context="ci")
    call.repo("get", "/commits/<sha>/statuses", f"/commits/{sha}/statuses")
    github = played.github
    made = github.activity.workflow_run(played.repository, "Deploy", sha, "develop", github.user("dana"))
    github.activity.workflow_progress(played.repository, made, "success")
    call.repo("get", "/actions/runs/<int:run_id>", f"/actions/runs/{made.id}")
    call.repo("get", "/actions/runs", "/actions/runs")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/repos/acme/nowhere", 404),
        ("get", "/repos/acme/stagelog/pulls/999", 404),
        ("get", "/repos/acme/stagelog/commits/" + "0" * 40, 422),
        ("get", "/repos/acme/stagelog/contents/nope.txt", 404),
        ("get", "/nothing/here", 404),
    ],
)
def test_errors_have_github_s_shape(played: Played, method: str, path: str, status: int) -> None:
    token = played.github.personal_token("max")
    answer = requests.request(
        method, played.github.api_url + path, headers={"Authorization": f"token {token}"}, timeout=PATIENCE_S
    )
    assert answer.status_code == status
    assert {"message", "documentation_url", "status"} <= answer.json().keys()
    assert answer.json()["status"] == str(status)
