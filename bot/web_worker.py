"""One process of the web server: uvicorn under gunicorn, with an end to its patience for half a request."""

from __future__ import annotations

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

HEAD_S: Final = 3.0
"""A request's head arrives at once, or its sender means no good; the same goes for a connection's first byte."""
HEAD_BYTES: Final = 65_536
CONNECTIONS: Final = 900
"""Below the usual limit of 1,024 open files."""
KEEP_S: Final = 75
"""A load balancer that keeps a connection for longer than we do sends the next webhook into one that we just closed,
and answers 502: ours must outlast its idle timeout (ALB 60 s, nginx 60 s)."""
KEEP_WHEN_CROWDED_S: Final = 5


class ImpatientProtocol(HttpToolsProtocol):
    """Closes connections on which no head of a request becomes complete; uvicorn would wait for ever."""

    _head_bytes = 0
    _waiting: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        is_crowded = len(self.connections) > CONNECTIONS // 2
        self.timeout_keep_alive = KEEP_WHEN_CROWDED_S if is_crowded else KEEP_S
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._waiting is None and (self.cycle is None or self.cycle.response_complete):
            self._wait_for_head()
        super().data_received(data)
        if self._waiting is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.send_400_response("The request's head is too large.")

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def _wait_for_head(self) -> None:
        self._head_bytes = 0
        self._waiting = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class WebWorker(UvicornWorker):  # type: ignore[misc]
    """gunicorn's worker class. What a proxy says about the sender is not believed: `webhooks.access` looks at
    the connection itself."""

    CONFIG_KWARGS: Final = {
        "loop": "uvloop",
        "http": ImpatientProtocol,
        "ws": "none",
        "lifespan": "off",
        "interface": "asgi3",
        "proxy_headers": False,
        "server_header": False,
        "access_log": False,
        "limit_concurrency": CONNECTIONS,
        "timeout_graceful_shutdown": 8,
    }
