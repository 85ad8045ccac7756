"""Faults between a client and a real HTTP server: drops, errors after acting, slowness, nonsense.

    faults = Faults()
    server = Server("x", faults.around(application)).start()
    faults.at("POST", r"/comments$", dropped(after_acting=True))

A fault waits for the next request that matches (several queue up in order); `seen` notes every request.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Fault:
    """What happens instead of a good answer; with `acts` the server does its work first."""

    acts: bool = False
    drop: bool = False
    wait_s: float = 0.0
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def dropped(*, after_acting: bool = False) -> Fault:
    """The connection breaks off without an answer."""
    return Fault(acts=after_acting, drop=True)


def answered(
    status: int, body: object = None, *, after_acting: bool = False, headers: dict[str, str] | None = None
) -> Fault:
    """Another answer; `body` as bytes goes out as it is, anything else as JSON."""
    raw = (
        body
        if isinstance(body, bytes)
        else json.dumps({"message": "Trouble"} if body is None else body).encode()
    )
    kind = (("Content-Type", "application/json; charset=utf-8"), *(headers or {}).items())
    return Fault(acts=after_acting, status=status, headers=kind, body=raw)


def slow(wait_s: float) -> Fault:
    """The right answer, late."""
    return Fault(acts=True, wait_s=wait_s)


@dataclass
class Seen:
    """One request that came in, faulty or not."""

    method: str
    path: str
    authorization: str = field(repr=False, default="")


class Faults:
    """A queue of faults and the middleware that plays them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, re.Pattern[str], Fault]] = []
        self.seen: list[Seen] = []

    def at(self, method: str, path: str, *faults: Fault) -> None:
        """Play `faults`, one a request, at the next requests whose path matches."""
        with self._lock:
            self._waiting += [(method, re.compile(path), fault) for fault in faults]

    def count(self, method: str, path: str = "") -> int:
        """How many requests of that kind came in."""
        return len([seen for seen in self.seen if seen.method == method and re.search(path, seen.path)])

    def unmet(self) -> list[str]:
        """The faults that no request has met yet."""
        with self._lock:
            return [f"{method} {pattern.pattern}" for method, pattern, _ in self._waiting]

    def clear(self) -> None:
        """Take back the faults that no request has met."""
        with self._lock:
            self._waiting.clear()

    def forget(self) -> None:
        """Start counting anew."""
        self.seen.clear()

    def around(self, application: WsgiApplication) -> WsgiApplication:
        """The application with the faults in front of it."""
        return lambda environ, start_response: self.play(application, environ, start_response)

    def play(
        self, application: WsgiApplication, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        fault = self._next(environ)
        if fault is None:
            return application(environ, start_response)
        time.sleep(fault.wait_s)
        if fault.acts and not fault.drop and fault.status is None:
            return application(environ, start_response)
        if fault.acts:
            b"".join(application(environ, lambda *_: None))
        if fault.drop:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError("dropped on purpose")
        start_response(f"{fault.status} Fault", [*fault.headers, ("Content-Length", str(len(fault.body)))])
        return [fault.body]

    def _next(self, environ: dict[str, Any]) -> Fault | None:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
        with self._lock:
            self.seen.append(Seen(method, path, environ.get("HTTP_AUTHORIZATION", "")))
            for index, (wanted, pattern, fault) in enumerate(self._waiting):
                if wanted == method and pattern.search(path):
                    del self._waiting[index]
                    return fault
        return None
