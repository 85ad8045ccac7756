"""Signed webhooks at a fixed arrival rate against the real web process: rate, latency, losses, CPU, memory.

Open loop: each delivery has its due time, and its latency counts from there, so a server that falls behind
cannot slow the arrivals down and look better for it. `--rate 0` is the other question, how many a second at
most: 16 connections send as fast as they are answered. Beside Probot it is wrk that sends, where wrk and Node are.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import itertools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from bench.load_compare import compare, lines
from bench.load_servers import SECRET, Server, ours, probot
from bot.store import Store

CONNECTIONS_OPEN, CONNECTIONS_CLOSED = 64, 16
IRRELEVANT = ("push", "pull_request", "check_run", "issue_comment", "workflow_job", "status")


@dataclass
class Outcome:
    """What one run measured; latencies in seconds from the due time."""

    name: str
    seconds: float
    latencies_s: list[float]
    answers: Counter[int]
    stored: int
    lost: int
    cpu_s: float
    memory_mb: float

    def percentile_ms(self, share: float) -> float:
        """The latency that `share` (0..1) of the deliveries did not exceed."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "name": self.name,
            "per_second": round(len(self.latencies_s) / self.seconds, 1),
            "p50_ms": round(self.percentile_ms(0.5), 1),
            "p99_ms": round(self.percentile_ms(0.99), 1),
            "max_ms": round(self.percentile_ms(1.0), 1),
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "stored": self.stored,
            "lost": self.lost,
            "cpu_cores": round(self.cpu_s / self.seconds, 2),
            "cpu_ms_each": round(1000 * self.cpu_s / max(1, len(self.latencies_s)), 2),
            "memory_mb": round(self.memory_mb),
        }


class Sender:
    """One kept connection; sends a prepared request and reads the status."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> int:
        """The status; 0 for a connection that broke twice."""
        for _attempt in range(2):
            try:
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = self._streams
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                if b"connection: close" in head.lower():
                    self.close()
                return int(head[9:12])
            except (OSError, asyncio.IncompleteReadError):
                self.close()
        return 0

    def close(self) -> None:
        """Drop the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def at_rate(
    port: int, requests: Iterator[bytes], rate: float, seconds: float
) -> tuple[list[float], Counter[int]]:
    """Send at `rate` a second for `seconds`, whatever the server does."""
    began_s = time.perf_counter() + 0.1
    due = iter(began_s + number / rate for number in range(int(rate * seconds)))
    latencies: list[float] = []
    answers: Counter[int] = Counter()

    async def one_connection() -> None:
        sender = Sender(port)
        for due_s in due:
            request = next(requests)
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            answers[await sender.send(request)] += 1
            latencies.append(time.perf_counter() - due_s)
        sender.close()

    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS_OPEN)))
    return latencies, answers


async def at_most(port: int, requests: Iterator[bytes], seconds: float) -> tuple[list[float], Counter[int]]:
    """Send as fast as a few connections are answered, for `seconds`."""
    until_s = time.perf_counter() + seconds
    latencies: list[float] = []
    answers: Counter[int] = Counter()

    async def one_connection() -> None:
        sender = Sender(port)
        while (sent_s := time.perf_counter()) < until_s:
            answers[await sender.send(next(requests))] += 1
            latencies.append(time.perf_counter() - sent_s)
        sender.close()

    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS_CLOSED)))
    return latencies, answers


def deliveries(relevant_share: float, run: str) -> Iterator[bytes]:
    """Prepared, signed requests: of a hundred, `relevant_share` × 100 are completed deployments."""
    context = _context()
    noise = _noise()
    noise_signature = _signature(noise)
    for number in itertools.count():
        if (number % 100) < relevant_share * 100:
            body = _deployed(number, context)
            yield _request("deployment_status", body, f"{run}-{number}", _signature(body))
        else:
            event = IRRELEVANT[number % len(IRRELEVANT)]
            yield _request(event, noise, f"{run}-{number}", noise_signature)


def _context() -> dict[str, Any]:
    return {"repository": _repository(), "sender": _links("users/octocat", 16)}


def _noise() -> bytes:
    """An event that nobody waits for, as large as GitHub's are (19 kB)."""
    pull_request = {
        **_links("repos/acme/stagelog/pulls/1", 30),
        "head": {"repo": _repository()},
        "base": {"repo": _repository()},
    }
    return json.dumps({"action": "synchronize", "pull_request": pull_request, **_context()}).encode()


def _links(path: str, count: int) -> dict[str, Any]:
    """The addresses that GitHub's objects mostly consist of."""
    return {f"part_{n}_url": f"https://api.github.com/{path}/part_{n}{{/id}}" for n in range(count)}


