"""The web process: gunicorn, with uvicorn in its processes, around the application of `webhooks`."""

from __future__ import annotations

import importlib
from typing import Any

from gunicorn.app.base import BaseApplication

from bot.settings import Settings

WORKERS = 2
"""Webhooks are answered in milliseconds; a second process covers the first one's restarts."""
TIMEOUT_S = 30


class _Web(BaseApplication):  # type: ignore[misc]
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": f"{self._settings.bind_host}:{self._settings.port}",
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
    """Serve until SIGTERM. Never returns normally."""
    _Web(settings).run()
