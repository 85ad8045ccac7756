"""The webhooks of the stand-in GitHub: signed, in order, recorded, shaped like the published examples."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rehearsal.serving import wait_until
from tests.patience import PATIENCE_S
from tests.rehearsal_openapi import shared_file
from tests.rehearsal_worlds import Played, play_github

SECRET = "it is a secret to everybody"


@dataclass
class Ear:
    """A server that hears webhooks and answers as told."""

    server: ThreadingHTTPServer
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answer: int = 202
    delay_s: float = 0.0

    @property
    def events(self) -> list[str]:
        return [headers["X-GitHub-Event"] for headers, _ in self.heard]

    def payloads(self, event: str) -> list[dict[str, Any]]:
        return [json.loads(body) for headers, body in self.heard if headers["X-GitHub-Event"] == event]


@pytest.fixture
def ear() -> Iterator[Ear]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(one.delay_s)
            one.heard.append((dict(self.headers), body))
            self.send_response(one.answer)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one = Ear(server)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield one
    server.shutdown()
    server.server_close()


@pytest.fixture
def played(tmp_path: Path, ear: Ear) -> Iterator[Played]:
    one = play_github(tmp_path)
    url = f"http://127.0.0.1:{ear.server.server_port}/webhooks/github"
    one.github.webhooks.configure(url, SECRET, hook_id=7, target_id=one.app.id)
    yield one
    one.github.stop()


def settle(played: Played) -> None:
    assert wait_until(played.github.webhooks.idle, PATIENCE_S)


def play_everything(played: Played) -> None:
    """One of every event the stand-in knows."""
    github, repository = played.github, played.repository
    dana, lee = github.user("dana"), github.user("lee")
    github.events.ping()
    played.checkout.commit("Meanwhile", c_txt="c\n")
    played.checkout.push("develop")
    pull = github.pulls.open(repository, dana, head="feature/x", base="develop", title="Add b")
    github.activity.comment(repository, pull, lee, "/rollback status")
    merged = github.pulls.merge(repository, pull.number, lee)
    run = github.activity.workflow_run(repository, "Deploy", merged.sha, "develop", lee)
    github.activity.workflow_progress(repository, run, None)
    deployment = github.activity.deployment(
        repository, lee, ref="develop", sha=merged.sha, environment="develop", run=run
    )
    for state in ("in_progress", "success"):
        github.activity.deployment_status(repository, deployment, lee, state, run=run)
    github.activity.workflow_progress(repository, run, "success")
    settle(played)


def test_every_delivery_is_signed_over_its_body(played: Played, ear: Ear) -> None:
    play_everything(played)
    for headers, body in ear.heard:
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["X-Hub-Signature-256"] == f"sha256={digest}"
        assert headers["X-GitHub-Hook-ID"] == "7" and headers["User-Agent"].startswith("GitHub-Hookshot/")
    assert len({headers["X-GitHub-Delivery"] for headers, _ in ear.heard}) == len(ear.heard)


def test_events_arrive_in_the_order_they_happened(played: Played, ear: Ear) -> None:
    play_everything(played)
    assert [
        (event, json.loads(body).get("action"))
        for event, (_, body) in zip(ear.events, ear.heard, strict=True)
    ] == [
        ("ping", None),
        ("push", None),
        ("pull_request", "opened"),
        ("issue_comment", "created"),
        ("push", None),
        ("pull_request", "closed"),
        ("workflow_run", "requested"),
        ("workflow_run", "in_progress"),
        ("deployment", "created"),
        ("deployment_status", "created"),
        ("deployment_status", "created"),
        ("workflow_run", "completed"),
    ]


def test_a_merge_is_told_with_its_commit_and_its_branch(played: Played, ear: Ear) -> None:
    play_everything(played)
    closed = ear.payloads("pull_request")[-1]["pull_request"]
    push = ear.payloads("push")[-1]
    assert closed["merged"] is True and closed["merge_commit_sha"] == push["after"]
    assert push["ref"] == "refs/heads/develop" and push["forced"] is False
    assert push["head_commit"]["message"].startswith("Merge pull request #1 from acme/feature/x")
    assert {"b.txt"} == {name for commit in push["commits"] for name in commit["added"]}
    assert push["sender"]["login"] == "lee"


@pytest.mark.parametrize(
    ("event", "example"),
    [
        ("push", "push.event.f95ac94f.json"),
        ("pull_request", "pull_request.closed.af09f65e.json"),
        ("issue_comment", "issue_comment.created.0bb6fda1.json"),
        ("deployment", "deployment.created.0a4a1ded.json"),
        ("deployment_status", "deployment_status.created.4ea8812f.json"),
        ("workflow_run", "workflow_run.completed.37020fc4.json"),
    ],
)
def test_payloads_have_what_the_published_examples_have(
    played: Played, ear: Ear, event: str, example: str
) -> None:
    published = json.loads(shared_file(f"github-webhooks/{example}").read_text())
    play_everything(played)
    ours = ear.payloads(event)[-1]
    assert missing(published, ours) == []


NOT_OURS = {
    # of pages, checks and custom properties, which the stand-in does not play
    "custom_properties",
    "check_run",
    "license.spdx_id",
    # old examples carry keys that GitHub has renamed since
    "review_comments_url",
}


def missing(published: Any, ours: Any, path: str = "") -> list[str]:
    """Paths of the example that a payload lacks, looking into objects (lists by their first item)."""
    if isinstance(published, list):
        return missing(published[0], ours[0], path + "[]") if published and ours else []
    if not isinstance(published, dict) or not isinstance(ours, dict):
        return []
    found = []
    for key, value in published.items():
        here = f"{path}.{key}".lstrip(".")
        if key in NOT_OURS or value is None:
            continue
        if key not in ours:
            found.append(here)
        else:
            found += missing(value, ours[key], here)
    return found


def test_a_hook_that_fails_is_recorded_and_not_tried_again(played: Played, ear: Ear) -> None:
    ear.answer = 500
    played.github.events.ping()
    settle(played)
    assert len(ear.heard) == 1
    (delivery,) = played.github.webhooks.deliveries
    assert (delivery.status_code, delivery.status) == (500, "Invalid HTTP Response: 500")


def test_a_hook_that_nobody_hears_is_recorded_as_not_delivered(played: Played, ear: Ear) -> None:
    played.github.webhooks.configure("http://127.0.0.1:9/", SECRET, hook_id=7, target_id=1)
    played.github.events.ping()
    settle(played)
    assert played.github.webhooks.deliveries[-1].status == "failed to connect to host"


def test_a_redelivery_carries_the_same_guid(played: Played, ear: Ear) -> None:
    played.github.events.ping()
    settle(played)
    first = played.github.webhooks.deliveries[0]
    again = played.github.webhooks.redeliver(first.id)
    settle(played)
    assert again is not None and again.redelivery
    assert [headers["X-GitHub-Delivery"] for headers, _ in ear.heard] == [first.guid, first.guid]
    assert ear.heard[0][1] == ear.heard[1][1]


def test_an_app_hears_only_what_it_subscribed_to(played: Played, ear: Ear) -> None:
    url = played.github.webhooks.url or ""
    played.github.webhooks.configure(url, SECRET, hook_id=7, target_id=1, events=["push"])
    play_everything(played)
    assert set(ear.events) == {"ping", "push"}