def _repository() -> dict[str, Any]:
    flags = {f"has_feature_{n}": bool(n % 2) for n in range(25)}
    owner = {"login": "acme", "id": 1, **_links("users/acme", 16)}
    return {
        "id": 1,
        "full_name": "acme/stagelog",
        "owner": owner,
        **_links("repos/acme/stagelog", 46),
        **flags,
    }


def _deployed(number: int, context: dict[str, Any]) -> bytes:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    deployment = {
        "id": number + 1,
        "sha": hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest(),
        "ref": "main",
        "environment": f"service-{number % 500}",
        "created_at": now,
    }
    status = {"state": "success", "environment_url": "https://x.example/", "created_at": now}
    payload = {
        **context,
        "action": "created",
        "deployment": deployment,
        "deployment_status": status,
        "repository": {**context["repository"], "full_name": f"acme/service-{number % 100}"},
    }
    return json.dumps(payload).encode()


def _signature(body: bytes) -> str:
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def _request(event: str, body: bytes, delivery: str, signature: str) -> bytes:
    return (
        f"POST /webhooks/github HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"X-GitHub-Event: {event}\r\nX-GitHub-Delivery: {delivery}\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def measure(
    server: Server, name: str, relevant_share: float, rate: float, seconds: float, store: Store | None = None
) -> Outcome:
    """One run; `rate` 0: as many as are answered. With `store`, what was acknowledged is looked for there."""
    run = f"{os.getpid()}-{time.monotonic_ns()}"
    before, cpu_s, began_s = _stored(store), server.cpu_s(), time.perf_counter()
    requests = deliveries(relevant_share, run)
    sending = (
        at_rate(server.port, requests, rate, seconds) if rate else at_most(server.port, requests, seconds)
    )
    latencies, answers = asyncio.run(sending)
    took_s = time.perf_counter() - began_s
    stored = _stored(store) - before
    return Outcome(
        name=name,
        seconds=took_s,
        latencies_s=latencies,
        answers=answers,
        stored=stored,
        lost=answers[202] - stored,
        cpu_s=server.cpu_s() - cpu_s,
        memory_mb=server.memory_mb(),
    )


def _stored(store: Store | None) -> int:
    if store is None:
        return 0
    with store.reading() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM deliveries")).scalar_one())


def main() -> None:
    """Measure and print; exits 1 if anything acknowledged was lost or answered 5xx."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", help="default: SQLite in a temporary folder")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument(
        "--rate", type=float, default=100.0, help="stored deliveries a second of the steady run"
    )
    parser.add_argument("--no-probot", action="store_true", help="do not install and measure Probot")
    parser.add_argument("--rounds", type=int, default=5, help="of ours and Probot in turn")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rollback-bot-bench-") as name:
        folder = Path(name)
        url = chosen.database_url or f"sqlite:///{folder}/rollback.db"
        outcomes = _measure_ours(ours(url, folder), Store(url), chosen.rate, chosen.seconds)
        beside = [] if chosen.no_probot else _beside_probot(url, folder, chosen.seconds, chosen.rounds)
    if chosen.json:
        print(json.dumps([outcome.as_json() for outcome in outcomes], indent=1))
    else:
        _print(outcomes, url)
        print(*beside, sep="\n")
    bad = sum(
        o.lost + sum(n for status, n in o.answers.items() if status not in (200, 202)) for o in outcomes
    )
    sys.exit(1 if bad else 0)


def _measure_ours(server: Server, store: Store, rate: float, seconds: float) -> list[Outcome]:
    with server:
        measure(server, "warm-up", 0.05, 0, 2, store)
        runs = [
            ("irrelevant, as many as go", 0.0, 0.0),
            ("stored, as many as go", 1.0, 0.0),
            (f"stored, {rate:.0f}/s", 1.0, rate),
            (f"5 % stored, {rate * 5:.0f}/s", 0.05, rate * 5),
        ]
        measured = [measure(server, name, share, at, seconds, store) for name, share, at in runs]
    store.close()
    return measured


def _beside_probot(url: str, folder: Path, seconds: float, rounds: int) -> list[str]:
    theirs = probot(folder)
    if theirs is None:
        return []
    (folder / "beside").mkdir()
    with ours(url, folder / "beside") as own, theirs:
        noise = _noise()
        servers = [("Rollback Bot", own), ("Probot", theirs)]
        found = compare(servers, noise, _signature(noise), folder, seconds, rounds)
        return [] if found is None else lines(found, seconds)


def _print(outcomes: list[Outcome], url: str) -> None:
    table = Table(
        title=f"Webhooks on {sa.make_url(url).get_backend_name()}, {os.cpu_count()} cores (sender included)"
    )
    rows = [outcome.as_json() for outcome in outcomes]
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="left" if name == "name" else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
