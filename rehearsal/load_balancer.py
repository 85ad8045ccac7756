"""An Application Load Balancer on loopback: a reverse proxy over checked targets, with ALB's own error pages.

    group = TargetGroup("stagelog-dev", HealthCheck())
    group.register(Target("i-0abc", port))
    with LoadBalancer("stagelog", [group]) as balancer:
        requests.get(balancer.url)

A second server on `control_url` tells `GET /targets` and `GET /metrics` to whatever plays AWS.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Request, Response

from rehearsal.health_checks import HealthCheck, Target, TargetGroup
from rehearsal.serving import LOOPBACK, Server

__all__ = ["HealthCheck", "LoadBalancer", "Target", "TargetGroup", "Traffic"]

_TITLES = {502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out"}
_HOP_BY_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
    ]
)
_IDLE_TIMEOUT_S = 60.0


def _error_page(status: int) -> Response:
    title = f"{status} {_TITLES[status]}"
    html = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "</body>\r\n</html>\r\n"
    )
    return Response(html, status=status, headers={"Server": "awselb/2.0"}, content_type="text/html")


@dataclass(frozen=True, slots=True)
class Served:
    """One request that came through: when (epoch seconds), what it was answered, by whom."""

    at_s: float
    status: int
    by_target: bool
    duration_s: float
    method: str
    path: str
    agent: str


class LoadBalancer:
    """Forwards to the first target group's targets in turn; `served` is its access log."""

    def __init__(
        self, name: str, groups: list[TargetGroup], *, port: int = 0, idle_timeout_s: float = _IDLE_TIMEOUT_S
    ) -> None:
        self.name = name
        self.groups = groups
        self.idle_timeout_s = idle_timeout_s
        self.served: list[Served] = []
        self._turn = itertools.count()
        self._server = Server("load-balancer", self._application, port)
        self._control = Server("load-balancer-control", self._control_application)
        self.url = self._server.url
        self.port = self._server.port
        self.control_url = self._control.url

    def __enter__(self) -> LoadBalancer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> LoadBalancer:
        for group in self.groups:
            group.start()
        self._server.start()
        self._control.start()
        return self

    def stop(self) -> None:
        self._server.stop()
        self._control.stop()
        for group in self.groups:
            group.stop()

    def add_group(self, group: TargetGroup) -> None:
        """Check one more group (a sibling service's, for instance) without sending it this traffic."""
        self.groups.append(group.start())

    def first_answer(self, status: int, since_s: float) -> float | None:
        """When the site first answered so after a moment (epoch seconds)."""
        return next((one.at_s for one in self.served if one.at_s >= since_s and one.status == status), None)

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        request = Request(environ)
        began = time.monotonic()
        answer, by_target = self._forward(request)
        self.served.append(
            Served(
                time.time(),
                answer.status_code,
                by_target,
                time.monotonic() - began,
                request.method,
                request.path,
                request.headers.get("User-Agent", ""),
            )
        )
        return answer(environ, start_response)

    def _forward(self, request: Request) -> tuple[Response, bool]:
        targets = self.groups[0].routable()
        if not targets:
            return _error_page(503), False
        target = targets[next(self._turn) % len(targets)]
        connection = http.client.HTTPConnection(target.host, target.port, timeout=self.idle_timeout_s)
        try:
            connection.request(
                request.method, _target_address(request), request.get_data() or None, self._headers(request)
            )
            answer = connection.getresponse()
            body = answer.read()
        except TimeoutError:
            return _error_page(504), False
        except (OSError, http.client.HTTPException):
            return _error_page(502), False
        finally:
            connection.close()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
        response = Response(body, status=answer.status)
        response.headers.clear()
        for name, value in kept:
            if name.lower() != "content-length":
                response.headers.add(name, value)
        response.headers["Content-Length"] = str(len(body))
        return response, True

    def _headers(self, request: Request) -> dict[str, str]:
        kept = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        before = request.headers.get("X-Forwarded-For")
        kept["X-Forwarded-For"] = ", ".join(filter(None, (before, request.remote_addr)))
        kept["X-Forwarded-Proto"] = "http"
        kept["X-Forwarded-Port"] = str(self.port)
        return kept

    def _control_application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        request = Request(environ)
        if request.path == "/targets":
            content: Any = {group.name: group.health() for group in list(self.groups)}
        elif request.path == "/metrics":
            since_s = float(request.args.get("since", "0"))
            content = self.metrics(since_s, float(request.args.get("until", str(time.time()))))
        else:
            return Response("Not Found", status=404)(environ, start_response)
        return Response(json.dumps(content), content_type="application/json")(environ, start_response)

    def metrics(self, since_s: float, until_s: float) -> dict[str, Any]:
        """What CloudWatch would be told about a period; request counts are absent without traffic."""
        seen = [one for one in list(self.served) if since_s <= one.at_s < until_s]
        counts: dict[str, float] = {}
        if seen:
            counts["RequestCount"] = len(seen)
            for name, amount in (
                ("HTTPCode_ELB_5XX_Count", sum(1 for o in seen if not o.by_target and o.status >= 500)),
                ("HTTPCode_Target_5XX_Count", sum(1 for o in seen if o.by_target and o.status >= 500)),
                ("HTTPCode_Target_2XX_Count", sum(1 for o in seen if o.by_target and o.status // 100 == 2)),
            ):
                if amount:
                    counts[name] = amount
            counts["TargetResponseTime"] = sum(one.duration_s for one in seen) / len(seen)
        hosts = {group.name: group.counts() for group in list(self.groups)}
        return {"load_balancer": counts, "hosts": hosts}


def _target_address(request: Request) -> str:
    query = request.query_string.decode("latin-1")
    return urllib.parse.quote(request.path, safe="/%:@!$&'()*+,;=~-._") + (f"?{query}" if query else "")


class Traffic:
    """A few people who use the site all the time: one request every `every_s` seconds."""

    def __init__(self, url: str, every_s: float = 0.25) -> None:
        self._url = urllib.parse.urlsplit(url)
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> Traffic:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        for path in self._pages():
            connection = http.client.HTTPConnection(LOOPBACK, self._url.port or 80, timeout=5)
            try:
                connection.request("GET", path, headers={"User-Agent": "producer"})
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            if self._stopped.wait(self._every_s):
                return

    @staticmethod
    def _pages() -> Iterator[str]:
        return itertools.cycle(("/", "/", "/static/stages/style.css"))
