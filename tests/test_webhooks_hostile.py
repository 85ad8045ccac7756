"""Whatever arrives, signed or not: one of the contract's codes, and only well-formed work behind it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from tests.deliveries import (
    DEPLOY_SECRET,
    EXAMPLES,
    Web,
    deployment_status,
    open_web,
    signature,
    workflow_run,
)
from webhooks.events import Fields, Lacking
from webhooks.github import EVENTS
from webhooks.signatures import signed, signed_now

QUICK = limits(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXTS = st.text(max_size=30) | st.sampled_from(
    [
        "\x00",
        "a\nb",
        "../..",
        "-rf",
        "$(id)",
        "'; DROP TABLE deliveries;--",
        "\u202e",
        "x" * 5000,
        "\ud83d\ude00",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def heard(prepared_sqlite: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One application for all examples; its database only grows."""
    copy = tmp_path_factory.mktemp("hostile") / "rollback.db"
    copy.write_bytes(prepared_sqlite.read_bytes())
    web = open_web(f"sqlite:///{copy}")
    yield web
    web.store.close()


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*path, key))


@st.composite
def mangled(draw: DrawFn, originals: tuple[tuple[str, dict[str, Any]], ...]) -> tuple[str, Any]:
    """A payload in which up to three places were replaced, taken away or renamed."""
    event, original = draw(st.sampled_from(originals))
    payload = json.loads(json.dumps(original))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(_places(payload))))
        if not path:
            continue
        place = payload
        for name in path[:-1]:
            place = place[name]
        match draw(st.sampled_from(["replace", "remove", "rename"])):
            case "replace":
                place[path[-1]] = draw(JSON)
            case "remove":
                del place[path[-1]]
            case "rename":
                place[draw(TEXTS)] = place.pop(path[-1])
    return event, payload


OURS = tuple(
    (event, payload)
    for event, payload in [
        ("deployment_status", deployment_status()),
        ("deployment_status", deployment_status("in_progress")),
        ("deployment_status", deployment_status("failure")),
        ("workflow_run", workflow_run()),
        ("workflow_run", workflow_run("requested", None)),
    ]
)


class TestMangledPayloads:
    @QUICK
    @given(mangled(OURS))
    def test_are_stored_or_ignored(self, heard: Web, delivery: tuple[str, Any]) -> None:
        answer = heard.github(*delivery)
        assert answer.status_code in (200, 202), answer.get_data(as_text=True)
        said = answer.get_json()
        assert ("ignored" in said) is (answer.status_code == 200)

    def test_leave_only_well_formed_work_behind(self, heard: Web) -> None:
        heard.github("deployment_status", deployment_status())
        work = heard.work()
        assert work
        for name, workflow_id, deploy in work:
            assert name in ("guard", "deploy_started")
            assert re.fullmatch(r"[A-Za-z0-9._-]{1,160}", workflow_id)
            assert re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", deploy["repository"])
            assert re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", deploy["sha"])
            assert re.fullmatch(r"[A-Za-z0-9.-]+", deploy["id"])
            assert 0 < deploy["completed_at_s"] <= time.time()
            assert deploy["branch"] is None or not deploy["branch"].startswith("-")
            assert deploy["url"] is None or deploy["url"].startswith(("http://", "https://"))
            for text in (deploy["environment"], deploy["workflow"] or "", deploy["url"] or ""):
                assert not re.search(r"[\x00-\x1f\x7f]", text)

    @QUICK
    @given(st.sampled_from([*EVENTS, "push", "invented"]), JSON)
    def test_of_any_json_whatsoever(self, heard: Web, event: str, payload: Any) -> None:
        answer = heard.github(event, payload)
        assert answer.status_code in ((200, 202) if isinstance(payload, dict) else (400,))

    @QUICK
    @given(st.data())
    def test_of_what_github_publishes(self, heard: Web, data: st.DataObject) -> None:
        if not EXAMPLES.is_dir():
            pytest.skip("The published example payloads are not on this machine.")
        names = st.sampled_from(sorted(EXAMPLES.glob("*_*.json")))
        path = data.draw(names)
        original = ((path.name.split(".")[0], json.loads(path.read_bytes())),)
        assert heard.github(*data.draw(mangled(original))).status_code in (200, 202)


