"""Takes each request in whole, answers by itself what nobody acts on, and hands the rest to Flask.

Nearly everything an organisation's webhook sends is irrelevant: answered here, on the event loop, it costs a
quarter of what Flask needs for it. Senders wait here too, where a slow one costs a buffer and not a thread.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Container, Iterable, MutableMapping
from typing import Any

from webhooks.bodies import JSON, LIMIT_BYTES, NOT_WHOLE, TOO_LARGE, is_object
from webhooks.github import DELIVERY, EVENT, PATH, why_ignored
from webhooks.signatures import signed

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = dict[bytes, bytes]

SILENCE_S = 3.0
"""A sender that is silent this long in the middle of a body is gone, or means no good."""
WHOLE_S = 60.0
"""Longest that a body may take; GitHub itself gives up after ten seconds."""
HELD_BYTES = 8 * LIMIT_BYTES
"""Bodies under way in one process; more than this waits outside."""
DRAIN_BYTES, DRAIN_S, DRAIN_PAUSE_S = 64 * 1024 * 1024, 5.0, 1.0
RETRY_AFTER_S = 10


class Doorway:
    """An ASGI application in front of `application`; `heard`: the events that it acts on.

    Gives no answer of its own but those that webhooks.github would give too, and 503 when too many large
    bodies are under way."""

    def __init__(self, application: Application, secret: bytes, heard: Container[str]) -> None:
        self._application = application
        self._secret = secret
        self._heard = heard
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI defines it."""
        if scope["type"] != "http":
            return
        headers: Headers = dict(scope["headers"])
        announced = _announced(headers)
        if announced is not None and announced > LIMIT_BYTES:
            await _too_large(receive, send)
            return
        body = bytearray()
        try:
            if not await self._fill(body, receive):
                await _too_large(receive, send)
                return
            if announced is not None and len(body) < announced:
                return  # the sender is gone
            await self._pass_in(scope, headers, bytes(body), send)
        except TimeoutError:
            await _answer(send, 400, {"error": NOT_WHOLE}, close=True)
        except _Full:
            await _answer(send, 503, {"error": "Too much is arriving at once; send it again."}, close=True)
        finally:
            self._held_bytes -= len(body)

    async def _fill(self, body: bytearray, receive: Receive) -> bool:
        """Read what was sent; False if it is too large. Raises TimeoutError, _Full."""
        clock = asyncio.get_running_loop().time
        until_s = clock() + WHOLE_S
        async with asyncio.timeout(SILENCE_S) as patience:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return True
                piece: bytes = message.get("body", b"")
                body += piece
                self._held_bytes += len(piece)
                if len(body) > LIMIT_BYTES:
                    return False
                if not message.get("more_body", False):
                    return True
                if self._held_bytes > HELD_BYTES:
                    raise _Full
                patience.reschedule(min(clock() + SILENCE_S, until_s))

    async def _pass_in(self, scope: Scope, headers: Headers, body: bytes, send: Send) -> None:
        event = headers.get(b"x-github-event", b"").decode("latin-1")
        if self._is_irrelevant(scope, headers, event, body):
            await _answer(send, 200, {"ignored": why_ignored(event)})
            return
        if not scope["query_string"].isascii():
            await _answer(send, 400, {"error": "The address must be ASCII."})
            return
        scope["headers"] = _for_wsgi(scope["headers"], len(body))
        await self._application(scope, _whole(body), send)

    def _is_irrelevant(self, scope: Scope, headers: Headers, event: str, body: bytes) -> bool:
        return (
            scope["path"] == PATH
            and scope["method"] == "POST"
            and event not in self._heard
            and headers.get(b"content-type") == JSON.encode()
            and EVENT.fullmatch(event) is not None
            and DELIVERY.fullmatch(headers.get(b"x-github-delivery", b"").decode("latin-1")) is not None
            and signed(self._secret, body, headers.get(b"x-hub-signature-256", b"").decode("latin-1"))
            and is_object(body)
        )


class _Full(Exception):
    """More bodies are under way than this process holds."""


def _announced(headers: Headers) -> int | None:
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() and len(length) < 19 else None


def _for_wsgi(headers: Iterable[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    """Of a body that is whole. WSGI cannot tell `X_Name` from `X-Name`: the former could pose as the latter."""
    framing = (b"transfer-encoding", b"content-length")
    kept = [(name, value) for name, value in headers if b"_" not in name and name not in framing]
    return [*kept, (b"content-length", str(length).encode())]


def _whole(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _answer(send: Send, status: int, said: dict[str, str], *, close: bool = False) -> None:
    await _begin_answer(send, status, body := json.dumps(said).encode(), close=close)
    await send({"type": "http.response.body", "body": body})


async def _begin_answer(send: Send, status: int, body: bytes, *, close: bool) -> None:
    headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())]
    if close:
        headers.append((b"connection", b"close"))
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _too_large(receive: Receive, send: Send) -> None:
    """Answer, then read and drop what is still arriving: a connection that is closed with unread data is reset,
    and the sender would see a broken pipe instead of the 413."""
    body = json.dumps({"error": TOO_LARGE}).encode()
    await _begin_answer(send, 413, body, close=True)
    await send({"type": "http.response.body", "body": body, "more_body": True})
    clock = asyncio.get_running_loop().time
    left, until_s = DRAIN_BYTES, clock() + DRAIN_S
    while left > 0 and clock() < until_s:
        try:
            async with asyncio.timeout(DRAIN_PAUSE_S):
                message = await receive()
        except TimeoutError:
            break
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
        left -= len(message.get("body", b""))
    await send({"type": "http.response.body", "body": b""})
