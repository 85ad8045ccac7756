"""Many guards in one worker process: how late their samples come, what they cost, how soon they hear an order; and
what becomes of them when AWS throttles the bot."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.guard_worker import INTERVAL_S
from bench.load_servers import TICKS_PER_S
from bench.stand_ins import THROTTLED, StandIns, stand_ins
from bot.durable import migrate_engine
from bot.engine_client import EngineClient
from bot.migrations import migrate
from bot.queues import GUARD, guard_id
from bot.store import DeployStatus, Store
from bot.store_database import database_url
from policies.facts import Deploy, PersonOrder

GUARDS_A_GROUP = 100
AT_ONCE = 500
ORDERS, ORDER_EVERY_S, ORDER_PATIENCE_S = 20, 0.5, 30.0
START_PATIENCE_S = float(os.environ.get("BENCH_PATIENCE_S", "900"))
THROTTLED_SHARE, RECOVERY_PATIENCE_S = 0.8, 120.0
WITHOUT_TARGETS_AGAIN = 0.01


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


def measure_guards(count: int, url: str, seconds: float, throttled_s: float = 0.0) -> dict[str, Any]:
    """Start `count` guards in one worker, wait until all of them look, then measure for `seconds`; with
    `throttled_s` AWS refuses most calls for so long before people order."""
    migrate(url)
    migrate_engine(url)
    with (
        tempfile.TemporaryDirectory(prefix="rollback-bot-guards-") as name,
        stand_ins() as outside,
        _worker(url, Path(name), outside.url) as worker,
    ):
        store = Store(url)
        client = EngineClient(lambda: store.engine)
        deploys = _deploys(count, outside.url)
        began_s = time.time()
        for start in range(0, count, AT_ONCE):
            with store.transaction() as connection:
                for deploy in deploys[start : start + AT_ONCE]:
                    store.note_deploy(deploy, DeployStatus.SUCCEEDED, None, connection)
                    client.enqueue(connection, GUARD, guard_id(deploy), deploy)
        enqueued_s = time.time() - began_s
        _wait_until_all_look(store, count, began_s, worker, Path(name))
        started_s = time.time()
        print(f"all {count} look after {started_s - began_s:.0f} s", file=sys.stderr, flush=True)
        time.sleep(2 * INTERVAL_S)  # the burst of the start is over
        report = {
            "guards": count,
            "database": store.url.get_backend_name(),
            "enqueued_in_s": round(enqueued_s),
            "all_looking_after_s": round(started_s - began_s),
            **_window(store, worker.pid, outside, seconds),
        }
        if throttled_s:
            report |= _throttled(store, worker.pid, outside, throttled_s)
            report["acted_while_throttled"] = _noted(Path(name) / "notes")
        heard_s = _orders(client, deploys, Path(name) / "notes")
        report |= {
            "order_p50_s": _at(heard_s, 0.5),
            "order_max_s": _at(heard_s, 1.0),
            "orders_unheard": ORDERS - len(heard_s),
            "rss_mb": _rss_mb(worker.pid),
            "load": round(os.getloadavg()[0], 1),
        }
        store.close()
        return report


def _window(store: Store, pid: int, outside: StandIns, seconds: float) -> dict[str, Any]:
    """What one stretch of time costs, and how late its samples are."""
    from_s, cpu_s, theirs_s, machine_s = time.time(), _cpu_s(pid), _cpu_s(outside.pid), _machine_cpu_s()
    calls = _calls(outside)
    time.sleep(seconds)
    until_s = time.time()
    cpu_s, theirs_s, machine_s = (
        _cpu_s(pid) - cpu_s,
        _cpu_s(outside.pid) - theirs_s,
        _machine_cpu_s() - machine_s,
    )
    calls = _calls(outside) - calls
    lateness_s, rate, failed = _lateness(store, from_s, until_s)
    took_s = until_s - from_s
    return {
        "polls_per_s": round(rate, 1),
        "late_p50_s": _at(lateness_s, 0.5),
        "late_p99_s": _at(lateness_s, 0.99),
        "late_max_s": _at(lateness_s, 1.0),
        "failed_polls": failed,
        "cpu_cores": round(cpu_s / took_s, 2),
        "stand_ins_cores": round(theirs_s / took_s, 2),
        "machine_cores": round(machine_s / took_s, 2),
        "aws_calls_per_min": round(60 * calls / took_s),
    }


def _throttled(store: Store, pid: int, outside: StandIns, seconds: float) -> dict[str, Any]:
    """The same while AWS refuses most calls, and how long it takes until targets are read again after it."""
    outside.throttle(THROTTLED_SHARE)
    time.sleep(2 * INTERVAL_S)  # what was read before has been used up
    refused, from_s = outside.calls().get(THROTTLED, 0), time.time()
    window = _window(store, pid, outside, seconds)
    refused = outside.calls().get(THROTTLED, 0) - refused
    unread = _without_targets(store, from_s, time.time())
    outside.throttle(0.0)
    ended_s = time.time()
    while time.time() < ended_s + RECOVERY_PATIENCE_S:
        time.sleep(INTERVAL_S / 2)
        if _without_targets(store, time.time() - INTERVAL_S / 2, time.time()) < WITHOUT_TARGETS_AGAIN:
            break
    return {
        "throttled_calls_per_min": window["aws_calls_per_min"],
        "throttled_refused_per_min": round(60 * refused / seconds),
        "throttled_late_p99_s": window["late_p99_s"],
        "throttled_late_max_s": window["late_max_s"],
        "throttled_polls_without_targets": round(unread, 3),
        "throttled_recovered_after_s": round(time.time() - ended_s),
    }


def _without_targets(store: Store, from_s: float, until_s: float) -> float:
    """The share of polls that could not read the target group."""
    query = sa.text("SELECT sample FROM samples WHERE at_s >= :from_s AND at_s < :until_s")
    with store.reading() as connection:
        rows = connection.execute(query, {"from_s": from_s, "until_s": until_s}).scalars().all()
    found = [json.loads(row) if isinstance(row, str) else row for row in rows]
    return sum(not one.get("targets") for one in found) / max(1, len(found))


def _noted(notes: Path) -> int:
    return len(notes.read_text().splitlines()) if notes.exists() else 0


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


def _calls(outside: StandIns) -> int:
    return sum(count for action, count in outside.calls().items() if action != THROTTLED)


def _machine_cpu_s() -> float:
    """CPU seconds of everything on this machine but idling and waiting for the disk."""
    user, nice, system, _idle, _waiting, *more = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    return sum(map(int, (user, nice, system, *more))) / TICKS_PER_S


@contextlib.contextmanager
def _new_database(server: str) -> Iterator[str]:
    """A database of its own for each run: the guards of the last one are not done."""
    name, engine = (
        f"bench_{uuid.uuid4().hex[:12]}",
        sa.create_engine(database_url(server), isolation_level="AUTOCOMMIT"),
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        try:
            yield database_url(server).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


def main() -> None:
    """Measure on SQLite, and on the PostgreSQL of BENCH_POSTGRES (any database of it, as who may make others)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", nargs="*", type=int, help="guards; default 100, 1,000 and 5,000 or 10,000")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measured stretch")
    parser.add_argument(
        "--throttled", type=float, default=0.0, help="seconds for which AWS refuses most calls"
    )
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    chosen = parser.parse_args()
    postgres = os.environ.get("BENCH_POSTGRES")
    if chosen.only != "postgresql":
        for count in chosen.counts or [100, 1_000, 5_000]:
            with tempfile.TemporaryDirectory(prefix="rollback-bot-guards-db-") as name:
                url = f"sqlite:///{name}/rollback.db"
                print(json.dumps(measure_guards(count, url, chosen.seconds, chosen.throttled)), flush=True)
    if chosen.only != "sqlite":
        if postgres is None:
            print("Set BENCH_POSTGRES to the URL of a PostgreSQL to measure there too.", file=sys.stderr)
            return
        for count in chosen.counts or [1_000, 10_000]:
            with _new_database(postgres) as url:
                print(json.dumps(measure_guards(count, url, chosen.seconds, chosen.throttled)), flush=True)


if __name__ == "__main__":
    main()
