"""POST /webhooks/deploys: any CD tool tells about its deploys, signed over timestamp and body."""

from __future__ import annotations

import hashlib
import re
import time

from flask import Blueprint, Response, request

from bot.inbox import Inbox
from policies.facts import Deploy
from webhooks.bodies import JSON, Refused, answer, read_body, read_object
from webhooks.events import DeployCompleted, DeployFailed, DeployStarted, Fields, Heard, Lacking
from webhooks.signatures import signed_now

SOURCE = "webhook"
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
KINDS: dict[str, type[DeployStarted] | type[DeployCompleted] | type[DeployFailed]] = {
    "started": DeployStarted,
    "succeeded": DeployCompleted,
    "failed": DeployFailed,
}


def deploys_webhook(secret: bytes | None, inbox: Inbox) -> Blueprint:
    """The endpoint, for messages signed with `secret`; without one it is off (404)."""
    blueprint = Blueprint("deploys", __name__)

    @blueprint.post("/webhooks/deploys")
    def hear() -> Response:
        """202 stored; Refused (400, 401, 404, 413) and CannotStore (503) are answered by the app."""
        if secret is None:
            raise Refused(404, "This endpoint is off: DEPLOY_WEBHOOK_SECRET is not set.")
        body = read_body(request)
        timestamp = request.headers.get("X-Rollback-Timestamp")
        now_s = time.time()
        if not signed_now(secret, timestamp, body, request.headers.get("X-Rollback-Signature-256"), now_s):
            raise Refused(
                401,
                "X-Rollback-Signature-256 must be sha256=HMAC(secret, X-Rollback-Timestamp + '.' + body), "
                "and the timestamp (epoch seconds) at most five minutes away.",
            )
        if request.mimetype != JSON:
            raise Refused(400, f"Content-Type must be {JSON}.")
        heard = read_deploy(Fields(read_object(body, JSON)), now_s)
        # A copy of the message, honest or not, is the same delivery.
        delivery_id = f"deploys-{hashlib.sha256((timestamp or '').encode() + b'.' + body).hexdigest()}"
        accepted = inbox.accept(delivery_id, heard, now_s)
        return answer(202, delivery=accepted.delivery_id, action=accepted.action)

    return blueprint


def read_deploy(message: Fields, now_s: float) -> Heard:
    """The deploy a message tells of; `now_s` (epoch) is when it happened. Raises Refused (400) that names
    what is missing: this form is ours, unlike GitHub's."""
    kind = KINDS.get(message.text("status") or "")
    if kind is None:
        raise Refused(400, 'status must be "started", "succeeded" or "failed".')
    number = message.whole("id")
    deploy_id = message.text("id") if number is None else str(number)
    if deploy_id is None or ID.fullmatch(deploy_id) is None:
        raise Refused(400, "id must name this deploy (letters, digits and ._:/@+-, up to 128 characters).")
    environment = message.text("environment")
    if environment is None:
        raise Refused(400, "environment is missing or unusable.")
    try:
        repository, sha = message.repository("repository"), message.sha("sha")
    except Lacking as lacking:
        raise Refused(400, f"The message has {lacking.why}.") from None
    return kind(
        Deploy(
            id=deploy_id,
            repository=repository,
            environment=environment,
            sha=sha,
            branch=message.branch("branch"),
            url=message.address("url"),
            source=SOURCE,
            started_at_s=now_s if kind is DeployStarted else None,
            completed_at_s=now_s,
        )
    )
