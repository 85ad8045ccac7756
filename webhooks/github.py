"""POST /webhooks/github: verify, translate, store, answer; one module an event says what it means."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

from flask import Blueprint, Response, request

from bot.inbox import Inbox
from webhooks import deployment_status, issue_comment, ping, pull_request, workflow_run
from webhooks.bodies import Refused, answer, read_body, read_object
from webhooks.events import Fields, Heard, Ignored, Lacking
from webhooks.signatures import signed

Hear = Callable[[Fields, float], Heard | Ignored]

EVENTS: Mapping[str, Hear] = {
    "ping": ping.hear,
    "deployment_status": deployment_status.hear,
    "workflow_run": workflow_run.hear,
    "issue_comment": issue_comment.hear,
    "pull_request": pull_request.hear,
}
"""Everything else is answered 200, ignored."""

PATH = "/webhooks/github"
DELIVERY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
EVENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def why_ignored(event: str) -> str:
    """What an event that is not in EVENTS is answered."""
    return f"{event} is nothing we act on"


def github_webhook(secret: bytes, inbox: Inbox) -> Blueprint:
    """The endpoint, for deliveries signed with `secret`."""
    blueprint = Blueprint("github", __name__)

    @blueprint.post(PATH)
    def hear() -> Response:
        """202 stored, 200 ignored; Refused (400, 401, 413) and CannotStore (503) are answered by the app."""
        body = read_body(request)
        headers = request.headers
        if not signed(secret, body, headers.get("X-Hub-Signature-256")):
            raise Refused(401, "X-Hub-Signature-256 is missing or not made with our webhook secret.")
        event, delivery_id = headers.get("X-GitHub-Event", ""), headers.get("X-GitHub-Delivery", "")
        if not EVENT.fullmatch(event) or not DELIVERY.fullmatch(delivery_id):
            raise Refused(400, "X-GitHub-Event or X-GitHub-Delivery is missing or unusable.")
        payload = read_object(body, request.mimetype)
        if event not in EVENTS:
            return answer(200, ignored=why_ignored(event))
        now_s = time.time()
        try:
            heard = EVENTS[event](Fields(payload), now_s)
        except Lacking as lacking:
            return answer(200, ignored=f"{event} with {lacking.why}")
        if isinstance(heard, Ignored):
            if heard.note is not None:
                inbox.accept(delivery_id, heard.note, now_s)
            return answer(200, ignored=heard.why)
        accepted = inbox.accept(delivery_id, heard, now_s)
        if accepted.needless:
            return answer(200, ignored=f"{event}: {accepted.needless}")
        return answer(202, delivery=accepted.delivery_id, action=accepted.action)

    return blueprint
