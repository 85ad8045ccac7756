"""The probe against real servers: what counts as failed, and what as our own trouble."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bot.failures import CannotReadHealth
from bot.http_probe import HttpxProbe
from policies.facts import ProbeSample
from tests.patience import PATIENCE_S

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def site(answer: Answer | bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on loopback that gives `answer` (bytes are sent as they are); its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await answer(request, writer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://localhost:{port}/" if tls else f"http://127.0.0.1:{port}/"
    finally:
        server.close()


def http(status: str, *headers: str, body: bytes = b"ok") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
def probe() -> HttpxProbe:
    """One with all the time it needs."""
    return HttpxProbe(LOOPBACK, timeout_s=PATIENCE_S, times=1)


@pytest.fixture
def hasty() -> HttpxProbe:
    """One that gives up soon."""
    return HttpxProbe(LOOPBACK, timeout_s=0.6, times=1)


@pytest.mark.parametrize(
    ("status", "ok"),
    [
        ("200 OK", True),
        ("204 No Content", True),
        ("304 Not Modified", True),
        ("400 Bad Request", True),
        ("401 Unauthorized", True),
        ("403 Forbidden", True),
        ("404 Not Found", True),
        ("408 Request Timeout", False),
        ("500 Internal Server Error", False),
        ("502 Bad Gateway", False),
        ("503 Service Unavailable", False),
        ("599 Odd", False),
    ],
)
async def test_statuses(probe, status, ok):
    async with site(http(status)) as url:
        sample = await probe.probe(url)
    assert (sample.ok, sample.failed, sample.status) == (int(ok), int(not ok), int(status[:3]))
    assert sample.detail == (None if ok else f"HTTP {status[:3]}")


async def test_too_many_requests_says_nothing_about_the_deploy(probe):
    async with site(http("429 Too Many Requests")) as url:
        with pytest.raises(CannotReadHealth) as refused:
            await probe.probe(url)
    assert (
        refused.value.reason == "The site answered our probe with 429 (too many requests): probe less often."
    )


async def test_a_refused_connection_is_a_failed_probe(probe):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        sample = await probe.probe(f"http://127.0.0.1:{closed.getsockname()[1]}/")
    assert (sample.failed, sample.detail) == (1, "connection refused")


async def unhurried(probe: HttpxProbe, url: str) -> ProbeSample:
    """The probe's answer at a moment at which this machine has time for it."""
    for _ in range(20):
        try:
            return await probe.probe(url)
        except CannotReadHealth as failure:
            if "too busy" not in failure.reason:
                raise
    raise AssertionError("this machine was too busy twenty times in a row")


