"""A stand-in Slack on loopback: the Web API's chat methods, addresses to answer to, and people who type and click.

    with Slack() as slack:                       # slack.api_url is SLACK_API_URL, slack.token SLACK_BOT_TOKEN
        slack.channel("deploys")                 # a channel that the bot is in
        slack.listen(bot_url + "/webhooks/slack")
        dana = slack.person("dana")
        said = dana.types("/rollback acme/stagelog#42 status")
        said.acknowledged, said.answers          # what the bot answered at once, and later
        dana.clicks(slack.messages("deploys")[-1], "Approve")

It keeps Slack's own rules where the bot could break them: unknown channels, messages that are not there, more
than five answers to one command, answers after thirty minutes, blocks and texts that are too long.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from werkzeug.wrappers import Request, Response

from rehearsal.serving import Server

ANSWERS_WITHIN_S, MOST_ANSWERS = 1800.0, 5
MOST_BLOCKS, MOST_SECTION_CHARS, MOST_VALUE_CHARS, MOST_TEXT_CHARS = 50, 3000, 2000, 40_000
PATIENCE_S = 3.0
"""Slack waits this long for an answer to a command, then tells its user that the app did not respond."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Message:
    """What stands in a channel. `only_for`: the one user who sees it; `edits` are its earlier texts."""

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    only_for: str | None = None
    metadata: dict[str, Any] | None = None
    edits: list[str] = field(default_factory=list)
    posted_s: float = field(default_factory=time.time)

    @property
    def words(self) -> str:
        """Everything a reader sees, without buttons."""
        return words_of(self.text, self.blocks)

    @property
    def buttons(self) -> dict[str, dict[str, Any]]:
        """Buttons by what stands on them."""
        elements = [e for block in self.blocks for e in block.get("elements", ()) if isinstance(e, dict)]
        return {e["text"]["text"]: e for e in elements if e.get("type") == "button"}


def words_of(text: str, blocks: list[dict[str, Any]]) -> str:
    said = [block["text"]["text"] for block in blocks if isinstance(block.get("text"), dict)]
    for block in blocks:
        if block.get("type") == "context":
            said += [str(element.get("text", "")) for element in block.get("elements", ())]
    return "\n".join(said) or text


@dataclass
class Said:
    """One command or click, what the bot answered at once, and what it posted to its address afterwards."""

    id: str
    user: str
    channel: str
    status: int = 0
    body: bytes = b""
    seconds: float = 0.0
    sent: dict[str, str] = field(default_factory=dict)
    form: bytes = b""
    at_s: float = field(default_factory=time.time)
    answers: list[Message] = field(default_factory=list)
    refused_answers: int = 0

    @property
    def acknowledged(self) -> str:
        """The sentence that the asker alone sees at once."""
        try:
            return str(json.loads(self.body).get("text", ""))
        except (ValueError, AttributeError):
            return ""


@dataclass
class Person:
    """Somebody in the workspace."""

    slack: Slack
    id: str
    name: str

    def types(self, text: str, channel: str = "deploys", **changes: Any) -> Said:
        """Type a slash command, such as `/rollback acme/stagelog#42 status`."""
        command, _, rest = text.partition(" ")
        return self.slack.send_command(self, command, rest, channel, **changes)

    def clicks(self, message: Message, label: str, **changes: Any) -> Said:
        """Press a button (and confirm it, where it asks)."""
        return self.slack.send_click(self, message, message.buttons[label], **changes)


def signed_headers(secret: str, form: bytes, at_s: float | None = None) -> dict[str, str]:
    """As Slack signs: v0=HMAC(secret, "v0:timestamp:body"); `at_s` is epoch, default now."""
    stamp = str(int(time.time() if at_s is None else at_s))
    mac = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + form, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={mac}",
    }


