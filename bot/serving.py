"""The web process: gunicorn, with uvicorn in its processes, around the application of `webhooks`."""

from __future__ import annotations

import errno
import importlib
import os
import socket
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.util import is_ipv6

from bot.failures import BadSettings
from bot.settings import Settings

WORKERS = 2
"""Webhooks are answered in milliseconds; a second process covers the first one's restarts."""
TIMEOUT_S = 30
INHERITED = ("GUNICORN_FD", "LISTEN_FDS")
"""Who started us (a gunicorn that is replaced, systemd) holds the socket open for us."""


class _Web(BaseApplication):  # type: ignore[misc]
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        host = self._settings.bind_host.strip().strip("[]")
        options = {
            "bind": f"[{host}]:{self._settings.port}" if ":" in host else f"{host}:{self._settings.port}",
            "workers": WORKERS,
            "worker_class": "bot.web_worker.WebWorker",
            "timeout": TIMEOUT_S,
            "graceful_timeout": 10,
            "control_socket_disable": True,
            "loglevel": "warning",
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        # By name: `bot` may not import `webhooks`, it only starts the process that is made of it.
        return importlib.import_module("webhooks.app").create_web(self._settings)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM. Never returns normally. Raises BadSettings for an address that cannot be listened on."""
    web = _Web(settings)
    if not any(name in os.environ for name in INHERITED):
        for address in web.cfg.address:
            _try_to_bind(address)
    web.run()


def _try_to_bind(address: tuple[str, int]) -> None:
    """gunicorn would try five times, and say each time only what the kernel calls it."""
    host, port = address
    try:
        with socket.socket(socket.AF_INET6 if is_ipv6(host) else socket.AF_INET) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except (OSError, UnicodeError) as error:
        raise BadSettings(_why_not(host, port, error)) from None


def _why_not(host: str, port: int, error: OSError | UnicodeError) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return (
            f"Port {port} is taken: another process listens on it, perhaps another `rollback-bot web`. Stop that one, "
            "or set PORT to a free port."
        )
    if number in (errno.EACCES, errno.EPERM):
        return f"Port {port} may not be listened on by this user. Set PORT to one from 1024 to 65535."
    why = (error.strerror if isinstance(error, OSError) else None) or "not a usable name"
    return f"BIND_HOST {host!r} is no address of this machine ({why}). Set it to one, or unset it to listen on all."
