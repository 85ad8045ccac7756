"""The web process: gunicorn around the Flask application of `webhooks`."""

from __future__ import annotations

import importlib
import socket
import struct
from typing import Any

from gunicorn.app.base import BaseApplication

from bot.settings import Settings

WORKERS = 2
"""Webhooks are answered in milliseconds; a second process covers the first one's restarts."""
TIMEOUT_S = 30
SILENCE_S = 3
"""A sender that is silent this long in the middle of a request is gone, or means no good."""
RECYCLE_AFTER = 100_000


def _limit_silence(arbiter: Any) -> None:
    """Accepted connections inherit the listener's receive timeout. gunicorn itself waits for the rest of a
    request for ever: thirty half-sent ones kept every thread busy and GitHub waiting."""
    for listener in arbiter.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENCE_S, 0))


class _Web(BaseApplication):  # type: ignore[misc]
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": f"{self._settings.bind_host}:{self._settings.port}",
            "workers": WORKERS,
            "threads": self._settings.web_threads,
            "worker_class": "gthread",
            "timeout": TIMEOUT_S,
            "graceful_timeout": 10,
            "max_requests": RECYCLE_AFTER,
            "max_requests_jitter": RECYCLE_AFTER // 10,
            "control_socket_disable": True,
            "when_ready": _limit_silence,
            "loglevel": "warning",
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        # By name: `bot` may not import `webhooks`, it only starts the process that is made of it.
        return importlib.import_module("webhooks.app").create_app(self._settings)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM. Never returns normally."""
    _Web(settings).run()
