"""Worker processes that count their effects and SIGKILL themselves right before or right after a chosen one.

Where effects are seen, without a list of them:
- the ports: every method of every Protocol in `bot.ports`, on whatever adapter the wired worker holds;
- HTTP: every request of the two transports there are (urllib3 under PyGithub and boto3, httpx under the rest);
- git: every command that passes the git door, also when it has just started and goes on as an orphan;
- the database: every commit of a transaction that wrote something, the engine's checkpoints among them.

Run as a module it is a nursery: it imports the worker once and forks a real worker process for each line of
JSON on its standard input, so that a start costs a fork and not three seconds of imports.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import inspect
import json
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
import urllib3

from bot import ports
from bot.git_door import GitDoor
from bot.logging_setup import configure_logging
from bot.settings import Settings
from bot.wiring import Worker, worker_parts
from bot.worker import run_worker

BEFORE, STARTED, AFTER = "before", "started", "after"
_WRITES = re.compile(r"\s*(INSERT INTO|UPDATE|DELETE FROM)\s+([\w\".]+)", re.IGNORECASE)
_NUMBERED = (
    (re.compile(r"[0-9a-f]{40}"), "SHA"),
    (re.compile(r"(?<=/repos/)[^/]+/[^/]+"), "REPO"),
    (re.compile(r"(?<=/)\d+(?=/|$)"), "N"),
)
PR_SET_PDEATHSIG = 1
_WRITTEN = "effects written in this transaction"


@dataclass(frozen=True, order=True)
class Point:
    """The `nth` time that something named `label` happens, and on which side of it."""

    label: str
    nth: int
    side: str

    def __str__(self) -> str:
        return f"{self.side} {self.label} #{self.nth}"


class Effects:
    """Counts what happens by label, writes it to a journal, and ends this process at the chosen point."""

    def __init__(self, kill: Point | None, journal: Path) -> None:
        self._kill = kill
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def begin(self, label: str) -> int:
        """Something named `label` is about to happen; its number."""
        with self._lock:
            self._seen[label] += 1
            nth = self._seen[label]
        self.reach(label, nth, BEFORE)
        return nth

    def reach(self, label: str, nth: int, side: str) -> None:
        point = Point(label, nth, side)
        os.write(self._journal, (json.dumps([label, nth, side]) + "\n").encode())
        if point == self._kill:
            os.write(self._journal, b'["killed"]\n')
            os.kill(os.getpid(), signal.SIGKILL)

    def is_next(self, label: str, side: str) -> bool:
        """Whether the process ends at this side of the one that is happening now."""
        kill = self._kill
        return kill is not None and (kill.label, kill.side, kill.nth) == (label, side, self._seen[label])

    @contextlib.contextmanager
    def around(self, label: str) -> Iterator[None]:
        nth = self.begin(label)
        try:
            yield
        finally:
            self.reach(label, nth, AFTER)


# --- the ports ------------------------------------------------------------------------------------


def _protocols() -> dict[str, frozenset[str]]:
    """Every Protocol of bot.ports with its methods."""
    found = {}
    for name, value in vars(ports).items():
        if (
            inspect.isclass(value)
            and getattr(value, "_is_protocol", False)
            and value.__module__ == ports.__name__
        ):
            methods = frozenset(n for n, v in vars(value).items() if inspect.isfunction(v) and n[0] != "_")
            found[name] = methods
    return {name: methods for name, methods in found.items() if methods}


class Watched:
    """Stands in front of an adapter; the methods of its Protocol are effects, the rest passes through."""

    def __init__(self, adapter: Any, protocol: str, methods: frozenset[str], effects: Effects) -> None:
        self._adapter, self._protocol, self._methods, self._effects = adapter, protocol, methods, effects

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._adapter, name)
        if name not in self._methods:
            return value
        label, effects = f"port {self._protocol}.{name}", self._effects
        if inspect.iscoroutinefunction(value):

            @functools.wraps(value)
            async def waited(*args: Any, **named: Any) -> Any:
                with effects.around(label):
                    return await value(*args, **named)

            return waited

        @functools.wraps(value)
        def called(*args: Any, **named: Any) -> Any:
            with effects.around(label):
                return value(*args, **named)

        return called


def watch_ports(root: Any, effects: Effects) -> Any:
    """`root` with every adapter below it that fills a Protocol of bot.ports behind a `Watched`."""
    protocols, seen = _protocols(), {}

    def visit(value: Any) -> Any:
        if not type(value).__module__.startswith("bot.") or isinstance(value, type):
            return value
        if id(value) in seen:
            return seen[id(value)][1]
        seen[id(value)] = (value, value)
        fits = [
            (len(m), n) for n, m in protocols.items() if all(callable(getattr(value, x, None)) for x in m)
        ]
        if fits:
            _, name = max(fits)
            seen[id(value)] = (value, Watched(value, name, protocols[name], effects))
        if isinstance(value, GitDoor):
            value._observe = _GitCommands(effects)
        for name, inner in list(getattr(value, "__dict__", {}).items()):
            changed = visit(inner)
            if changed is not inner:
                object.__setattr__(value, name, changed)
        return seen[id(value)][1]

    return replace(root, **{name: visit(inner) for name, inner in vars(root).items()})


class _GitCommands:
    """Hears the git door; commands of several threads interleave, so each keeps its number."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self._running = threading.local()

    def __call__(self, moment: str, args: tuple[str, ...]) -> None:
        label = f"git {args[0]}"
        if moment == BEFORE:
            self._running.nth = self._effects.begin(label)
        else:
            self._effects.reach(label, getattr(self._running, "nth", 0), moment)


