"""Many guards in one worker process: how late their samples come, what they cost, how soon they hear an order."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.guard_worker import INTERVAL_S
from bench.load_servers import TICKS_PER_S
from bot.durable import migrate_engine
from bot.engine_client import EngineClient
from bot.migrations import migrate
from bot.queues import GUARD, guard_id
from bot.store import DeployStatus, Store
from policies.facts import Deploy, PersonOrder

GUARDS_A_GROUP = 100
AT_ONCE = 500
ORDERS, ORDER_EVERY_S, ORDER_PATIENCE_S = 20, 0.5, 30.0
START_PATIENCE_S = float(os.environ.get("BENCH_PATIENCE_S", "600"))


@contextlib.contextmanager
def _stand_ins() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-m", "bench.stand_ins"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _worker(url: str, folder: Path, outside: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": url,
        "DATA_DIR": str(folder),
        "GITHUB_WEBHOOK_SECRET": "bench",
        "GITHUB_TOKEN": "unused",
        "GITHUB_API_URL": outside,
        "GIT_AUTHOR_NAME": "bench",
        "GIT_AUTHOR_EMAIL": "bench@example.com",
        "PROBE_ALLOW": "127.0.0.0/8",
        "AWS_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": outside,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
    }
    command = [sys.executable, "-m", "bench.guard_worker", str(folder / "notes"), str(GUARDS_A_GROUP)]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _deploys(count: int, outside: str) -> list[Deploy]:
    now_s = time.time()
    run = uuid.uuid4().hex[:8]
    return [
        Deploy(
            id=f"{run}-{n}",
            repository=f"acme/service-{n}",
            environment="develop",
            sha="b" * 40,
            branch="main",
            url=f"{outside}/service-{n}",
            source="deployment_status",
            started_at_s=now_s - 60,
            completed_at_s=now_s,
        )
        for n in range(count)
    ]


def measure_guards(count: int, url: str, seconds: float) -> dict[str, Any]:
    """Start `count` guards in one worker, wait until all of them look, then measure for `seconds`."""
    migrate(url)
    migrate_engine(url)
    with (
        tempfile.TemporaryDirectory(prefix="rollback-bot-guards-") as name,
        _stand_ins() as outside,
        _worker(url, Path(name), outside) as worker,
    ):
        store = Store(url)
        client = EngineClient(lambda: store.engine)
        deploys = _deploys(count, outside)
        began_s = time.time()
        for start in range(0, count, AT_ONCE):
            with store.transaction() as connection:
                for deploy in deploys[start : start + AT_ONCE]:
                    store.note_deploy(deploy, DeployStatus.SUCCEEDED, None, connection)
                    client.enqueue(connection, GUARD, guard_id(deploy), deploy)
        _wait_until_all_look(store, count, began_s, worker, Path(name))
        started_s = time.time()
        time.sleep(2 * INTERVAL_S)  # the burst of the start is over

        from_s, cpu_s, calls = time.time(), _cpu_s(worker.pid), _calls(outside)
        time.sleep(seconds)
        until_s = time.time()
        cpu_s, calls = _cpu_s(worker.pid) - cpu_s, _calls(outside) - calls
        lateness_s, rate, failed = _lateness(store, from_s, until_s)
        heard_s = _orders(client, deploys, Path(name) / "notes")
        report = {
            "guards": count,
            "database": store.url.get_backend_name(),
            "all_looking_after_s": round(started_s - began_s),
            "polls_per_s": round(rate, 1),
            "late_p50_s": _at(lateness_s, 0.5),
            "late_p99_s": _at(lateness_s, 0.99),
            "late_max_s": _at(lateness_s, 1.0),
            "failed_polls": failed,
            "cpu_cores": round(cpu_s / (until_s - from_s), 2),
            "rss_mb": _rss_mb(worker.pid),
            "aws_calls_per_min": round(60 * calls / (until_s - from_s)),
            "order_p50_s": _at(heard_s, 0.5),
            "order_max_s": _at(heard_s, 1.0),
            "orders_unheard": ORDERS - len(heard_s),
            "load": round(os.getloadavg()[0], 1),
        }
        store.close()
        return report


def _wait_until_all_look(
    store: Store, count: int, began_s: float, worker: subprocess.Popen[bytes], folder: Path
) -> None:
    query = sa.text("SELECT count(DISTINCT service) FROM samples WHERE at_s >= :began_s")
    while time.time() < began_s + START_PATIENCE_S:
        with store.reading() as connection:
            looking = connection.execute(query, {"began_s": began_s}).scalar_one()
        if looking >= count:
            return
        if worker.poll() is not None:
            break
        time.sleep(2)
    log = (folder / "worker.log").read_text()[-3000:]
    raise RuntimeError(f"Not all of {count} guards began to look. The worker said: {log}")


def _lateness(store: Store, from_s: float, until_s: float) -> tuple[list[float], float, int]:
    """How much later than due each sample began (s), samples a second, and those that say anything but well.
    A watch whose next sample is missing counts as late up to now."""
    query = sa.text("SELECT service, at_s, sample FROM samples WHERE at_s >= :from_s ORDER BY service, at_s")
    with store.reading() as connection:
        rows = connection.execute(query, {"from_s": from_s - 2 * INTERVAL_S}).all()
    late, counted, failed = [], 0, 0
    last: dict[str, float] = {}
    for service, at_s, sample in rows:
        if at_s >= from_s:
            found = json.loads(sample) if isinstance(sample, str) else sample
            failed += bool(found.get("error")) or found["probe"]["failed"] > 0 or not found.get("targets")
            counted += at_s <= until_s
            if service in last:
                late.append(max(0.0, at_s - last[service] - INTERVAL_S))
        last[service] = at_s
    late += [until_s - at_s - INTERVAL_S for at_s in last.values() if until_s - at_s > INTERVAL_S]
    return sorted(late), counted / (until_s - from_s), failed


def _orders(client: EngineClient, deploys: list[Deploy], notes: Path) -> list[float]:
    sent_s: dict[str, float] = {}
    for deploy in random.sample(deploys, min(ORDERS, len(deploys))):
        order = PersonOrder("rollback", "bench", time.time(), "a bench", id=deploy.id)
        sent_s[deploy.id] = time.time()
        client.send_order(guard_id(deploy), order)
        time.sleep(ORDER_EVERY_S)
    until_s = time.time() + ORDER_PATIENCE_S
    heard: dict[str, float] = {}
    while time.time() < until_s and len(heard) < len(sent_s):
        time.sleep(0.5)
        for line in notes.read_text().splitlines() if notes.exists() else ():
            note = json.loads(line)
            heard.setdefault(note["deploy"], note["at_s"])
    return sorted(heard[key] - sent_s[key] for key in sent_s if key in heard)


def _at(ordered: list[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else None


def _cpu_s(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(parts[11]) + int(parts[12])) / TICKS_PER_S


def _rss_mb(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def _calls(outside: str) -> int:
    with urllib.request.urlopen(f"{outside}/counts", timeout=10) as answer:  # noqa: S310 - our own stand-in
        return sum(json.load(answer).values())


def main() -> None:
    """`python -m bench.guards [COUNT …]`: on SQLite, and with BENCH_POSTGRES (an empty database's URL) the last
    and largest count there."""
    counts = [int(given) for given in sys.argv[1:]] or [100, 1_000, 5_000, 10_000]
    postgres, seconds = os.environ.get("BENCH_POSTGRES"), float(os.environ.get("BENCH_SECONDS", "60"))
    for count in counts[:-1] if postgres or len(counts) > 1 else counts:
        with tempfile.TemporaryDirectory(prefix="rollback-bot-guards-db-") as name:
            print(json.dumps(measure_guards(count, f"sqlite:///{name}/rollback.db", seconds)), flush=True)
    if postgres:
        print(json.dumps(measure_guards(counts[-1], postgres, seconds)), flush=True)
    elif len(counts) > 1:
        print(f"{counts[-1]} guards are for PostgreSQL: set BENCH_POSTGRES.", file=sys.stderr)


if __name__ == "__main__":
    main()
