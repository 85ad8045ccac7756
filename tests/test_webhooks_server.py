"""The real web process over real sockets: sizes, broken connections, many at once, and kill -9."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient

from bot.store import Store
from tests.deliveries import DEPLOY_SECRET, SECRET, Web, deployment_status, github_headers, prepare
from tests.patience import PATIENCE_S

LIMIT = 25 * 1024 * 1024
CLIENT = httpx.Client(timeout=PATIENCE_S, trust_env=False, limits=httpx.Limits(max_connections=64))


@dataclass
class Server:
    """`rollback-bot web` on a port of its own, in a process group of its own."""

    port: int
    process: subprocess.Popen[bytes]
    store: Store

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(
        self, payload: object, delivery: str | None = None, event: str = "deployment_status"
    ) -> httpx.Response:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        headers = github_headers(body, event, delivery)
        return CLIENT.post(f"{self.url}/webhooks/github", content=body, headers=headers)

    def raw(self, sent: bytes, *, and_close: bool = False) -> bytes:
        """Send bytes as they are, close our half if asked to, and read the answer's first 4 kB."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as connection:
            try:
                connection.sendall(sent)
                if and_close:
                    connection.shutdown(socket.SHUT_WR)
                return connection.recv(4096)
            except TimeoutError:
                raise
            except OSError:
                return b""

    def stored(self) -> tuple[int, int]:
        """How many deliveries and how many workflows there are."""
        web = Web(FlaskClient(Flask("unused")), self.store)
        return web.delivered(), len(web.work())

    def kill(self) -> None:
        """SIGKILL for all of it, as a machine that dies."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=PATIENCE_S)


def start(database_url: str, folder: Path) -> Server:
    """Start it and wait until it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder),
        "PORT": str(port),
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "DEPLOY_WEBHOOK_SECRET": DEPLOY_SECRET,
        "GITHUB_TOKEN": "not-used-here",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "bot.cli", "web"],
        env=environment,
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "web.log").open("wb"),
        start_new_session=True,
    )
    server = Server(port, process, Store(database_url))
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        try:
            if CLIENT.get(f"{server.url}/healthz").status_code == 200:
                return server
        except httpx.TransportError:
            time.sleep(0.1)
    server.kill()
    raise RuntimeError((folder / "web.log").read_text())


@pytest.fixture(scope="module")
def server(prepared_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that leave it running."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(prepared_sqlite, folder / "rollback.db")
    running = start(f"sqlite:///{folder / 'rollback.db'}", folder)
    yield running
    running.store.close()
    if running.process.poll() is None:
        running.kill()


def test_what_is_too_large_is_413_without_being_read(server: Server) -> None:
    head = b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    announced = server.raw(head + b"Content-Length: 30000000000\r\n\r\n")
    assert announced.startswith(b"HTTP/1.1 413"), "announced only, nothing sent"

    sent = server.post(b'{"a": "' + b"x" * LIMIT + b'"}')
    assert (sent.status_code, "25 MB" in sent.json()["error"]) == (413, True)

    chunked = CLIENT.post(
        f"{server.url}/webhooks/github",
        content=(b"x" * 1_000_000 for _ in range(27)),
        headers={"Content-Type": "application/json"},
    )
    assert chunked.status_code == 413
    assert server.post(deployment_status()).status_code == 202, "and it still hears"


def test_25_mb_are_read(server: Server) -> None:
    body = json.dumps({**deployment_status(), "filler": ""}).encode()
    body = body[:-2] + b"x" * (LIMIT - len(body)) + body[-2:]
    assert len(body) == LIMIT
    assert server.post(body).status_code == 202


def test_a_chunked_body_is_as_good(server: Server) -> None:
    body = json.dumps(deployment_status()).encode()
    pieces = (body[at : at + 7] for at in range(0, len(body), 7))
    answer = CLIENT.post(
        f"{server.url}/webhooks/github", content=pieces, headers=github_headers(body, "deployment_status")
    )
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"GET /incidents/" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: \xff\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_noise_is_refused_and_never_5xx(server: Server, noise: bytes) -> None:
    status = server.raw(noise, and_close=True)[9:12]
    assert status[:1] in (b"4", b""), status
    assert server.post(deployment_status()).status_code == 202


def test_a_body_that_stops_in_the_middle_is_not_heard(server: Server) -> None:
    body = json.dumps(deployment_status()).encode()
    headers = github_headers(body, "deployment_status", "cut-off")
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"POST /webhooks/github HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\n\r\n"
    answer = server.raw(request.encode() + body[: len(body) // 2], and_close=True)
    assert answer[9:12] in (b"400", b"")
    assert server.post(deployment_status(), "whole").status_code == 202
    assert server.store.delivery("cut-off") is None
    assert server.store.delivery("whole") is not None


def test_forty_copies_at_once_have_one_effect(server: Server) -> None:
    before = server.stored()
    payload = deployment_status(deployment__id=40)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: server.post(payload, "forty").status_code, range(40)))
    assert set(answers) == {202}
    assert server.stored() == (before[0] + 1, before[1] + 1)


def test_two_hundred_at_once_are_all_stored_once(server: Server) -> None:
    def send(number: int) -> int:
        return server.post(deployment_status(deployment__id=1000 + number // 2), f"d-{number}").status_code

    before = server.stored()
    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(send, range(200))) == {202}
    assert server.stored() == (before[0] + 200, before[1] + 100)


def test_a_database_that_is_locked_for_long_is_503_and_nothing_is_lost(server: Server) -> None:
    payload = deployment_status(deployment__id=50)
    with server.store.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        refused = server.post(payload, "locked")
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        connection.rollback()
    before = server.stored()
    assert server.post(payload, "locked").status_code == 202
    assert server.stored() == (before[0] + 1, before[1] + 1)


def test_silent_connections_do_not_keep_others_waiting(server: Server) -> None:
    head = b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Le"
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
    try:
        for connection in silent:
            connection.sendall(head)
        assert server.post(deployment_status(), "among-silent").status_code == 202
    finally:
        for connection in silent:
            connection.close()


def test_half_a_body_keeps_nobody_waiting_and_is_given_up(server: Server) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in github_headers(b"{}", "push").items())
    request = f"POST /webhooks/github HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 5000\r\n\r\n{{"
    halves = [socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) for _ in range(40)]
    try:
        for connection in halves:
            connection.sendall(request.encode())
        assert server.post(deployment_status(), "among-halves").status_code == 202
        assert {connection.recv(4096)[9:12] for connection in halves} == {b"400"}
    finally:
        for connection in halves:
            connection.close()