# --- HTTP -----------------------------------------------------------------------------------------


def _named(method: str, path: str, headers: Any, body: Any) -> str:
    target = (headers or {}).get("X-Amz-Target")
    if target:
        target = target.decode() if isinstance(target, bytes) else target
        return f"aws {target.rpartition('.')[2]}"
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else b""
    action = re.search(rb"(?:^|&)Action=(\w+)", raw)
    if action:
        return f"aws {action[1].decode()}"
    path = path.partition("?")[0]
    for pattern, word in _NUMBERED:
        path = pattern.sub(word, path)
    return f"http {method} {path}"


def watch_http(effects: Effects) -> None:
    """Every request of urllib3 and of httpx in this process is an effect."""
    send = urllib3.connectionpool.HTTPConnectionPool.urlopen

    def urlopen(self: Any, method: str, url: str, body: Any = None, headers: Any = None, **named: Any) -> Any:
        with effects.around(_named(method, url, headers, body)):
            return send(self, method, url, body, headers, **named)

    urllib3.connectionpool.HTTPConnectionPool.urlopen = urlopen  # type: ignore[assignment]

    async_send = httpx.AsyncHTTPTransport.handle_async_request
    sync_send = httpx.HTTPTransport.handle_request

    async def handle_async(self: Any, request: httpx.Request) -> httpx.Response:
        with effects.around(f"http {request.method} by httpx"):
            return await async_send(self, request)

    def handle(self: Any, request: httpx.Request) -> httpx.Response:
        with effects.around(f"http {request.method} by httpx"):
            return sync_send(self, request)

    httpx.AsyncHTTPTransport.handle_async_request = handle_async  # type: ignore[method-assign]
    httpx.HTTPTransport.handle_request = handle  # type: ignore[method-assign]


# --- the database ---------------------------------------------------------------------------------


def watch_database(effects: Effects) -> None:
    """Every commit of a transaction that wrote is an effect, on every engine of this process."""

    @sa.event.listens_for(sa.engine.Engine, "after_cursor_execute")
    def note(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        match = _WRITES.match(statement)
        if match is None:
            return
        table = match[2].replace('"', "").rpartition(".")[2]
        step = parameters.get("function_name") if isinstance(parameters, dict) else None
        words = f"{match[1].split()[0].lower()} {table}" + (f" ({step})" if step else "")
        connection.info.setdefault(_WRITTEN, []).append(words)

    @sa.event.listens_for(sa.engine.Engine, "commit")
    def commit(connection: Any) -> None:
        written = connection.info.pop(_WRITTEN, None)
        if not written:
            return
        label = "commit " + ", ".join(dict.fromkeys(written))
        nth = effects.begin(label)
        if effects.is_next(label, AFTER):
            connection.connection.dbapi_connection.commit()
        effects.reach(label, nth, AFTER)

    @sa.event.listens_for(sa.engine.Engine, "rollback")
    def forget(connection: Any) -> None:
        connection.info.pop(_WRITTEN, None)


# --- processes ------------------------------------------------------------------------------------


def live_as_worker(environment: dict[str, str], kill: Point | None, journal: Path) -> None:
    """Be a worker with these settings until a signal, or the chosen effect, ends it."""
    os.environ.clear()
    os.environ.update(environment)
    settings = Settings.load(environment, role="worker")
    configure_logging(True)
    effects = Effects(kill, journal)
    watch_http(effects)
    watch_database(effects)

    def build(given: Settings) -> Worker:
        parts: Worker = watch_ports(worker_parts(given), effects)
        return parts

    run_worker(settings, build)


def nursery() -> None:
    """Fork a worker for each order on standard input and answer with its process id."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: the tests hold pidfds
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be_born(order)
        print(json.dumps({"pid": pid}), flush=True)


def _be_born(order: dict[str, Any]) -> None:
    code = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(
            PR_SET_PDEATHSIG, signal.SIGKILL
        )  # nobody outlives a test that was broken off
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        kill = Point(*order["kill"]) if order.get("kill") else None
        live_as_worker(order["environment"], kill, Path(order["journal"]))
        code = 0
    except BaseException as error:
        print(f"the worker ended: {error!r}", file=sys.stderr, flush=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        Path(order["log"] + ".exit").write_text(str(code))
        os._exit(code)


if __name__ == "__main__":
    nursery()