class Slack:
    """One workspace with its channels, and the app that the bot is there."""

    def __init__(self, team: str = "T0REHEARSE") -> None:
        self.team = team
        self.token = f"xoxb-rehearsal-{secrets.token_hex(12)}"
        self.signing_secret = secrets.token_hex(16)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.out_of_order = False
        """Whether the whole API answers nothing but errors."""
        self._channels: dict[str, str] = {}
        self._messages: list[Message] = []
        self._said: dict[str, Said] = {}
        self._people: dict[str, Person] = {}
        self._webhook, self._lock, self._clock = "", threading.RLock(), 0
        self._server = Server("slack", self._application)
        self.url = self._server.url
        self.api_url = f"{self.url}/api"

    def __enter__(self) -> Slack:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Slack:
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop()

    def listen(self, webhook_url: str) -> None:
        """Where the app hears of commands and buttons."""
        self._webhook = webhook_url

    def channel(self, name: str) -> str:
        """The id of a channel; it exists from now on and the bot is in it."""
        with self._lock:
            return self._channels.setdefault(
                name, f"C{len(self._channels):03d}{name.upper():X<8.8}".replace("-", "X")
            )

    def person(self, name: str) -> Person:
        """Somebody by name; always the same."""
        with self._lock:
            user = f"U{hashlib.sha256(name.encode()).hexdigest()[:9].upper()}"
            return self._people.setdefault(name, Person(self, user, name))

    def messages(self, channel: str, *, only_for: str | None = None) -> list[Message]:
        """What stands in a channel, oldest first; with `only_for`, what this user alone sees there."""
        with self._lock:
            there = (channel, self._channels.get(channel))
            return [m for m in self._messages if m.channel in there and m.only_for == only_for]

    # --- people ---------------------------------------------------------------------------------------

    def send_command(self, who: Person, command: str, text: str, channel: str, **changes: Any) -> Said:
        said = self._new(who, channel)
        form = {
            "token": "deprecated",
            "team_id": self.team,
            "team_domain": "rehearsal",
            "channel_id": said.channel,
            "channel_name": channel,
            "user_id": who.id,
            "user_name": who.name,
            "command": command,
            "text": text,
            "api_app_id": "A0REHEARSE",
            "is_enterprise_install": "false",
            "response_url": f"{self.url}/commands/{said.id}",
            "trigger_id": f"{said.id}.trigger",
        }
        form |= changes
        return self._send(said, urllib.parse.urlencode(form).encode())

    def send_click(self, who: Person, message: Message, button: dict[str, Any], **changes: Any) -> Said:
        said = self._new(who, message.channel)
        action = {**button, "type": "button", "block_id": "b1", "action_ts": f"{time.time():.6f}"}
        action.pop("confirm", None)
        payload = {
            "type": "block_actions",
            "team": {"id": self.team, "domain": "rehearsal"},
            "user": {"id": who.id, "username": who.name, "name": who.name, "team_id": self.team},
            "api_app_id": "A0REHEARSE",
            "token": "deprecated",
            "container": {"type": "message", "message_ts": message.ts, "channel_id": message.channel},
            "trigger_id": f"{said.id}.trigger",
            "channel": {"id": message.channel, "name": "x"},
            "is_enterprise_install": False,
            "response_url": f"{self.url}/actions/{said.id}",
            "actions": [action],
        }
        payload |= changes
        return self._send(said, urllib.parse.urlencode({"payload": json.dumps(payload)}).encode())

    def again(self, said: Said) -> Said:
        """The very same request once more, byte for byte; its answers are those of the first one."""
        self._post(said, said.form, said.sent)
        return said

    def _new(self, who: Person, channel: str) -> Said:
        identity = secrets.token_hex(8)
        channel_id = channel if channel.startswith(("C", "D", "U")) else self.channel(channel)
        said = Said(identity, who.id, channel_id)
        with self._lock:
            self._said[identity] = said
        return said

    def _send(self, said: Said, form: bytes) -> Said:
        said.form, said.sent = form, self.signed(form)
        self._post(said, form, said.sent)
        return said

    def signed(self, form: bytes, at_s: float | None = None, secret: str | None = None) -> dict[str, str]:
        """The headers of a genuine request; `at_s` (epoch) and `secret` make it another one."""
        return signed_headers(secret or self.signing_secret, form, at_s)

    def post_raw(self, form: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Send anything to the bot's address; status and body."""
        request = urllib.request.Request(self._webhook, form, headers, method="POST")
        try:
            with _DIRECT.open(request, timeout=30) as answer:
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def _post(self, said: Said, form: bytes, headers: dict[str, str]) -> None:
        began = time.monotonic()
        said.status, said.body = self.post_raw(form, headers)
        said.seconds = time.monotonic() - began

    # --- the app's side -------------------------------------------------------------------------------

    def _application(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
        request = Request(environ)
        if self.out_of_order:
            response = Response("upstream is away", 503)
        elif request.path.startswith("/api/"):
            response = self._api(request)
        else:
            response = self._respond(request)
        return iter(response(environ, start))

    def _api(self, request: Request) -> Response:
        method = request.path.removeprefix("/api/")
        given = self._given(request)
        with self._lock:
            self.calls.append((method, given))
            if request.headers.get("Authorization") != f"Bearer {self.token}":
                return _json({"ok": False, "error": "invalid_auth"})
            done = _METHODS.get(method, lambda *_: {"ok": False, "error": "unknown_method"})(self, given)
        return _json(done)

    @staticmethod
    def _given(request: Request) -> dict[str, Any]:
        if request.mimetype == "application/json":
            return dict(request.get_json(force=True))
        given: dict[str, Any] = dict(request.form) | dict(request.args)
        for name in ("blocks", "metadata"):
            if isinstance(given.get(name), str):
                given[name] = json.loads(given[name])
        return given

    def _place(self, channel: str) -> str | None:
        """The id of what a message goes to; None: there is no such channel."""
        if channel in self._channels.values() or channel in {one.id for one in self._people.values()}:
            return channel
        return self._channels.get(channel.removeprefix("#"))

    def post_message(self, given: dict[str, Any]) -> dict[str, Any]:
        place = self._place(str(given.get("channel", "")))
        if place is None:
            return {"ok": False, "error": "channel_not_found"}
        if wrong := _too_much(given):
            return {"ok": False, "error": wrong}
        message = self._add(place, given, metadata=given.get("metadata"))
        return {"ok": True, "channel": place, "ts": message.ts, "message": {"text": message.text}}

    def update_message(self, given: dict[str, Any]) -> dict[str, Any]:
        found = [m for m in self._messages if m.ts == given.get("ts") and m.channel == given.get("channel")]
        if not found or found[0].only_for is not None:
            return {"ok": False, "error": "message_not_found"}
        if wrong := _too_much(given):
            return {"ok": False, "error": wrong}
        (message,) = found
        message.edits.append(message.words)
        message.text, message.blocks = str(given.get("text", "")), list(given.get("blocks") or ())
        return {"ok": True, "channel": message.channel, "ts": message.ts}

    def post_ephemeral(self, given: dict[str, Any]) -> dict[str, Any]:
        place = self._place(str(given.get("channel", "")))
        if place is None:
            return {"ok": False, "error": "channel_not_found"}
        if wrong := _too_much(given):
            return {"ok": False, "error": wrong}
        message = self._add(place, given, only_for=str(given.get("user", "")))
        return {"ok": True, "message_ts": message.ts}

    def history(self, given: dict[str, Any]) -> dict[str, Any]:
        there = [m for m in self._messages if m.channel == given.get("channel") and m.only_for is None]
        told = [{"ts": m.ts, "text": m.text, "metadata": m.metadata or {}} for m in reversed(there)]
        return {"ok": True, "messages": told[: int(given.get("limit", 100))]}

    def auth_test(self, _given: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "team_id": self.team, "user_id": "U0BOT", "bot_id": "B0BOT"}

    def _add(self, place: str, given: dict[str, Any], **more: Any) -> Message:
        self._clock += 1
        ts = f"{int(time.time())}.{self._clock:06d}"
        message = Message(place, ts, str(given.get("text") or ""), list(given.get("blocks") or ()), **more)
        self._messages.append(message)
        return message

    def _respond(self, request: Request) -> Response:
        """A post to the address that came with a command or a click."""
        with self._lock:
            said = self._said.get(request.path.rpartition("/")[2])
            if said is None or time.time() - said.at_s > ANSWERS_WITHIN_S:
                return Response("expired_url", 404)
            if len(said.answers) >= MOST_ANSWERS:
                said.refused_answers += 1
                return Response("used_url", 404)
            given = dict(request.get_json(force=True))
            if wrong := _too_much(given):
                return Response(wrong, 400)
            only_for = said.user if given.get("response_type", "ephemeral") == "ephemeral" else None
            said.answers.append(self._add(said.channel, given, only_for=only_for))
        return Response("ok")


_METHODS: dict[str, Callable[[Slack, dict[str, Any]], dict[str, Any]]] = {
    "chat.postMessage": Slack.post_message,
    "chat.update": Slack.update_message,
    "chat.postEphemeral": Slack.post_ephemeral,
    "conversations.history": Slack.history,
    "auth.test": Slack.auth_test,
}


def _too_much(given: dict[str, Any]) -> str:
    """Slack's own word for blocks that it would not take; empty where it would."""
    blocks = given.get("blocks") or ()
    if len(blocks) > MOST_BLOCKS:
        return "invalid_blocks"
    for block in blocks:
        text = block.get("text")
        if block.get("type") == "section" and not 0 < len((text or {}).get("text", "")) <= MOST_SECTION_CHARS:
            return "invalid_blocks"
        for element in block.get("elements", ()):
            if len(str(element.get("value", ""))) > MOST_VALUE_CHARS:
                return "invalid_blocks"
    if not blocks and not given.get("text"):
        return "no_text"
    return "msg_too_long" if len(str(given.get("text") or "")) > MOST_TEXT_CHARS else ""


def _json(told: dict[str, Any]) -> Response:
    return Response(json.dumps(told), content_type="application/json")