def test_a_head_that_never_ends_is_given_up(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert connection.recv(4096) == b"", "closed by the server"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"POST /webhooks/github HTTP/1.1\r\n" + b"A: b\r\n" * 15_000)
        assert connection.recv(4096)[9:12] == b"400"


def test_a_connection_serves_many_requests_and_the_next_starts_afresh(server: Server) -> None:
    body = b"{}"
    sent = "".join(f"{name}: {value}\r\n" for name, value in github_headers(body, "push").items())
    request = f"POST /webhooks/github HTTP/1.1\r\nHost: x\r\n{sent}Content-Length: 2\r\n\r\n".encode() + body
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        answers = connection.makefile("rb")
        for _ in range(1000):
            connection.sendall(request)
            head = list(iter(answers.readline, b"\r\n"))
            length = next(line for line in head if line.startswith(b"content-length"))
            assert (head[0][9:12], b"ignored" in answers.read(int(length[15:]))) == (b"200", True)


def test_a_load_balancers_idle_connection_is_still_there_for_the_next_webhook(server: Server) -> None:
    """uvicorn's own five seconds would end it while the balancer (ALB: 60 s) believes in it: a 502 for GitHub."""
    with contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)) as connection:
        connection.connect()
        ours = connection.sock
        for pause_s in (8.0, 0.0):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() and connection.sock is ours
            time.sleep(pause_s)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"a": NaN}', 400),
        (b'{"a": "NaN is a word"}', 200),
        (b"[1]", 400),
        (b'{"a": 1,}', 400),
        (b'{"a": "\xff"}', 400),
        (b"", 400),
    ],
)
def test_the_doorway_says_what_flask_says(server: Server, body: bytes, status: int) -> None:
    assert server.post(body, event="push").status_code == status
    assert server.post(body, event="issue_comment").status_code == status


def test_a_header_with_an_underscore_poses_as_no_other(server: Server) -> None:
    body = json.dumps(deployment_status()).encode()
    headers = github_headers(body, "deployment_status")
    signature = headers.pop("X-Hub-Signature-256")
    sent = CLIENT.post(
        f"{server.url}/webhooks/github", content=body, headers={**headers, "X_Hub_Signature_256": signature}
    )
    assert sent.status_code == 401


def test_what_was_acknowledged_survives_kill_9(sqlite_url: str, tmp_path: Path) -> None:
    running = start(sqlite_url, tmp_path)
    try:
        answers = [running.post(deployment_status(deployment__id=n), f"d-{n}").status_code for n in (1, 2, 3)]
    finally:
        running.kill()
    assert answers == [202] * 3
    assert running.stored() == (3, 3)


def test_postgresql_that_stops_and_comes_back(postgres_server: object, tmp_path: Path) -> None:
    from tests.postgres import Server as Postgres

    assert isinstance(postgres_server, Postgres)
    url = postgres_server.new_database()
    prepare(url)
    running = start(url, tmp_path)
    try:
        assert running.post(deployment_status(deployment__id=1), "d-1").status_code == 202
        postgres_server.stop()
        try:
            gone = running.post(deployment_status(deployment__id=2), "d-2")
            ready = CLIENT.get(f"{running.url}/readyz")
        finally:
            postgres_server.start()
        assert (gone.status_code, "retry-after" in gone.headers, ready.status_code) == (503, True, 503)
        assert running.post(deployment_status(deployment__id=2), "d-2").status_code == 202
        assert running.stored() == (2, 2)
    finally:
        running.kill()
        running.store.close()