async def test_a_slow_answer_is_a_failed_probe_within_its_deadline(hasty):
    async def drip(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(40):  # always something, never all of it
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with site(drip) as url:
        sample = await unhurried(hasty, url)
    assert (sample.failed, sample.detail) == (1, "no answer within 0.6 s")


async def test_a_bot_that_is_too_busy_to_listen_blames_no_site(hasty):
    """Whether the site would have answered or not: what we had no time for is not known."""

    async def hang(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def hog() -> None:
        while True:
            time.sleep(0.35)  # noqa: ASYNC251 - the very thing that is tested
            await asyncio.sleep(0)

    for answer in (hang, http("200 OK")):
        async with site(answer) as url:
            await unhurried(hasty, url)  # the clock of the loop ticks
            hogging = asyncio.create_task(hog())
            try:
                said = await hasty.probe(url)
            except CannotReadHealth as failure:
                assert "The bot was too busy to probe" in failure.reason
            else:
                assert answer is not hang and said.failed == 0
            finally:
                hogging.cancel()


def test_a_name_that_is_not_resolved_in_time_is_no_failure_of_the_site(hasty):
    class SlowNames(asyncio.SelectorEventLoop):
        async def getaddrinfo(self, *_: object, **__: object) -> object:  # type: ignore[override]
            await asyncio.sleep(60)

    with asyncio.Runner(loop_factory=SlowNames) as runner, pytest.raises(CannotReadHealth) as refused:
        runner.run(unhurried(hasty, "http://stagelog.example.com/"))
    assert "was not resolved within 0.6 s" in refused.value.reason


@pytest.mark.parametrize(
    "answer",
    [b"", b"what is this\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"],
    ids=["nothing", "not http", "half a body"],
)
async def test_a_broken_answer_is_a_failed_probe(probe, answer):
    async with site(answer) as url:
        sample = await probe.probe(url)
    assert sample.failed == 1
    assert sample.detail == "the answer broke off"


async def test_an_endless_body_is_not_read_to_its_end(probe):
    async def pour(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with site(pour) as url:
        sample = await probe.probe(url)
    assert (sample.ok, sample.status) == (1, 200)


async def test_a_probe_is_several_requests_of_which_some_may_fail():
    asked = 0

    async def every_third_fails(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(http("503 Oops") if asked % 3 == 0 else http("200 OK"))

    async with site(every_third_fails) as url:
        sample = await HttpxProbe(LOOPBACK).probe(url)
    assert asked == 3
    assert (sample.ok, sample.failed, sample.status, sample.detail) == (2, 1, 503, "HTTP 503")


async def test_requests_that_say_nothing_are_left_out_of_a_probe():
    asked = 0

    async def all_but_one_are_refused(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(http("200 OK") if asked == 1 else http("429 Too Many Requests"))

    async with site(all_but_one_are_refused) as url:
        sample = await HttpxProbe(LOOPBACK).probe(url)
    assert (sample.ok, sample.failed, sample.status) == (1, 0, 200)


async def test_redirects_are_followed_on_the_same_host_only(probe):
    asked: list[bytes] = []

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(request.split()[1])
        if asked[-1] == b"/":
            writer.write(http("302 Found", "Location: /login"))
        elif asked[-1] == b"/login":
            writer.write(http("301 Moved", "Location: http://sso.example.com/next"))
        else:
            writer.write(http("500 Oops"))

    async with site(answer) as url:
        sample = await probe.probe(url)
    assert asked == [b"/", b"/login"]
    assert (sample.ok, sample.status) == (1, 301)


async def test_a_redirect_to_a_broken_page_is_a_failed_probe(probe):
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        down = request.startswith(b"GET /down")
        writer.write(http("502 Bad Gateway") if down else http("302 Found", "Location: /down"))

    async with site(answer) as url:
        assert (await probe.probe(url)).detail == "HTTP 502"


async def test_redirects_in_a_circle_are_a_failed_probe(probe):
    async with site(http("302 Found", "Location: /")) as url:
        assert (await probe.probe(url)).detail == "more than 3 redirects"


async def test_the_site_hears_its_own_name_and_who_asks(probe):
    heard: list[bytes] = []

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        heard.append(request.lower())
        writer.write(http("200 OK"))

    async with site(answer) as url:
        port = url.rsplit(":", 1)[1].strip("/")
        await probe.probe(f"http://localhost:{port}/a?b=c")
    assert heard[0].startswith(b"get /a?b=c http/1.1\r\n")
    assert f"host: localhost:{port}\r\n".encode() in heard[0]
    assert b"user-agent: rollback-bot health probe\r\n" in heard[0]
    assert b"cache-control: no-cache\r\n" in heard[0]


# --- TLS ----------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str, days: int) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / f"{name}.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@pytest.mark.parametrize(
    ("name", "days", "trusted", "detail"),
    [
        ("localhost", 30, True, None),
        ("localhost", -1, True, "TLS: certificate has expired"),
        ("elsewhere.example.com", 30, True, "TLS: Hostname mismatch"),
        ("localhost", 30, False, "TLS: self-signed certificate"),
    ],
)
async def test_tls_is_checked_against_the_name(tmp_path, monkeypatch, name, days, trusted, detail):
    tls = certificate(tmp_path, name, days)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / f"{name}.pem"))
    async with site(http("200 OK"), tls) as url:
        sample = await HttpxProbe(LOOPBACK, times=1).probe(url)
    if detail is None:
        assert (sample.ok, sample.status) == (1, 200)
    else:
        assert sample.failed == 1
        assert sample.detail.replace("self signed", "self-signed").startswith(detail)


async def test_a_server_without_tls_where_tls_was_expected(probe):
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(http("400 Bad Request"))
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        sample = await probe.probe(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert sample.failed == 1
    assert sample.detail.startswith("TLS: ")


# --- how it goes ---------------------------------------------------------------------------------------


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch, probe):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9/")
    async with site(http("200 OK")) as url:
        assert (await probe.probe(url)).ok == 1


def test_it_works_on_the_loop_that_the_worker_runs():
    async def ask() -> int:
        async with site(http("200 OK")) as url:
            return (await HttpxProbe((ipaddress.ip_network("127.0.0.0/8"),)).probe(url)).ok

    assert uvloop.run(ask()) == 3