class TestBytes:
    @QUICK
    @given(st.sampled_from([*EVENTS, "push"]), st.binary(max_size=300))
    @example("deployment_status", b"[" * 100_000)
    @example("deployment_status", b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    @example("ping", b'{"zen": "\\u0000"}')
    @example("ping", b'{"zen": 1e999}')
    def test_any_signed_bytes(self, heard: Web, event: str, body: bytes) -> None:
        assert heard.github(event, body).status_code in (200, 202, 400)

    @QUICK
    @given(st.binary(max_size=300))
    def test_any_signed_form(self, heard: Web, body: bytes) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert heard.github("ping", body, headers=form).status_code in (200, 400)

    @QUICK
    @given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
    def test_one_changed_byte_breaks_the_signature(self, heard: Web, at: int, change: bytes) -> None:
        body = json.dumps(deployment_status()).encode()
        other = body[:at] + change + body[at + len(change) :]
        answer = heard.github("deployment_status", other, headers={"X-Hub-Signature-256": signature(body)})
        assert answer.status_code == (401 if other != body else 202)

    @QUICK
    @given(
        st.dictionaries(
            st.sampled_from(
                [
                    "X-GitHub-Event",
                    "X-GitHub-Delivery",
                    "X-Hub-Signature-256",
                    "Content-Type",
                    "Content-Encoding",
                ]
            ),
            st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40),
        )
    )
    def test_any_headers(self, heard: Web, headers: dict[str, str]) -> None:
        answer = heard.github("deployment_status", deployment_status(), headers=headers)
        assert answer.status_code in (200, 202, 400, 401)
        if "X-Hub-Signature-256" in headers:
            assert answer.status_code == 401


class TestTheDoorway:
    """What is answered before Flask is asked is what Flask would have answered."""

    @QUICK
    @given(
        event=st.sampled_from(["push", "ping", "deployment_status", "", "a b", "\u00e9"]),
        body=st.sampled_from([b"{}", b"[]", b"", b"{", b'{"a": "\\ud800"}']) | st.binary(max_size=20),
        path=st.sampled_from(["/webhooks/github", "/webhooks/github/", "/webhooks/deploys", "/"]),
        kind=st.sampled_from(["application/json", "application/json; charset=utf-8", "text/plain", None]),
        genuine=st.booleans(),
        delivery=st.sampled_from(["d-1", "", None]),
        method=st.sampled_from(["POST", "PUT", "GET"]),
    )
    def test_gives_the_same_answers(
        self,
        heard: Web,
        event: str,
        body: bytes,
        path: str,
        kind: str | None,
        genuine: bool,
        delivery: str | None,
        method: str,
    ) -> None:
        headers = {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": signature(body) if genuine else signature(body + b"x"),
            "Content-Type": kind,
        }
        sent = {name: value for name, value in headers.items() if value is not None}
        behind = heard.client.application.full_dispatch_request
        with heard.client.application.test_request_context(
            path, method=method, data=body, headers=sent, environ_base={"REMOTE_ADDR": "127.0.0.1"}
        ):
            expected = behind()
        got = heard.client.open(path, method=method, data=body, headers=sent)
        assert (got.status_code, got.data, got.content_type) == (
            expected.status_code,
            expected.data,
            expected.content_type,
        )


class TestDeployMessages:
    MESSAGE: dict[str, Any] = {  # noqa: RUF012 - copied before it is changed
        "repository": "acme/stagelog",
        "environment": "develop",
        "sha": "ab" * 20,
        "branch": "develop",
        "status": "succeeded",
        "id": "build-17",
        "url": "https://develop.example.com/",
    }

    @QUICK
    @given(mangled((("", MESSAGE),)))
    def test_mangled_ones_are_stored_or_refused_by_name(self, heard: Web, message: tuple[str, Any]) -> None:
        answer = heard.deploys(message[1])
        assert answer.status_code in (202, 400)
        assert ("error" in answer.get_json()) is (answer.status_code == 400)

    @QUICK
    @given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20))
    def test_any_timestamp(self, heard: Web, stamp: str) -> None:
        answer = heard.deploys(self.MESSAGE, {"X-Rollback-Timestamp": stamp})
        assert answer.status_code == 401


class TestSignatures:
    @QUICK
    @given(st.binary(max_size=40), st.binary(max_size=60), st.text(max_size=80))
    def test_only_the_right_one_counts(self, secret: bytes, body: bytes, guess: str) -> None:
        right = signature(body, secret.decode("latin-1")) if secret.isascii() else None
        if right is not None:
            assert signed(secret, body, right)
        assert signed(secret, body, guess) is (guess == right)

    @QUICK
    @given(st.integers(0, 10**12 - 1), st.integers(-1000, 1000), st.binary(max_size=60))
    def test_and_only_within_five_minutes(self, stamp: int, off_s: int, body: bytes) -> None:
        said = signature(str(stamp).encode() + b"." + body, DEPLOY_SECRET)
        fresh = signed_now(DEPLOY_SECRET.encode(), str(stamp), body, said, float(stamp + off_s))
        assert fresh is (abs(off_s) <= 300)


class TestFields:
    @QUICK
    @given(JSON.filter(lambda value: isinstance(value, dict)), st.text(max_size=20))
    def test_asking_never_fails(self, data: dict[str, Any], path: str) -> None:
        fields = Fields(data)
        for ask in (fields.text, fields.whole, fields.instant, fields.branch, fields.address):
            ask(path)
        for demand in (fields.repository, fields.sha):
            try:
                demand(path)
            except Lacking as lacking:
                assert lacking.why
