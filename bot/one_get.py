"""One GET on a connection of its own, to an address that was checked before: the cheap part of a probe.

A client with a pool, proxies and cookies costs twenty times the CPU (figures in docs/bench-load.md), and every
probe wants a new connection: a kept one would not notice a site that no longer accepts any.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Final, cast

import httptools

BODY_BYTES: Final = 65_536
"""Read to notice an answer that breaks off; more would only be traffic."""
HEAD_BYTES: Final = 65_536


class BrokeOff(Exception):
    """The connection was made, and what came over it was no whole answer."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask, and as what: `path` with its query, `host` as the Host header says it."""

    address: str
    port: int
    tls: ssl.SSLContext | None
    name: str
    host: str
    path: str


async def get(target: Target) -> tuple[int, str | None]:
    """The status and the Location header. May be repeated; waits as long as the caller lets it.

    Raises OSError (ssl.SSLError among them) if no connection came about, BrokeOff if the answer did not."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[tuple[int, str | None]] = loop.create_future()
    tls = target.tls
    exchange = _Exchange(answered, target)
    transport, _protocol = await loop.create_connection(
        lambda: exchange,
        target.address,
        target.port,
        ssl=tls,
        server_hostname=target.name if tls else None,
    )
    try:
        return await answered
    finally:
        exchange.forget()
        # Nothing is owed to the other side any more; an orderly end of TLS would only keep sockets open.
        transport.abort() if tls else transport.close()


class _Exchange(asyncio.Protocol):
    """The request, and the answer as far as it is needed."""

    def __init__(self, answered: asyncio.Future[tuple[int, str | None]], target: Target) -> None:
        self._answered = answered
        self._target = target
        self._parser: httptools.HttpResponseParser | None = None
        self._seen_bytes = 0
        self._location: str | None = None
        self._length: int | None = None
        self._chunked = False
        self._in_body = False

    def forget(self) -> None:
        """The answer is there, or nobody waits for it. The parser holds this and this the parser: left so, thousands
        of probes a second keep the search for unused memory busy."""
        self._parser = None

    # --- connection ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        target, self._parser = self._target, httptools.HttpResponseParser(self)
        # uvloop's transports are none of asyncio's classes, so this cannot be looked at, only said.
        cast(asyncio.WriteTransport, transport).write(
            f"GET {target.path} HTTP/1.1\r\nHost: {target.host}\r\nUser-Agent: rollback-bot health probe\r\n"
            "Accept: */*\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n".encode("ascii")
        )

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            return
        self._seen_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._end()
        except httptools.HttpParserError as error:
            self._break(BrokeOff(str(error)))
        if not self._in_body and self._seen_bytes > HEAD_BYTES:
            self._break(BrokeOff("no end of its head"))

    def connection_lost(self, error: Exception | None) -> None:
        ends_by_closing = self._in_body and self._length is None and not self._chunked
        if error is None and ends_by_closing:
            self._end()
        else:
            self._break(BrokeOff("closed too early"))

    # --- what the parser calls -------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"location":
            self._location = value.decode("latin-1").strip()
        elif name == b"content-length" and value.strip().isdigit():
            self._length = int(value)
        elif name == b"transfer-encoding":
            self._chunked = b"chunked" in value.lower()

    def on_headers_complete(self) -> None:
        self._in_body = self._is_final()

    def on_body(self, body: bytes) -> None:
        if self._seen_bytes >= BODY_BYTES:
            self._end()

    def on_message_complete(self) -> None:
        if self._is_final():
            self._end()

    def _is_final(self) -> bool:
        """Not one of the 1xx that may come before the answer."""
        status = self._status()
        return status >= 200 or status == 101

    def _status(self) -> int:
        return 0 if self._parser is None else int(self._parser.get_status_code())

    def _end(self) -> None:
        if not self._answered.done():
            self._answered.set_result((self._status(), self._location))

    def _break(self, why: BrokeOff) -> None:
        if not self._answered.done():
            self._answered.set_exception(why)
