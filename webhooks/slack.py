"""POST /webhooks/slack: slash commands and buttons, taken within a second whatever hangs behind the bot.

Nothing is asked of Slack, GitHub or AWS here: a request is verified, stored and acknowledged; a worker answers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import parse_qsl

import structlog
from flask import Blueprint, Request, Response, request
from slack_bolt import Ack, App, BoltContext, BoltRequest, BoltResponse
from slack_bolt.adapter.flask import SlackRequestHandler
from slack_bolt.adapter.flask.handler import to_bolt_request, to_flask_response
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request.internals import build_context
from slack_sdk.signature import SignatureVerifier

from bot.comments_slack import (
    APPROVE,
    CANCEL,
    CONNECT_NO,
    CONNECT_YES,
    KNOWN,
    NOT_TAKEN,
    TAKEN,
    UNKNOWN,
    WHY,
)
from bot.failures import CannotStore
from bot.inbox import Accepted, CommentHeard, Inbox, Patience
from bot.slack_api import Address
from policies.asked import SLACK, Asked
from policies.chatops import Command, Misunderstood, parse_slack
from webhooks.bodies import Refused

log = structlog.get_logger(__name__)

PATH: Final = "/webhooks/slack"
THREADS: Final = 16
"""Requests of Slack that one process takes at once, beside all others; as many may be waiting to be stored."""
STORED_WITHIN_S: Final = 0.6
COMMITTED_WITHIN_S: Final = 0.2
"""Once the commit has begun; together they stay under a second, and Slack itself waits for three."""
LIMIT_BYTES: Final = 256 * 1024
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
_SIGNATURE: Final = re.compile(r"v0=[0-9a-f]{64}")
_ID: Final = re.compile(r"[A-Z0-9]{2,32}")
_ANY: Final = re.compile(r"(?s).*")
_BUTTONS: Final = {
    APPROVE: Command("approve"),
    CANCEL: Command("cancel"),
    WHY: Command("why"),
    CONNECT_YES: Command("connect", word="yes"),
    CONNECT_NO: Command("connect", word="no"),
}
MOST_VALUE_CHARS: Final = 2_000


def slack_webhook(signing_secret: str | None, inbox: Inbox) -> Blueprint:
    """The endpoint, for requests signed with `signing_secret`; without one it is off (404)."""
    blueprint = Blueprint("slack", __name__)
    slack = _Slack(signing_secret, inbox) if signing_secret else None

    @blueprint.post(PATH)
    def hear() -> Response:
        """200 with a sentence for the asker; Refused (400, 401, 404, 413) is answered by the app."""
        if slack is None:
            raise Refused(404, "This endpoint is off: SLACK_SIGNING_SECRET is not set.")
        return slack.hear(request)

    return blueprint


class _Slack:
    """What one process knows of Slack: the secret, and the threads that store."""

    def __init__(self, signing_secret: str, inbox: Inbox) -> None:
        self._verifier = SignatureVerifier(signing_secret)
        self._taking = Taking(inbox)
        self._handler = _Handler(_bolt(signing_secret, self._command, self._button))

    def hear(self, given: Request) -> Response:
        """One request. Raises Refused (400, 401, 413)."""
        if (given.content_length or 0) > LIMIT_BYTES:
            raise Refused(413, f"A request of Slack's is at most {LIMIT_BYTES:,} bytes.")
        body = given.get_data(cache=True, parse_form_data=False)
        timestamp = given.headers.get("X-Slack-Request-Timestamp", "")
        signature = given.headers.get("X-Slack-Signature", "")
        # Bolt verifies too, but only after it has read what was sent, and it stumbles over garbled headers.
        if not (
            _TIMESTAMP.fullmatch(timestamp)
            and _SIGNATURE.fullmatch(signature)
            and _is_text(body)
            and self._verifier.is_valid(body, timestamp, signature)
        ):
            raise Refused(
                401,
                "X-Slack-Signature must be v0=HMAC(signing secret, 'v0:' + X-Slack-Request-Timestamp + ':' + "
                "body), and the timestamp at most five minutes away.",
            )
        try:
            return self._handler.handle(given)
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise Refused(400, "The request is none that Slack sends.") from None

    def _command(self, body: dict[str, Any], ack: Ack) -> BoltResponse:
        """A slash command, whatever its name is in this workspace."""
        text, trigger = _word(body, "text", 4_000), _word(body, "trigger_id", 300)
        said = parse_slack(text)
        target = said.target if isinstance(said, Command) else None
        return self._take(
            Asked(
                id=_id(trigger or json.dumps(body, sort_keys=True)),
                place=SLACK,
                who="",
                repository=target.repository if target else "",
                number=target.number if target else 0,
                at_s=time.time(),
                command=None if isinstance(said, Misunderstood) else said,
                misunderstood=said.why if isinstance(said, Misunderstood) else "",
                answer_to=Address(
                    _word(body, "response_url", 1_000), _key(body, "channel_id"), _word(body, "user_name", 80)
                ).packed(),
                account=_account(_key(body, "team_id"), _key(body, "user_id")),
            ),
            ack,
        )

    def _button(self, body: dict[str, Any], action: dict[str, Any], ack: Ack) -> BoltResponse:
        """A button of ours; what it is about stands in its value, and the worker does not believe more than that
        of it."""
        command = _BUTTONS.get(_word(action, "action_id", 100))
        if command is None:
            return ack()
        user, channel, team = (_object(body, name) for name in ("user", "channel", "team"))
        trigger = _word(body, "trigger_id", 300)
        asked = Asked(
            id=_id(trigger or json.dumps([body.get("container"), action, user], sort_keys=True)),
            place=SLACK,
            who="",
            repository="",
            number=0,
            at_s=time.time(),
            command=command,
            answer_to=Address(
                _word(body, "response_url", 1_000), _key(channel, "id"), _word(user, "username", 80)
            ).packed(),
            account=_account(_key(team, "id") or _key(user, "team_id"), _key(user, "id")),
            button=_word(action, "value", MOST_VALUE_CHARS) or "?",
        )
        said = self._taking.take(asked)
        if said in (TAKEN, KNOWN):
            return ack()
        # Slack shows no text of ours here, but that it failed.
        return BoltResponse(status=503, body={"text": said})

    def _take(self, asked: Asked, ack: Ack) -> BoltResponse:
        return ack(text=self._taking.take(asked), response_type="ephemeral")


class Taking:
    """Stores requests in threads of its own and waits for each less than a second."""

    def __init__(
        self, inbox: Inbox, stored_within_s: float = STORED_WITHIN_S, committed_s: float = COMMITTED_WITHIN_S
    ) -> None:
        self._inbox = inbox
        self._stored_within_s = stored_within_s
        self._committed_s = committed_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="slack-store")

    def take(self, asked: Asked) -> str:
        """What to tell the asker. "Not taken" means that it will not be: whoever stores it asks first."""
        patience = Patience()
        storing = self._threads.submit(
            self._inbox.accept, asked.id, CommentHeard(asked), asked.at_s, patience
        )
        try:
            accepted = self._stored(storing, patience)
        except TimeoutError:
            log.error("slack.unknown", command=asked.id)
            return UNKNOWN
        except CannotStore as failure:
            log.error("slack.not_taken", command=asked.id, reason=failure.reason)
            return NOT_TAKEN
        return TAKEN if accepted.fresh else KNOWN

    def _stored(self, storing: Future[Accepted], patience: Patience) -> Accepted:
        """Raises CannotStore where nothing was and will be stored, TimeoutError where nobody knows."""
        try:
            return storing.result(timeout=self._stored_within_s)
        except TimeoutError:
            if patience.give_up():
                storing.cancel()
                raise CannotStore("The database did not answer in time.") from None
        return storing.result(timeout=self._committed_s)


Listener = Callable[..., BoltResponse]


def _bolt(signing_secret: str, command: Listener, button: Listener) -> App:
    """Bolt, which tells what a request is. Its own habits are turned off: it would ask Slack who we are
    (`auth.test`), let requests without a signature pass (`ssl_check`), and log what was sent."""
    logger = logging.getLogger("slack_bolt.rollback")
    logger.setLevel(logging.CRITICAL)
    app = App(
        logger=logger,
        name="rollback-bot",
        signing_secret=signing_secret,
        authorize=_authorized,
        process_before_response=True,
        token_verification_enabled=False,
        ssl_check_enabled=False,
        url_verification_enabled=False,
        attaching_function_token_enabled=False,
        attaching_conversation_kwargs_enabled=False,
    )

    def on_command(body: dict[str, Any], ack: Ack) -> BoltResponse:
        return _answered(lambda: command(body, ack))

    def on_button(body: dict[str, Any], action: dict[str, Any], ack: Ack) -> BoltResponse:
        return _answered(lambda: button(body, action, ack))

    app.command(_ANY)(on_command)
    app.action(_ANY)(on_button)
    return app


def _answered(listener: Callable[[], BoltResponse]) -> BoltResponse:
    """Bolt would log a mistake with everything that was sent, and answer 500 to what is Slack's own form."""
    try:
        return listener()
    except ValueError:
        return BoltResponse(status=400, body={"error": "The request is none that Slack sends."})
    except Exception as error:
        log.exception("mistake", path=PATH, error=type(error).__name__)
        return BoltResponse(status=500, body={"error": "Something went wrong on our side; it is in the log."})


