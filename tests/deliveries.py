"""Signed deliveries as GitHub and CD tools send them, and a web application with a database to hear them."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from bot.durable import migrate_engine
from bot.migrations import migrate
from bot.settings import Settings
from bot.store import Store
from webhooks.app import create_app

SECRET = "It's a Secret to Everybody"
DEPLOY_SECRET = "and this one is for the CD tool"
EXAMPLES = Path(__file__).parents[2] / "shared" / "data" / "github-webhooks"


def signature(body: bytes, secret: str = SECRET) -> str:
    """As GitHub signs: sha256=HMAC(secret, body)."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github_headers(body: bytes, event: str, delivery: str | None = None) -> dict[str, str]:
    """The headers of a genuine delivery from GitHub."""
    return {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or str(uuid.uuid4()),
        "X-Hub-Signature-256": signature(body),
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
    }


def deploy_headers(body: bytes, at_s: float | None = None) -> dict[str, str]:
    """The headers of a genuine message from a CD tool; `at_s` is epoch, default now."""
    stamp = str(int(time.time() if at_s is None else at_s))
    return {
        "X-Rollback-Timestamp": stamp,
        "X-Rollback-Signature-256": signature(stamp.encode() + b"." + body, DEPLOY_SECRET),
        "Content-Type": "application/json",
    }


def deployment_status(state: str = "success", **changes: Any) -> dict[str, Any]:
    """A payload of event deployment_status, cut down to what is looked at; `changes` by "a__b" path."""
    payload: dict[str, Any] = {
        "action": "created",
        "deployment_status": {
            "state": state,
            "environment": "develop",
            "environment_url": "https://develop.example.com/",
            "target_url": "https://ci.example.com/job/1",
            "created_at": "2026-01-02T03:04:05Z",
            "updated_at": "2026-01-02T03:04:05Z",
        },
        "deployment": {
            "id": 4242,
            "sha": "c0ffee" * 6 + "c0ff",
            "ref": "develop",
            "environment": "develop",
            "created_at": "2026-01-02T03:03:05Z",
        },
        "repository": {"full_name": "acme/stagelog"},
    }
    return changed(payload, **changes)


def workflow_run(
    action: str = "completed", conclusion: str | None = "success", **changes: Any
) -> dict[str, Any]:
    """A payload of event workflow_run, cut down to what is looked at; `changes` by "a__b" path."""
    payload: dict[str, Any] = {
        "action": action,
        "workflow_run": {
            "id": 99,
            "name": "Deploy",
            "run_attempt": 1,
            "event": "push",
            "head_branch": "develop",
            "head_sha": "c0ffee" * 6 + "c0ff",
            "conclusion": conclusion,
            "run_started_at": "2026-01-02T03:03:05Z",
            "updated_at": "2026-01-02T03:04:05Z",
            "head_repository": {"full_name": "acme/stagelog"},
        },
        "repository": {"full_name": "acme/stagelog"},
    }
    return changed(payload, **changes)


def changed(payload: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """`payload` with the values at "a__b" replaced; `...` takes the key away."""
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = payload
        for name in parents:
            place = place[name]
        if value is ...:
            place.pop(last, None)
        else:
            place[last] = value
    return payload


@dataclass
class Web:
    """The web application with its database, spoken to over WSGI."""

    client: FlaskClient
    store: Store

    def github(
        self,
        event: str,
        payload: Any,
        delivery: str | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> TestResponse:
        """POST a genuine delivery; `headers` replace single ones (None: left out)."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        sent = {**github_headers(body, event, delivery), **(headers or {})}
        return self.client.post(
            "/webhooks/github", data=body, headers={k: v for k, v in sent.items() if v is not None}
        )

    def deploys(self, payload: Any, headers: Mapping[str, str | None] | None = None) -> TestResponse:
        """POST a genuine message of a CD tool; `headers` replace single ones (None: left out)."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        sent = {**deploy_headers(body), **(headers or {})}
        return self.client.post(
            "/webhooks/deploys", data=body, headers={k: v for k, v in sent.items() if v is not None}
        )

    def work(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What the engine was given: (workflow, workflow id, deploy), in order of arrival."""
        status, inputs = ("workflow_status", "workflow_input")
        if not self.store.on_sqlite:
            status, inputs = f"dbos.{status}", f"dbos.{inputs}"
        query = sa.text(
            f"SELECT s.name, s.workflow_uuid, i.inputs FROM {status} s "
            f"JOIN {inputs} i ON i.workflow_uuid = s.workflow_uuid ORDER BY s.created_at, s.workflow_uuid"
        )
        with self.store.reading() as connection:
            rows = connection.execute(query).all()
        return [(name, uid, json.loads(text)["positionalArgs"][0]) for name, uid, text in rows]

    def delivered(self) -> int:
        """How many deliveries are stored."""
        with self.store.reading() as connection:
            return connection.execute(sa.text("SELECT count(*) FROM deliveries")).scalar_one()


def settings(database_url: str, **more: str) -> Settings:
    """Settings of a web process."""
    return Settings.load(
        {
            "DATABASE_URL": database_url,
            "GITHUB_WEBHOOK_SECRET": SECRET,
            "DEPLOY_WEBHOOK_SECRET": DEPLOY_SECRET,
            **more,
        }
    )


def prepare(database_url: str) -> None:
    """Both kinds of tables, ours and the engine's, as `rollback-bot migrate` makes them."""
    migrate(database_url)
    migrate_engine(database_url)


@pytest.fixture(scope="session")
def prepared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables, to be copied."""
    path = tmp_path_factory.mktemp("prepared") / "rollback.db"
    prepare(f"sqlite:///{path}")
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def sqlite_url(prepared_sqlite: Path, tmp_path: Path) -> str:
    """A SQLite database of the test's own, with all tables."""
    shutil.copy(prepared_sqlite, tmp_path / "rollback.db")
    return f"sqlite:///{tmp_path / 'rollback.db'}"


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    """A store of the test's own, on SQLite."""
    opened = Store(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def either_store(database_url: str) -> Iterator[Store]:
    """A store of the test's own, on each kind of database in turn."""
    prepare(database_url)
    opened = Store(database_url)
    yield opened
    opened.close()


def open_web(database_url: str, **more: str) -> Web:
    """The web application on a prepared database."""
    store = Store(database_url)
    return Web(create_app(settings(database_url, **more), store=store).test_client(), store)


@pytest.fixture
def web(sqlite_url: str) -> Iterator[Web]:
    """The web application on SQLite."""
    opened = open_web(sqlite_url)
    yield opened
    opened.store.close()


@pytest.fixture
def web_on_each(request: pytest.FixtureRequest, database_url: str) -> Iterator[Web]:
    """The web application on SQLite and on PostgreSQL in turn."""
    prepare(database_url)
    opened = open_web(database_url)
    yield opened
    opened.store.close()
