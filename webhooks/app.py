"""Puts the web process together: webhooks, health, metrics, the dashboard and its JSON."""

from __future__ import annotations

from threading import Thread
from typing import Any, cast

import structlog
from a2wsgi import WSGIMiddleware
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException

from bot.engine_client import EngineClient
from bot.failures import BadSettings, CannotStore
from bot.inbox import DurableInbox, Inbox
from bot.settings import Settings
from bot.store import Store
from webhooks.access import Access
from webhooks.api import incidents_api
from webhooks.bodies import READ_AT_MOST_BYTES, Refused, answer, refusal
from webhooks.deploys import deploys_webhook
from webhooks.doorway import Application, Doorway, Receive, Scope, Send
from webhooks.github import EVENTS, github_webhook
from webhooks.pages import pages
from webhooks.slack import PATH as SLACK_PATH
from webhooks.slack import THREADS, slack_webhook
from webhooks.slack_connect import slack_connect
from webhooks.vitals import vitals

RETRY_AFTER_S = 10

log = structlog.get_logger(__name__)


def create_app(settings: Settings, inbox: Inbox | None = None, store: Store | None = None) -> Flask:
    """The web process's WSGI application. Opens no connection until it is asked something.

    `inbox` and `store` default to the database of `settings`. Raises BadSettings without a webhook secret.
    """
    if settings.github_webhook_secret is None or not settings.github_webhook_secret.get_secret_value():
        raise BadSettings(
            "GITHUB_WEBHOOK_SECRET is not set: without it nobody could tell GitHub's webhooks from forged "
            "ones. Set it to the secret of the App's (or repository's) webhook."
        )
    store = Store(settings.database) if store is None else store
    inbox = DurableInbox(store, EngineClient(lambda: store.engine)) if inbox is None else inbox
    deploy_secret = settings.deploy_webhook_secret
    dashboard_token = settings.dashboard_token
    access = Access(dashboard_token.get_secret_value() if dashboard_token else None, settings.base_url)

    app = Flask(__name__, static_folder="static", static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = READ_AT_MOST_BYTES
    secret = settings.github_webhook_secret.get_secret_value().encode()
    app.register_blueprint(github_webhook(secret, inbox))
    app.register_blueprint(
        deploys_webhook(deploy_secret.get_secret_value().encode() if deploy_secret else None, inbox)
    )
    slack_secret = settings.slack_signing_secret
    app.register_blueprint(slack_webhook(slack_secret.get_secret_value() if slack_secret else None, inbox))
    app.register_blueprint(slack_connect(slack_secret.get_secret_value() if slack_secret else None, store))
    app.register_blueprint(vitals(store))
    app.register_blueprint(incidents_api(store, access))
    app.register_blueprint(pages(store, access))
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(CannotStore, _cannot_store)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _mistake_of_ours)
    return app


def create_web(settings: Settings) -> Doorway:
    """What the web server runs: the doorway, and behind it Flask on `web_threads` threads. Raises BadSettings."""
    store = Store(settings.database)
    engine = EngineClient(lambda: store.engine)
    app = create_app(settings, DurableInbox(store, engine), store)
    Thread(target=_prepare, args=(engine,), name="prepare", daemon=True).start()
    assert settings.github_webhook_secret is not None
    secret = settings.github_webhook_secret.get_secret_value().encode()
    others = cast(Application, WSGIMiddleware(cast(Any, app), workers=settings.web_threads))
    # Slack's patience is three seconds: its requests must not queue behind those that wait for a database.
    slack = cast(Application, WSGIMiddleware(cast(Any, app), workers=THREADS))

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        await (slack if scope["path"] == SLACK_PATH else others)(scope, receive, send)

    return Doorway(behind, secret, EVENTS)


def _prepare(engine: EngineClient) -> None:
    """The first webhook must not wait for connections; without a database it is told so as always."""
    try:
        engine.prepare()
    except CannotStore as failure:
        log.warning("not prepared", reason=failure.reason)


def _refused(refused: Refused) -> Response:
    response = refusal(request, refused)
    if request.blueprint == pages.__name__ and request.accept_mimetypes.accept_html:
        response.set_data(render_template("refused.html", status=refused.status, why=refused.why))
        response.mimetype = "text/html"
    return response


def _cannot_store(failure: CannotStore) -> Response:
    log.error("not stored", path=request.path, reason=failure.reason)
    return _later(failure.reason if request.method != "POST" else "This cannot be stored now; send it again.")


def _http_error(error: HTTPException) -> Response:
    response = answer(error.code or 500, error=f"{error.name}: {request.method} {request.path[:200]}")
    allowed = error.get_response().headers.get("Allow")
    if allowed:
        response.headers["Allow"] = allowed
    return response


def _mistake_of_ours(error: Exception) -> Response:
    """Not acknowledged, so whoever sent it knows to send it again."""
    log.exception("mistake", path=request.path, error=type(error).__name__)
    return _later("Something went wrong on our side; it is in the log. Send it again.")


def _later(why: str) -> Response:
    response = answer(503, error=why)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
