"""Serve a WSGI application on a loopback port from threads that end with the world."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

LOOPBACK = "127.0.0.1"

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Any]


def free_port() -> int:
    """A loopback TCP port that nobody listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], timeout_s: float, *, pause_s: float = 0.05) -> bool:
    """True as soon as `ready()` is, False when `timeout_s` went by without that."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_s)
    return True


class _QuietHandler(WSGIRequestHandler):
    """Keep connections open as HTTP/1.1 does and leave the terminal to the story."""

    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:
        logging.getLogger("rehearsal.http").debug(message, *args)


class Server:
    """One threaded HTTP server on 127.0.0.1; the port is taken when the object is made."""

    def __init__(self, name: str, application: WsgiApplication, port: int = 0) -> None:
        self.name = name
        self._server: BaseWSGIServer = make_server(
            LOOPBACK, port, application, threaded=True, request_handler=_QuietHandler
        )
        self.port: int = self._server.server_port
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._thread: threading.Thread | None = None

    def start(self) -> Server:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name=self.name, daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering and free the port; may be called twice."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join(timeout=5)
            self._thread = None
        self._server.server_close()
