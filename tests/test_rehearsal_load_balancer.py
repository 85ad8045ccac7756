"""The load balancer of the rehearsal: ALB's health states, reasons, routing, error pages and counts."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from rehearsal.load_balancer import HealthCheck, LoadBalancer, Target, TargetGroup, Traffic
from rehearsal.serving import free_port, wait_until
from tests.patience import PATIENCE_S

QUICK = HealthCheck(interval_s=0.1, timeout_s=0.4, healthy_threshold=3, unhealthy_threshold=2)


class App:
    """An HTTP server whose answers a test decides."""

    def __init__(self) -> None:
        self.status, self.delay_s = 200, 0.0
        self.health_status: int | None = None
        self.heard: list[tuple[str, str, dict[str, str], bytes]] = []
        app = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(app.delay_s)
                checked = self.headers["User-Agent"] == "ELB-HealthChecker/2.0"
                if not checked:
                    app.heard.append((self.command, self.path, dict(self.headers), body))
                status = app.health_status if checked and app.health_status else app.status
                text = f"answered {status}".encode()
                self.send_response(status)
                self.send_header("Set-Cookie", "a=1")
                self.send_header("Set-Cookie", "b=2")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else text)

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self._answer
                raise AttributeError(name)

            def log_message(self, *_: Any) -> None:
                pass

        self.port = free_port()
        self._make: Callable[[], ThreadingHTTPServer] = lambda: ThreadingHTTPServer(
            ("127.0.0.1", self.port), Handler
        )
        self.server: ThreadingHTTPServer | None = None
        self.up()

    def up(self) -> None:
        self.server = self._make()
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def down(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


@pytest.fixture
def app() -> Iterator[App]:
    one = App()
    yield one
    one.down()


@pytest.fixture
def group(app: App) -> TargetGroup:
    one = TargetGroup("stagelog-dev", QUICK, draining_s=0.3)
    one.register(Target("i-1", app.port))
    return one


@pytest.fixture
def balancer(group: TargetGroup) -> Iterator[LoadBalancer]:
    with LoadBalancer("stagelog", [group]) as one:
        yield one


def becomes(group: TargetGroup, state: str, reason: str | None = None) -> bool:
    def there() -> bool:
        (one,) = group.health()
        return one["state"] == state and (reason is None or one["reason"] == reason)

    return wait_until(there, PATIENCE_S, pause_s=0.02)


def states(group: TargetGroup) -> list[tuple[str, str | None]]:
    return [(state, reason) for _, _, state, reason in group.changes]


def test_a_new_target_needs_one_success_and_a_fallen_one_needs_the_threshold(
    app: App, group: TargetGroup, balancer: LoadBalancer
) -> None:
    assert becomes(group, "healthy")
    (target,) = group.targets.values()
    assert len([check for check in target.checks if check[1]]) <= 2, "the first success was enough"
    app.status = 503
    assert becomes(group, "unhealthy", "Target.ResponseCodeMismatch")
    assert group.health()[0]["description"] == "Health checks failed with these codes: [503]"
    app.status = 200
    assert becomes(group, "healthy")
    passed = [check[1] for check in target.checks]
    assert passed[-3:] == [True, True, True] and passed.count(True) >= 4


def test_a_single_failed_check_does_not_count(app: App, group: TargetGroup, balancer: LoadBalancer) -> None:
    assert becomes(group, "healthy")
    (target,) = group.targets.values()
    before = len(target.checks)
    app.health_status = 500
    assert wait_until(
        lambda: any(not check[1] for check in target.checks[before:]), PATIENCE_S, pause_s=0.005
    )
    app.health_status = None
    assert wait_until(lambda: target.checks[-1][1], PATIENCE_S, pause_s=0.005)
    failed_in_a_row = max(
        len(run) for run in "".join("." if check[1] else "x" for check in target.checks).split(".")
    )
    assert failed_in_a_row >= QUICK.unhealthy_threshold or target.state == "healthy"


def test_a_closed_port_and_a_slow_answer_have_their_own_reasons(
    app: App, group: TargetGroup, balancer: LoadBalancer
) -> None:
    assert becomes(group, "healthy")
    app.down()
    assert becomes(group, "unhealthy", "Target.FailedHealthChecks")
    app.up()
    assert becomes(group, "healthy")
    app.delay_s = 1.0
    assert becomes(group, "unhealthy", "Target.Timeout")
    assert group.health()[0]["description"] == "Request timed out"


def test_a_target_that_never_answered_goes_through_initial(group: TargetGroup, app: App) -> None:
    app.down()
    assert group.health()[0]["reason"] == "Elb.RegistrationInProgress"
    with LoadBalancer("stagelog", [group]):
        assert becomes(group, "unhealthy")
    assert states(group)[:2] == [
        ("initial", "Elb.InitialHealthChecking"),
        ("unhealthy", "Target.FailedHealthChecks"),
    ]


def test_a_deregistered_target_drains_and_goes(group: TargetGroup, balancer: LoadBalancer) -> None:
    assert becomes(group, "healthy")
    (target,) = group.targets.values()
    group.deregister(target)
    assert group.health()[0]["reason"] == "Target.DeregistrationInProgress"
    assert requests.get(balancer.url, timeout=PATIENCE_S).status_code == 503, (
        "nobody is left to send traffic to"
    )
    assert wait_until(lambda: group.health() == [], PATIENCE_S)


def test_a_group_without_traffic_is_unused(group: TargetGroup) -> None:
    group.attached = False
    assert (group.health()[0]["state"], group.health()[0]["reason"]) == ("unused", "Target.NotInUse")


@pytest.mark.parametrize(
    ("matcher", "code", "accepted"),
    [
        ("200", 200, True),
        ("200", 201, False),
        ("200,301", 301, True),
        ("200-399", 304, True),
        ("200-299", 500, False),
    ],
)
def test_matchers(matcher: str, code: int, accepted: bool) -> None:
    assert HealthCheck(matcher=matcher).accepts(code) is accepted


def test_requests_reach_the_target_whole(app: App, group: TargetGroup, balancer: LoadBalancer) -> None:
    assert becomes(group, "healthy")
    answer = requests.post(
        balancer.url + "/api/uploads/presign?a=1&b=%20x", json={"filename": "test.png"}, timeout=PATIENCE_S
    )
    assert answer.status_code == 200 and answer.text == "answered 200"
    assert answer.raw.headers.getlist("Set-Cookie") == ["a=1", "b=2"]
    method, path, headers, body = app.heard[-1]
    assert (method, path) == ("POST", "/api/uploads/presign?a=1&b=%20x")
    assert json.loads(body) == {"filename": "test.png"}
    assert headers["X-Forwarded-For"] == "127.0.0.1" and headers["X-Forwarded-Proto"] == "http"
    assert requests.head(balancer.url, timeout=PATIENCE_S).status_code == 200


def test_nobody_listening_is_a_502_in_alb_s_words(
    app: App, group: TargetGroup, balancer: LoadBalancer
) -> None:
    assert becomes(group, "healthy")
    app.down()
    answer = requests.get(balancer.url, timeout=PATIENCE_S)
    assert answer.status_code == 502 and answer.headers["Server"] == "awselb/2.0"
    assert "<center><h1>502 Bad Gateway</h1></center>" in answer.text
    assert becomes(group, "unhealthy")
    assert requests.get(balancer.url, timeout=PATIENCE_S).status_code == 502, (
        "with all unhealthy ALB fails open"
    )


def test_the_application_s_own_500_passes_through(
    app: App, group: TargetGroup, balancer: LoadBalancer
) -> None:
    app.status, app.health_status = 500, 200
    assert becomes(group, "healthy"), "500s behind a passing health check are invisible to ALB"
    answer = requests.get(balancer.url, timeout=PATIENCE_S)
    assert (answer.status_code, answer.text) == (500, "answered 500")


def test_an_answer_that_takes_too_long_is_a_504(app: App, group: TargetGroup) -> None:
    with LoadBalancer("stagelog", [group], idle_timeout_s=0.3) as balancer:
        assert becomes(group, "healthy")
        app.delay_s = 0.8
        answer = requests.get(balancer.url, timeout=PATIENCE_S)
    assert answer.status_code == 504 and "504 Gateway Time-out" in answer.text


def test_healthy_targets_take_turns_and_unhealthy_ones_get_nothing(app: App, group: TargetGroup) -> None:
    other = App()
    group.register(Target("i-2", other.port, zone="eu-central-1b"))
    try:
        with LoadBalancer("stagelog", [group]) as balancer:
            assert wait_until(lambda: group.counts() == (2, 0), PATIENCE_S)
            for _ in range(6):
                requests.get(balancer.url, timeout=PATIENCE_S)
            assert (len(app.heard), len(other.heard)) == (3, 3)
            other.health_status = 503
            assert wait_until(lambda: group.counts() == (1, 1), PATIENCE_S)
            other.heard.clear()
            for _ in range(4):
                assert requests.get(balancer.url, timeout=PATIENCE_S).status_code == 200
            assert other.heard == []
    finally:
        other.down()


def test_counts_are_absent_without_traffic_and_told_with_it(
    app: App, group: TargetGroup, balancer: LoadBalancer
) -> None:
    assert becomes(group, "healthy")
    began = time.time()
    assert balancer.metrics(began, began + 1) == {"load_balancer": {}, "hosts": {"stagelog-dev": (1, 0)}}
    requests.get(balancer.url, timeout=PATIENCE_S)
    app.status, app.health_status = 500, 200
    requests.get(balancer.url, timeout=PATIENCE_S)
    app.down()
    requests.get(balancer.url, timeout=PATIENCE_S)
    with urllib.request.urlopen(
        f"{balancer.control_url}/metrics?since={began}", timeout=PATIENCE_S
    ) as answer:
        told = json.load(answer)["load_balancer"]
    wanted = {"RequestCount": 3, "HTTPCode_ELB_5XX_Count": 1, "HTTPCode_Target_5XX_Count": 1}
    assert wanted.items() <= told.items() and told["HTTPCode_Target_2XX_Count"] == 1


def test_traffic_uses_the_site_all_the_time(app: App, group: TargetGroup, balancer: LoadBalancer) -> None:
    traffic = Traffic(balancer.url, every_s=0.02).start()
    assert wait_until(lambda: len(balancer.served) > 5, PATIENCE_S)
    traffic.stop()
    assert {request.status for request in balancer.served} <= {200, 502}
