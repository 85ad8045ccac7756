"""Serve a WSGI application on a loopback port from threads that end with the world."""

from __future__ import annotations

import http.client
import logging
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

LOOPBACK = "127.0.0.1"

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Any]


def free_port() -> int:
    """A loopback TCP port for something that binds it later, and perhaps again.

    Taken from below the range that the system hands to outgoing connections: one of those could otherwise sit
    on the port while a container is being replaced.
    """
    for port in random.sample(range(15_000, _first_ephemeral_port()), k=50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _first_ephemeral_port() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = 32_768
    return first if first > 15_100 else 65_000


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str, timeout_s: float = 5.0) -> tuple[int, bytes]:
    """GET a loopback address past any proxy of this terminal: (status, body); OSError when nobody answers."""
    try:
        with _DIRECT.open(url, timeout=timeout_s) as answer:
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error


def wait_until(ready: Callable[[], bool], timeout_s: float, *, pause_s: float = 0.05) -> bool:
    """True as soon as `ready()` is, False when `timeout_s` went by without that."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_s)
    return True


class _QuietHandler(WSGIRequestHandler):
    """Leave the terminal to the story, and the Server and Date headers to whoever answers."""

    disable_nagle_algorithm = True
    _dated = False

    def send_response(self, code: int, message: str | None = None) -> None:
        self._dated = False
        self.log_request(code)
        self.send_response_only(code, message)

    def send_header(self, keyword: str, value: str) -> None:
        self._dated = self._dated or keyword.lower() == "date"
        super().send_header(keyword, value)

    def end_headers(self) -> None:
        if not self._dated:
            self.send_header("Date", self.date_time_string())
        super().end_headers()

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