def _authorized(enterprise_id: str | None, team_id: str | None, user_id: str | None) -> AuthorizeResult:
    """The signature says that Slack sent it; nothing here speaks to Slack, so no token is needed."""
    return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id, user_id=user_id, bot_token="unused")  # noqa: S106


class _Handler(SlackRequestHandler):
    """Bolt takes a form for a button's as soon as the word "payload" stands anywhere in it, as in
    `--reason "the payload is wrong"`, and then reads nothing of it."""

    def handle(self, req: Request) -> Response:
        """See SlackRequestHandler."""
        read: BoltRequest = to_bolt_request(req)
        if not isinstance(read.body, dict):
            raise ValueError("not an object")
        if not read.body:
            read.body = dict(parse_qsl(read.raw_body, keep_blank_values=True))
            read.context = build_context(BoltContext(), read.body)
        return to_flask_response(self.app.dispatch(read))


def _is_text(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _id(said: str) -> str:
    """One request has one id, however often it comes."""
    return f"slack-{hashlib.sha256(said.encode('utf-8', 'replace')).hexdigest()[:32]}"


def _word(fields: dict[str, Any], name: str, at_most: int) -> str:
    value = fields.get(name)
    return value[:at_most] if isinstance(value, str) else ""


def _key(fields: dict[str, Any], name: str) -> str:
    """One of Slack's own ids; empty for anything else."""
    value = fields.get(name)
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _account(team: str, user: str) -> str:
    """Raises ValueError: without them nobody could be told or held to it."""
    if not team or not user:
        raise ValueError("no team or user")
    return f"{team}/{user}"
