"""POST /webhooks/github: the codes and words of the contract, and what becomes work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from bot.failures import BadSettings
from bot.inbox import Accepted, Heard
from bot.settings import Settings
from tests.deliveries import (
    EXAMPLES,
    SECRET,
    Web,
    deployment_status,
    open_web,
    settings,
    signature,
)
from webhooks.app import create_app

SHA = "c0ffee" * 6 + "c0ff"
DEPLOY = {
    "id": "4242",
    "repository": "acme/stagelog",
    "environment": "develop",
    "sha": SHA,
    "branch": "develop",
    "url": "https://develop.example.com/",
    "source": "deployment_status",
    "started_at_s": 1767322985.0,
    "completed_at_s": 1767323045.0,
    "workflow": None,
}


class TestWhoMaySpeak:
    def test_nobody_without_a_configured_secret(self, sqlite_url: str) -> None:
        for given in ({}, {"GITHUB_WEBHOOK_SECRET": "  "}):
            with pytest.raises(BadSettings, match="GITHUB_WEBHOOK_SECRET"):
                create_app(Settings.load({"DATABASE_URL": sqlite_url, **given}))

    @pytest.mark.parametrize(
        "wrong",
        [
            None,
            "",
            "sha256=",
            "sha256=" + "0" * 64,
            "sha1=" + "0" * 40,
            signature(b"other body"),
            signature(b"{}", "other secret"),
            signature(b"{}").upper(),
            signature(b"{}").removeprefix("sha256="),
            signature(b"{}") + "0",
            "sha256=\u00e9\u00e9",
        ],
    )
    def test_nobody_without_the_right_signature(self, web: Web, wrong: str | None) -> None:
        answer = web.github("ping", b"{}", headers={"X-Hub-Signature-256": wrong})
        assert answer.status_code == 401
        assert "X-Hub-Signature-256" in answer.get_json()["error"]
        assert web.delivered() == 0

    def test_the_example_that_github_publishes(self, tmp_path: Path) -> None:
        from webhooks.signatures import signed

        said = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        assert signed(SECRET.encode(), b"Hello, World!", said)

    def test_the_signature_is_checked_before_anything_is_parsed(self, web: Web) -> None:
        answer = web.github("ping", b"{not json", headers={"X-Hub-Signature-256": None, "Content-Type": "x"})
        assert answer.status_code == 401


class TestMalformed:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"42",
            b"{} {}",
            b'{"a": NaN}',
            b"\xff\xfe{\x00}\x00",
            b'{"a": "\xff"}',
            b'{"a": "\\ud800"}',
            b"\xef\xbb\xbf{}",
            b'{"a":' * 50_000,
            b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
            b'{"a": ' + b"9" * 10_000 + b"}",
            b"{'a': 1}",
        ],
    )
    def test_a_body_that_is_no_json_object_is_400(self, web: Web, body: bytes) -> None:
        answer = web.github("deployment_status", body)
        assert answer.status_code == 400
        assert answer.get_json()["error"]

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Content-Type": None}, 400),
            ({"Content-Type": "text/plain"}, 400),
            ({"Content-Type": "multipart/form-data; boundary=x"}, 400),
            ({"X-GitHub-Event": None}, 400),
            ({"X-GitHub-Event": "a b"}, 400),
            ({"X-GitHub-Delivery": None}, 400),
            ({"X-GitHub-Delivery": ""}, 400),
            ({"X-GitHub-Delivery": "x" * 129}, 400),
            ({"X-GitHub-Delivery": "a/../b"}, 400),
            ({"Content-Type": "application/json; charset=utf-8"}, 202),
            ({"Content-Type": "Application/JSON"}, 202),
        ],
    )
    def test_headers(self, web: Web, headers: dict[str, str | None], status: int) -> None:
        assert web.github("deployment_status", deployment_status(), headers=headers).status_code == status

    def test_a_form_carries_the_payload_too(self, web: Web) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"payload": json.dumps(deployment_status())}).encode()
        assert web.github("deployment_status", body, headers=form).status_code == 202
        for bad in (
            b"",
            b"payload",
            b"payload=%7B",
            b"other=%7B%7D",
            b"payload=%7B%7D&payload=%7B%7D",
            b"payload=%ff",
            b"&".join([b"payload=%7B%7D"] + [b"x=1"] * 50),
        ):
            assert web.github("ping", bad, headers=form).status_code == 400, bad

    def test_other_methods_and_paths_are_json_too(self, web: Web) -> None:
        assert web.client.get("/webhooks/github").status_code == 405
        assert web.client.get("/webhooks/github").allow.as_set(True) == {"POST", "OPTIONS"}
        assert web.client.post("/webhooks/nothing").get_json()["error"].startswith("Not Found")


class TestDeploymentStatus:
    def test_success_is_guarded(self, web: Web) -> None:
        answer = web.github("deployment_status", deployment_status(), "d-1")
        assert (answer.status_code, answer.get_json()) == (202, {"delivery": "d-1", "action": "guard"})
        (work,) = web.work()
        assert work[0] == "guard"
        assert work[2] == DEPLOY
        delivery = web.store.delivery("d-1")
        assert delivery is not None
        assert (delivery.event, delivery.repository, delivery.workflow_id) == (
            "deployment_status",
            "acme/stagelog",
            work[1],
        )

    def test_in_progress_takes_the_baseline(self, web: Web) -> None:
        answer = web.github("deployment_status", deployment_status("in_progress"), "d-1")
        assert (answer.status_code, answer.get_json()) == (202, {"delivery": "d-1", "action": "baseline"})
        ((name, _, deploy),) = web.work()
        assert (name, deploy) == ("deploy_started", DEPLOY)
        (heard,) = web.store.deploys_heard("acme/stagelog:develop")
        assert (str(heard.status), heard.deploy.started_at_s) == ("started", DEPLOY["started_at_s"])

    @pytest.mark.parametrize("state", ["pending", "queued", "inactive", "invented", "", None, 7, ["success"]])
    def test_other_states_are_ignored(self, web: Web, state: Any) -> None:
        answer = web.github("deployment_status", deployment_status(state))
        assert answer.status_code == 200
        assert "nothing to watch" in answer.get_json()["ignored"]
        assert (web.delivered(), web.work()) == (0, [])

    @pytest.mark.parametrize("state", ["failure", "error"])
    def test_a_failed_one_is_ignored_but_no_longer_overlaps(self, web: Web, state: str) -> None:
        web.github("deployment_status", deployment_status("in_progress"))
        answer = web.github("deployment_status", deployment_status(state))
        assert answer.status_code == 200
        assert "failed by itself" in answer.get_json()["ignored"]
        (heard,) = web.store.deploys_heard()
        assert str(heard.status) == "failed"
        assert [name for name, _, _ in web.work()] == ["deploy_started"]

    @pytest.mark.parametrize(
        ("changes", "lacking"),
        [
            ({"repository": ...}, "repository.full_name"),
            ({"repository__full_name": "no-owner"}, "repository.full_name"),
            ({"repository__full_name": "../.."}, "repository.full_name"),
            ({"repository__full_name": "a/b/c"}, "repository.full_name"),
            ({"repository__full_name": "acme/$(id)"}, "repository.full_name"),
            ({"deployment": ...}, "deployment.id"),
            ({"deployment": "text"}, "deployment.id"),
            ({"deployment__id": "4242"}, "deployment.id"),
            ({"deployment__id": True}, "deployment.id"),
            ({"deployment__id": -1}, "deployment.id"),
            ({"deployment__id": 2**63}, "deployment.id"),
            ({"deployment__sha": "c0ffee"}, "commit id"),
            ({"deployment__sha": "--upload-pack=x" + "a" * 25}, "commit id"),
            ({"deployment__sha": SHA + "\n"}, None),
            ({"deployment__sha": SHA.upper()}, None),
            ({"deployment__environment": ..., "deployment_status__environment": "a\nb"}, "environment"),
            ({"deployment__environment": "", "deployment_status__environment": None}, "environment"),
            ({"deployment__environment": "e" * 256, "deployment_status__environment": ...}, "environment"),
        ],
    )
    def test_what_it_lacks_is_said_and_never_an_error(
        self, web: Web, changes: dict[str, Any], lacking: str | None
    ) -> None:
        answer = web.github("deployment_status", deployment_status(**changes))
        if lacking is None:
            assert answer.status_code == 202
            assert web.work()[0][2]["sha"] == SHA
        else:
            assert answer.status_code == 200
            assert lacking in answer.get_json()["ignored"]

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"deployment_status__environment": ...}, {"environment": "develop"}),
            ({"deployment_status__environment": "Prod (EU) ☂"}, {"environment": "Prod (EU) ☂"}),
            ({"deployment_status__environment_url": ""}, {"url": None}),
            ({"deployment_status__environment_url": ...}, {"url": None}),
            ({"deployment_status__environment_url": "javascript:alert(1)"}, {"url": None}),
            ({"deployment_status__environment_url": "https://me:pw@x.example/"}, {"url": None}),
            ({"deployment_status__environment_url": "https://x.example:99999/"}, {"url": None}),
            ({"deployment_status__environment_url": "https://[::1/"}, {"url": None}),
            ({"deployment_status__environment_url": "file:///etc/passwd"}, {"url": None}),
            ({"deployment_status__environment_url": "https://x.example/\r\nHost: y"}, {"url": None}),
            ({"deployment_status__environment_url": "https://x.example/" + "a" * 2000}, {"url": None}),
            ({"deployment__ref": "refs/heads/feature/x"}, {"branch": "feature/x"}),
            ({"deployment__ref": "refs/tags/v1"}, {"branch": None}),
            ({"deployment__ref": SHA}, {"branch": None}),
            ({"deployment__ref": "--force"}, {"branch": None}),
            ({"deployment__ref": "a..b"}, {"branch": None}),
            ({"deployment__ref": ...}, {"branch": None}),
            ({"deployment_status__created_at": 1767323045}, {"completed_at_s": 1767323045.0}),
            (
                {"deployment_status__created_at": "2026-01-02T04:04:05+01:00"},
                {"completed_at_s": 1767323045.0},
            ),
            ({"deployment_status__created_at": "soon"}, {"completed_at_s": 1767323045.0}),
            ({"deployment__created_at": None}, {"started_at_s": None}),
            ({"deployment__created_at": "2026-01-02T09:00:00Z"}, {"started_at_s": 1767323045.0}),
        ],
    )
    def test_what_is_taken_from_it(self, web: Web, changes: dict[str, Any], expected: dict[str, Any]) -> None:
        assert web.github("deployment_status", deployment_status(**changes)).status_code == 202
        deploy = web.work()[0][2]
        assert {key: deploy[key] for key in expected} == expected

    @pytest.mark.parametrize("when", ["2199-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 1e300, -5, True, {}])
    def test_a_deploy_never_completes_in_the_future(self, web: Web, when: Any) -> None:
        changes = {"deployment_status__created_at": when, "deployment_status__updated_at": when}
        assert web.github("deployment_status", deployment_status(**changes)).status_code == 202
        heard = web.store.deploys_heard()[0]
        assert heard.deploy.completed_at_s == heard.heard_at_s

    def test_a_start_heard_earlier_is_known_at_the_end(self, web: Web) -> None:
        web.github("deployment_status", deployment_status("in_progress"))
        web.github("deployment_status", deployment_status(deployment__created_at=...))
        assert {name: d for name, _, d in web.work()}["guard"]["started_at_s"] == DEPLOY["started_at_s"]


class TestOneEffect:
    def test_of_the_same_delivery_twice(self, web_on_each: Web) -> None:
        answers = [web_on_each.github("deployment_status", deployment_status(), "d-1") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202] * 3
        assert len({answer.data for answer in answers}) == 1
        assert (web_on_each.delivered(), len(web_on_each.work())) == (1, 1)

    def test_of_the_same_deployment_by_two_deliveries(self, web_on_each: Web) -> None:
        for _ in range(2):
            web_on_each.github("deployment_status", deployment_status("in_progress"))
            web_on_each.github("deployment_status", deployment_status())
        assert sorted(name for name, _, _ in web_on_each.work()) == ["deploy_started", "guard"]

    def test_but_each_environment_and_repository_has_its_own(self, web: Web) -> None:
        for environment, repository in [
            ("a-b", "acme/c"),
            ("b", "acme/c-a"),
            ("a/b", "acme/c"),
            ("a b", "acme/c"),
        ]:
            web.github(
                "deployment_status",
                deployment_status(
                    deployment_status__environment=environment, repository__full_name=repository
                ),
            )
        assert len(web.work()) == 4

    def test_of_a_form_and_a_json_of_the_same_delivery(self, web: Web) -> None:
        body = urlencode({"payload": json.dumps(deployment_status())}).encode()
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        web.github("deployment_status", body, "d-1", headers=form)
        web.github("deployment_status", deployment_status(), "d-1")
        assert (web.delivered(), len(web.work())) == (1, 1)


class TestWhenItCannotBeStored:
    def test_503_says_when_to_come_back_and_nothing_is_half_done(self, tmp_path: Path) -> None:
        web = open_web(f"sqlite:///{tmp_path / 'not-migrated.db'}")
        answer = web.github("deployment_status", deployment_status())
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "send it again" in answer.get_json()["error"]

    def test_the_row_and_the_work_are_stored_together_or_not_at_all(self, tmp_path: Path) -> None:
        from bot.migrations import migrate

        url = f"sqlite:///{tmp_path / 'no-engine.db'}"
        migrate(url)
        web = open_web(url)
        assert web.github("deployment_status", deployment_status()).status_code == 503
        assert (web.delivered(), web.store.deploys_heard()) == (0, ())

    def test_what_is_ignored_needs_no_database(self, tmp_path: Path) -> None:
        web = open_web(f"sqlite:///{tmp_path / 'not-migrated.db'}")
        assert web.github("push", {"ref": "refs/heads/main"}).status_code == 200
        assert web.github("deployment_status", deployment_status("pending")).status_code == 200
        assert not (tmp_path / "not-migrated.db").exists()

    def test_a_mistake_of_ours_is_never_acknowledged(self, sqlite_url: str) -> None:
        class BrokenInbox:
            def accept(self, delivery_id: str, event: Heard, received_at_s: float) -> Accepted:
                raise ZeroDivisionError("a mistake")

        client = create_app(settings(sqlite_url), inbox=BrokenInbox()).test_client()
        answer = Web(client, open_web(sqlite_url).store).github("deployment_status", deployment_status())
        assert answer.status_code == 503
        assert "mistake" not in answer.get_data(as_text=True)


@pytest.fixture(scope="module")
def examples() -> list[tuple[str, dict[str, Any]]]:
    if not EXAMPLES.is_dir():
        pytest.skip("The published example payloads are not on this machine.")
    return [(path.name, json.loads(path.read_bytes())) for path in sorted(EXAMPLES.glob("*.json"))]


class TestPublishedExamples:
    def test_each_is_stored_or_ignored_and_never_refused(
        self, web: Web, examples: list[tuple[str, dict[str, Any]]]
    ) -> None:
        assert len(examples) >= 30
        for name, payload in examples:
            answer = web.github(name.split(".")[0], payload)
            assert answer.status_code in (200, 202), name
            assert ("ignored" in answer.get_json()) is (answer.status_code == 200)

    def test_the_deploys_among_them_become_work(
        self, web: Web, examples: list[tuple[str, dict[str, Any]]]
    ) -> None:
        for name, payload in examples:
            web.github(name.split(".")[0], payload)
        work = {(name, d["repository"], d["environment"] or d["workflow"]) for name, _, d in web.work()}
        assert work == {
            ("deploy_started", "Codertocat/Hello-World", "github-pages"),
            ("guard", "Codertocat/Hello-World", "production"),
            ("guard", "octo-org/octo-repo", "test"),
            ("deploy_started", "octo-org/octo-repo", "test"),
        }
