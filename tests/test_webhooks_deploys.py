"""POST /webhooks/deploys: any CD tool may tell about its deploys, if it signs time and body."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.deliveries import DEPLOY_SECRET, SECRET, Web, deploy_headers, open_web, signature

SHA = "ab" * 20
MESSAGE: dict[str, Any] = {
    "repository": "acme/stagelog",
    "environment": "develop",
    "sha": SHA,
    "branch": "develop",
    "status": "succeeded",
    "id": "build-17",
    "url": "https://develop.example.com/",
}


@pytest.mark.parametrize(
    ("status", "action", "workflow"),
    [("started", "baseline", "deploy_started"), ("succeeded", "guard", "guard"), ("failed", "note", None)],
)
def test_each_status_has_its_work(web: Web, status: str, action: str, workflow: str | None) -> None:
    answer = web.deploys({**MESSAGE, "status": status})
    assert (answer.status_code, answer.get_json()["action"]) == (202, action)
    assert [name for name, _, _ in web.work()] == ([workflow] if workflow else [])
    (heard,) = web.store.deploys_heard("acme/stagelog:develop")
    assert (str(heard.status), heard.deploy.sha, heard.deploy.source) == (status, SHA, "webhook")
    assert abs(heard.deploy.completed_at_s - time.time()) < 60


def test_the_guard_knows_when_the_deploy_started(web: Web) -> None:
    web.deploys({**MESSAGE, "status": "started"})
    web.deploys(MESSAGE)
    deploys = {name: deploy for name, _, deploy in web.work()}
    assert deploys["guard"]["started_at_s"] == deploys["deploy_started"]["completed_at_s"]
    assert deploys["guard"]["url"] == "https://develop.example.com/"


@pytest.mark.parametrize("left_out", ["branch", "url"])
def test_branch_and_url_may_be_left_out_or_null(web: Web, left_out: str) -> None:
    assert web.deploys({**MESSAGE, left_out: None}).status_code == 202
    rest = {key: value for key, value in MESSAGE.items() if key != left_out}
    assert web.deploys({**rest, "id": 18}).status_code == 202
    assert [deploy[left_out] for _, _, deploy in web.work()] == [None, None]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("status", "done", "status must be"),
        ("status", None, "status must be"),
        ("id", None, "id must name"),
        ("id", "", "id must name"),
        ("id", "-x", "id must name"),
        ("id", "x" * 129, "id must name"),
        ("id", "a\nRollback-Deploy: b", "id must name"),
        ("id", True, "id must name"),
        ("environment", "", "environment"),
        ("environment", 7, "environment"),
        ("repository", "stagelog", "no usable repository"),
        ("repository", None, "no usable repository"),
        ("sha", "abc123", "commit id"),
        ("sha", "main", "commit id"),
    ],
)
def test_what_is_wrong_is_said_by_name(web: Web, key: str, value: object, says: str) -> None:
    answer = web.deploys({**MESSAGE, key: value})
    assert answer.status_code == 400
    assert says in answer.get_json()["error"]
    assert web.delivered() == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"a":' * 9999])
def test_what_is_no_json_object_is_400(web: Web, body: bytes) -> None:
    assert web.deploys(body).status_code == 400


def test_a_form_is_400_here(web: Web) -> None:
    assert web.deploys(MESSAGE, {"Content-Type": "application/x-www-form-urlencoded"}).status_code == 400


BODY = json.dumps(MESSAGE).encode()
NOW = str(int(time.time()))


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Rollback-Signature-256": None},
        {"X-Rollback-Timestamp": None},
        {"X-Rollback-Timestamp": "", "X-Rollback-Signature-256": signature(b"." + BODY, DEPLOY_SECRET)},
        {"X-Rollback-Timestamp": NOW, "X-Rollback-Signature-256": signature(BODY, DEPLOY_SECRET)},
        {
            "X-Rollback-Timestamp": NOW,
            "X-Rollback-Signature-256": signature(NOW.encode() + b"." + BODY, SECRET),
        },
        {
            "X-Rollback-Timestamp": NOW,
            "X-Rollback-Signature-256": signature(NOW.encode() + BODY, DEPLOY_SECRET),
        },
        deploy_headers(BODY, time.time() - 1000),
        deploy_headers(BODY, time.time() + 1000),
        deploy_headers(BODY, 0),
        {**deploy_headers(BODY, time.time() - 1000), "X-Rollback-Timestamp": NOW},
        {"X-Rollback-Timestamp": "1e9", "X-Rollback-Signature-256": signature(b"1e9." + BODY, DEPLOY_SECRET)},
        {"X-Rollback-Timestamp": "\u0661", "X-Rollback-Signature-256": "sha256=0"},
        {"X-Rollback-Timestamp": "9" * 5000, "X-Rollback-Signature-256": "sha256=0"},
    ],
)
def test_nobody_is_heard_without_a_fresh_signature(web: Web, headers: dict[str, str | None]) -> None:
    answer = web.deploys(BODY, headers)
    assert answer.status_code == 401
    assert web.delivered() == 0


@pytest.mark.parametrize("age_s", [-290, 0, 290])
def test_five_minutes_of_difference_are_allowed(web: Web, age_s: int) -> None:
    assert web.deploys(BODY, dict(deploy_headers(BODY, time.time() - age_s))).status_code == 202


def test_a_copy_of_a_message_has_no_further_effect(web_on_each: Web) -> None:
    headers = dict(deploy_headers(BODY))
    answers = [web_on_each.deploys(BODY, headers) for _ in range(3)]
    assert {(answer.status_code, answer.data) for answer in answers} == {(202, answers[0].data)}
    assert (web_on_each.delivered(), len(web_on_each.work())) == (1, 1)


def test_the_same_deploy_said_again_later_has_none_either(web: Web) -> None:
    for age_s in (2, 1, 0):
        web.deploys(BODY, dict(deploy_headers(BODY, time.time() - age_s)))
    assert (web.delivered(), len(web.work())) == (3, 1)


def test_without_a_secret_it_is_off(sqlite_url: str) -> None:
    web = open_web(sqlite_url, DEPLOY_WEBHOOK_SECRET="")
    answer = web.deploys(MESSAGE)
    assert answer.status_code == 404
    assert "DEPLOY_WEBHOOK_SECRET" in answer.get_json()["error"]
    assert (
        web.deploys(
            b"", {"X-Rollback-Timestamp": NOW, "X-Rollback-Signature-256": signature(NOW.encode() + b".", "")}
        ).status_code
        == 404
    )


def test_when_it_cannot_be_stored_it_is_503(tmp_path_factory: pytest.TempPathFactory) -> None:
    web = open_web(f"sqlite:///{tmp_path_factory.mktemp('empty') / 'rollback.db'}")
    answer = web.deploys(MESSAGE)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
