"""The dashboard, its JSON and the vital signs: what they tell, and whom."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from werkzeug.test import TestResponse

from policies.facts import Incident
from tests.deliveries import Web, deployment_status, open_web
from tests.facts_strategies import facts
from tests.incidents import EVERY, RECOVERED
from webhooks.incident_view import incident_view

TOKEN = "correct horse battery staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PAGES = ["/", "/incidents/3f2a9c41d07e", "/api/incidents", "/api/incidents/3f2a9c41d07e"]


@pytest.fixture
def full(web: Web) -> Web:
    """One incident in every state."""
    for number, (name, incident) in enumerate(EVERY.items()):
        web.store.save_incident(replace(incident, id=name, opened_at_s=incident.opened_at_s + number))
    return web


@pytest.fixture
def with_token(sqlite_url: str) -> Iterator[Web]:
    opened = open_web(sqlite_url, DASHBOARD_TOKEN=TOKEN)
    opened.store.save_incident(RECOVERED)
    yield opened
    opened.store.close()


class TestWhoMaySee:
    @pytest.mark.parametrize("path", PAGES)
    def test_a_bearer_of_the_token(self, with_token: Web, path: str) -> None:
        assert with_token.client.get(path, headers=BEARER).status_code == 200
        assert (
            with_token.client.get(
                path, headers=BEARER, environ_base={"REMOTE_ADDR": "203.0.113.9"}
            ).status_code
            == 200
        )

    def test_a_browser_that_sends_it_as_password(self, with_token: Web) -> None:
        word = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
        assert with_token.client.get("/", headers={"Authorization": f"Basic {word}"}).status_code == 200

    @pytest.mark.parametrize("path", PAGES)
    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"Authorization": ""},
            {"Authorization": "Bearer"},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": f"Bearer {TOKEN[:-1]}"},
            {"Authorization": TOKEN},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": "Basic \u00e9"},
            {"Authorization": "Bearer \u00e9"},
            {"Authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()},
        ],
    )
    def test_nobody_else_not_even_here(self, with_token: Web, path: str, given: dict[str, str]) -> None:
        answer = with_token.client.get(path, headers=given)
        assert answer.status_code == 401
        assert "Bearer" in answer.headers["WWW-Authenticate"]
        assert "stagelog" not in answer.get_data(as_text=True)

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
    def test_without_a_token_this_machine(self, full: Web, address: str) -> None:
        answer = full.client.get("/api/incidents", environ_base={"REMOTE_ADDR": address})
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("address", "headers"),
        [
            ("203.0.113.9", {}),
            ("10.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
            ("::ffff:203.0.113.9", {}),
            ("", {}),
            ("unix:", {}),
            ("127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}),
            ("127.0.0.1", {"Forwarded": "for=203.0.113.9"}),
            ("127.0.0.1", {"Host": "rebound.attacker.example"}),
            ("127.0.0.1", {"Host": "[oops"}),
        ],
    )
    @pytest.mark.parametrize("path", PAGES)
    def test_and_nobody_else(self, full: Web, path: str, address: str, headers: dict[str, str]) -> None:
        answer = full.client.get(path, headers=headers, environ_base={"REMOTE_ADDR": address})
        assert answer.status_code in (400, 403)
        assert "stagelog" not in answer.get_data(as_text=True)

    def test_the_refusal_is_a_page_for_browsers(self, with_token: Web) -> None:
        answer = with_token.client.get("/", headers={"Accept": "text/html"})
        assert (answer.status_code, answer.mimetype) == (401, "text/html")


class TestJson:
    def test_the_list_is_newest_first_and_narrows_down(self, full: Web) -> None:
        def ids(query: str = "") -> list[str]:
            return [i["id"] for i in full.client.get(f"/api/incidents{query}").get_json()["incidents"]]

        assert ids() == list(EVERY)[::-1]
        assert ids("?state=recovered") == _in_state("recovered")[::-1]
        assert ids("?limit=2") == list(EVERY)[:-3:-1]
        assert ids("?repository=acme/other") == []
        assert ids("?limit=99999999") == ids()

    @pytest.mark.parametrize(
        "query", ["?limit=x", "?limit=-1", "?limit=", "?limit=" + "9" * 50, "?state=lost"]
    )
    def test_what_it_does_not_understand_is_400(self, full: Web, query: str) -> None:
        assert full.client.get(f"/api/incidents{query}").status_code == 400

    def test_an_incident_tells_everything(self, full: Web) -> None:
        told = full.client.get("/api/incidents/recovered").get_json()
        assert {
            key: told[key]
            for key in ("state", "repository", "environment", "branch", "deploy_id", "sha", "revert_sha")
        } == {
            "state": "recovered",
            "repository": "acme/stagelog",
            "environment": "develop",
            "branch": "develop",
            "deploy_id": "d-42",
            "sha": RECOVERED.deploy.sha,
            "revert_sha": "9a8b7c6" + "0" * 33,
        }
        assert told["completed_at_s"] < told["opened_at_s"] < told["decided_at_s"] + 10
        assert told["pushed_at_s"] < told["recovered_at_s"] < told["closed_at_s"]
        assert told["pull_requests"][0]["number"] == 42
        assert told["revert_pull_request"] is None
        assert told["timeline"][0] == {
            "at": "2026-05-04T14:01:10Z",
            "at_s": RECOVERED.timeline[0].at_s,
            "what": "Detected.",
        }
        assert told["decision"]["action"] == "roll_back"
        assert told["decision"]["gates"][1]["limit"] == 0.3
        assert told["evidence"]["layers"][0]["status"] == "failing"
        assert "STATIC_ROOT" in told["evidence"]["diagnosis"]["line"]
        assert "STATIC_ROOT" in told["evidence"]["log"]
        looks = {part: [p["look"] for p in told["health"][part]] for part in ("before", "after", "recovery")}
        assert looks == {"before": ["good"] * 6, "after": ["bad"] * 7, "recovery": ["bad"] * 2 + ["good"] * 3}

    def test_a_proposed_revert_names_its_pull_request(self, full: Web) -> None:
        assert full.client.get("/api/incidents/proposed").get_json()["revert_pull_request"]["number"] == 43

    def test_only_a_recovery_has_a_time(self, full: Web) -> None:
        assert full.client.get("/api/incidents/failed_not_recovered").get_json()["recovered_at_s"] is None

    @pytest.mark.parametrize("unknown", ["nothing", "a/b", "%00", "../recovered", "x" * 3000, "%ed%a0%80"])
    def test_an_unknown_one_is_404_in_json(self, full: Web, unknown: str) -> None:
        answer = full.client.get(f"/api/incidents/{unknown}")
        assert answer.status_code == 404
        assert answer.get_json()["error"]

    @hypothesis_settings(deadline=None, max_examples=60)
    @given(facts(Incident))
    def test_whatever_an_incident_holds_can_be_told(self, incident: Incident) -> None:
        assert json.loads(json.dumps(incident_view(incident), allow_nan=False))["id"] == incident.id


class Reader(HTMLParser):
    """What a browser would see: the text, the tags, and where links lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.links = "", list[str](), list[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


class TestPages:
    @pytest.mark.parametrize("name", list(EVERY))
    def test_every_state_has_its_page(self, full: Web, name: str) -> None:
        answer = full.client.get(f"/incidents/{name}")
        assert answer.status_code == 200
        page = Reader(answer.get_data(as_text=True))
        assert str(EVERY[name].state) in page.text
        assert EVERY[name].reason.replace("`", "") in page.text
        if EVERY[name].evidence is not None:
            assert "STATIC_ROOT setting to a filesystem path" in page.text
        assert "script" not in page.tags
        guards = answer.headers
        assert "default-src 'none'" in guards["Content-Security-Policy"]
        assert guards["Cache-Control"] == "no-store"

    def test_the_list_shows_what_is_open_first(self, full: Web) -> None:
        full.store.beat("w-1")
        full.store.set_switch("hold", "acme/x:prod", actor="dana", reason="launch", now_s=1.0)
        full.github("deployment_status", deployment_status())
        page = Reader(full.client.get("/").get_data(as_text=True))
        assert page.text.index("Open incidents") < page.text.index("Past incidents")
        assert all(f"/incidents/{name}" in page.links for name in EVERY)
        for said in ("worker alive", "acme/x:prod", "by dana: launch", "c0ffeec0", "watching"):
            assert said in page.text, said

    def test_an_empty_one_says_what_to_do(self, web: Web) -> None:
        page = Reader(web.client.get("/").get_data(as_text=True))
        assert "Nothing is broken" in page.text
        assert "/webhooks/github" in page.text
        assert "no worker has started" in page.text

    def test_an_unknown_incident_is_a_page_or_json(self, web: Web) -> None:
        assert web.client.get("/incidents/x", headers={"Accept": "text/html"}).mimetype == "text/html"
        assert web.client.get("/incidents/x", headers={"Accept": "application/json"}).status_code == 404

    def test_nothing_foreign_becomes_markup_or_a_dangerous_link(self, web: Web) -> None:
        evil = "<script>alert(1)</script>`<img src=x onerror=alert(2)>`"
        document = json.loads(
            re.sub(r"STATIC_ROOT|Presigned uploads|Detected\.|develop", "EVIL", json.dumps(_document(web)))
        )
        poisoned = json.loads(json.dumps(document).replace("EVIL", json.dumps(evil)[1:-1]))
        poisoned["change"]["culprits"][0]["pull_request"]["url"] = "javascript:alert(3)"
        poisoned["deploy"]["url"] = "javascript:alert(4)"
        with web.store.transaction() as connection:
            connection.execute(sa.text("UPDATE incidents SET document = :d"), {"d": json.dumps(poisoned)})
        for path in ("/", "/incidents/3f2a9c41d07e"):
            html = web.client.get(path).get_data(as_text=True)
            page = Reader(html)
            assert "alert(1)" in page.text, "it is shown, as text"
            assert "script" not in page.tags
            assert not [link for link in page.links if "javascript" in link or link == "x"]

    @hypothesis_settings(
        deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(facts(Incident))
    def test_whatever_an_incident_holds_can_be_drawn(self, web: Web, incident: Incident) -> None:
        web.store.save_incident(replace(incident, id="any"))
        assert web.client.get("/incidents/any").status_code == 200
        assert web.client.get("/").status_code == 200


class TestVitals:
    def test_alive(self, web: Web) -> None:
        assert web.client.get("/healthz").get_json() == {"ok": True}

    def test_ready_with_a_database_and_a_worker(self, web: Web) -> None:
        answer = web.client.get("/readyz")
        assert (answer.status_code, answer.get_json()["worker"]["ok"]) == (503, False)
        assert "rollback-bot worker" in answer.get_json()["worker"]["why"]
        web.store.beat("w-1")
        answer = web.client.get("/readyz")
        assert (answer.status_code, answer.get_json()["ready"]) == (200, True)
        with web.store.transaction() as connection:
            connection.execute(sa.text("UPDATE executors SET beat_at_s = beat_at_s - 16"))
        answer = web.client.get("/readyz")
        assert (answer.status_code, answer.get_json()["database"]["ok"]) == (503, True)
        assert "no worker was heard for" in answer.get_json()["worker"]["why"]

    def test_red_without_a_database(self, tmp_path: Path) -> None:
        web = open_web("postgresql://bot:hunter2@127.0.0.1:1/none")
        answer = web.client.get("/readyz")
        assert (answer.status_code, answer.get_json()["database"]["ok"]) == (503, False)
        assert "hunter2" not in answer.get_data(as_text=True)
        assert web.client.get("/healthz").status_code == 200
        for path in ("/", "/api/incidents"):
            broken = web.client.get(path)
            assert (broken.status_code, "Retry-After" in broken.headers) == (503, True)

    def test_metrics_count_what_the_database_holds(self, full: Web) -> None:
        full.github("deployment_status", deployment_status())
        figures = _figures(full.client.get("/metrics"))
        assert figures["rollback_database_up"] == 1
        for state in ("closed", "recovered", "failed", "held"):
            assert figures[f'rollback_incidents{{state="{state}"}}'] == len(_in_state(state))
        assert figures["rollback_own_total"] <= figures["rollback_reverts_total"]
        assert figures["rollback_reverts_total"] == sum(
            1 for i in EVERY.values() if i.pushed_at_s is not None
        )
        assert figures['rollback_deploys_total{status="succeeded"}'] == 1
        assert figures["rollback_worker_beat_age_seconds"] == float("inf")

    def test_metrics_say_that_the_database_is_gone(self) -> None:
        answer = open_web("postgresql://127.0.0.1:1/none").client.get("/metrics")
        assert _figures(answer) == {"rollback_database_up": 0}


def _document(web: Web) -> dict[str, Any]:
    web.store.save_incident(RECOVERED)
    with web.store.reading() as connection:
        document = connection.execute(sa.text("SELECT document FROM incidents")).scalar_one()
    loaded: dict[str, Any] = json.loads(document)
    return loaded


def _figures(answer: TestResponse) -> dict[str, float]:
    assert answer.status_code == 200
    lines = [line for line in answer.get_data(as_text=True).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def _in_state(state: str) -> list[str]:
    return [name for name, incident in EVERY.items() if incident.state == state]
