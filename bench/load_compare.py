"""Irrelevant webhooks a second, ours beside a minimal Probot app: both under wrk, in turn, in the same run."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load_servers import Server

CONNECTIONS = 16
_RATE = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.MULTILINE)
_DONE = re.compile(r"^\s+(\d+) requests in ", re.MULTILINE)
_WRONG = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")
_SCRIPT = """wrk.method = "POST"
wrk.body = io.open({body}, "rb"):read("*a")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-GitHub-Event"] = "push"
wrk.headers["X-GitHub-Delivery"] = "bench"
wrk.headers["X-Hub-Signature-256"] = "sha256={signature}"
"""


@dataclass(frozen=True)
class Rate:
    """What one server did in one stretch."""

    per_second: float
    cpu_us_each: float
    wrong: str


def compare(
    servers: Sequence[tuple[str, Server]],
    body: bytes,
    signature: str,
    folder: Path,
    seconds: float,
    rounds: int,
) -> dict[str, list[Rate]] | None:
    """Each server in turn, `rounds` times; None, and one line that says so, where wrk is not installed."""
    if shutil.which("wrk") is None:
        print("wrk is not here, so ours and Probot are not compared with it.", file=sys.stderr)
        return None
    (folder / "body.json").write_bytes(body)
    script = folder / "webhook.lua"
    script.write_text(_SCRIPT.format(body=f'"{folder / "body.json"}"', signature=signature))
    found: dict[str, list[Rate]] = {name: [] for name, _server in servers}
    for _name, server in servers:
        _run(server, script, 2.0)  # warm
    for _round in range(rounds):
        for name, server in servers:
            found[name].append(_run(server, script, seconds))
    return found


def lines(found: dict[str, list[Rate]], seconds: float) -> list[str]:
    """The comparison as sentences: the mean of the rounds, and the rounds."""
    said = []
    for name, rates in found.items():
        each = ", ".join(f"{rate.per_second:,.0f}" for rate in rates)
        mean = statistics.mean(rate.per_second for rate in rates)
        cpu_us = statistics.mean(rate.cpu_us_each for rate in rates)
        wrong = "; ".join(sorted({rate.wrong for rate in rates if rate.wrong})) or "nothing went wrong"
        said.append(
            f"{name}: {mean:,.0f} irrelevant deliveries a second ({each}; wrk, {CONNECTIONS} connections, "
            f"{seconds:g} s each in turn), {cpu_us:.0f} µs of CPU each, {wrong}"
        )
    return said


def _run(server: Server, script: Path, seconds: float) -> Rate:
    before_s = server.cpu_s()
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}/webhooks/github"],
        capture_output=True,
        text=True,
        check=True,
    )
    rate, count, wrong = _RATE.search(done.stdout), _DONE.search(done.stdout), _WRONG.search(done.stdout)
    if rate is None or count is None:
        raise RuntimeError(f"wrk said something else: {done.stdout}")
    cpu_s = server.cpu_s() - before_s
    return Rate(float(rate[1]), 1e6 * cpu_s / max(1, int(count[1])), wrong[0].strip() if wrong else "")
