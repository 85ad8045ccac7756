"""The world around the guards of the load bench, in a process of its own: sites that are well, and an AWS that counts.

`python -m bench.stand_ins` prints its port. Every GET is answered 200; what is posted is answered as ELB would
answer DescribeTargetGroups and DescribeTargetHealth; `/counts` tells how many calls AWS had, and how many of them
were throttled: `/throttle/0.8` refuses eight of ten from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs

import uvloop

NAMESPACE = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"
ARN = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/{}/0123456789abcdef"
CALLS: Counter[str] = Counter()
THROTTLED = "throttled"
SHARE = {THROTTLED: 0.0}


@dataclass(frozen=True)
class StandIns:
    """The process, seen from outside."""

    url: str
    pid: int

    def calls(self) -> dict[str, int]:
        """How many calls AWS had so far, by action; those it refused are counted as "throttled" as well."""
        found: dict[str, int] = json.loads(self._get("/counts"))
        return found

    def throttle(self, share: float) -> None:
        """Refuse this share (0..1) of AWS's calls from now on."""
        self._get(f"/throttle/{share}")

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310 - our own stand-in
            found: bytes = answer.read()
        return found


@contextlib.contextmanager
def stand_ins() -> Iterator[StandIns]:
    """A process of them on a free port."""
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.stand_ins"], stdout=subprocess.PIPE, text=True, cwd=root
    )
    try:
        assert process.stdout is not None
        yield StandIns(f"http://127.0.0.1:{process.stdout.readline().strip()}", process.pid)
    finally:
        process.kill()
        process.wait()


TOO_FAST = (
    f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>ThrottlingException</Code>'
    "<Message>Rate exceeded</Message></Error><RequestId>bench</RequestId></ErrorResponse>"
).encode()


class Peer(asyncio.Protocol):
    """One connection; a request is small enough to be understood once its head and announced body are there."""

    def __init__(self) -> None:
        self._seen = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, found, body = self._seen.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self._seen = b""
        status, kind, said = _answer(head, body)
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (status, kind, len(said), said)
        )


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line[15:])
    return 0


def _answer(head: bytes, body: bytes) -> tuple[bytes, bytes, bytes]:
    if head.startswith(b"POST"):
        action = parse_qs(body.decode()).get("Action", [""])[0]
        CALLS[action] += 1
        if random.random() < SHARE[THROTTLED]:
            CALLS[THROTTLED] += 1
            return b"400 Bad Request", b"text/xml", TOO_FAST
        return b"200 OK", b"text/xml", _aws(action, parse_qs(body.decode())).encode()
    if head.startswith(b"GET /counts"):
        return b"200 OK", b"application/json", json.dumps(CALLS).encode()
    if head.startswith(b"GET /throttle/"):
        SHARE[THROTTLED] = float(head.split()[1].rpartition(b"/")[2])
    return b"200 OK", b"text/plain", b"well"


def _aws(action: str, asked: dict[str, list[str]]) -> str:
    if action == "DescribeTargetGroups":
        name = asked["Names.member.1"][0]
        inner = (
            f"<TargetGroups><member><TargetGroupArn>{ARN.format(name)}</TargetGroupArn>"
            f"<TargetGroupName>{name}</TargetGroupName></member></TargetGroups>"
        )
    else:
        targets = "".join(
            f"<member><Target><Id>i-{n}</Id><Port>80</Port></Target>"
            "<TargetHealth><State>healthy</State></TargetHealth></member>"
            for n in range(3)
        )
        inner = f"<TargetHealthDescriptions>{targets}</TargetHealthDescriptions>"
    return (
        f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{inner}</{action}Result>'
        f"<ResponseMetadata><RequestId>bench</RequestId></ResponseMetadata></{action}Response>"
    )


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Peer, "127.0.0.1", 0, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
