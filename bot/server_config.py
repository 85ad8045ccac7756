"""Reads the server-wide configuration, the file that ROLLBACK_CONFIG names."""

from __future__ import annotations

from bot.config_file import read_config
from bot.config_model import ServerFile
from bot.failures import BadConfiguration
from bot.settings import Settings


def server_file(settings: Settings) -> ServerFile | None:
    """The server-wide configuration; None: no file is named. May be repeated. Raises BadConfiguration."""
    path = settings.rollback_config
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadConfiguration(
            f"ROLLBACK_CONFIG names {path}, which cannot be read ({error.strerror}). "
            "Correct the path or unset the variable."
        ) from None
    return read_config(data, ServerFile, str(path))
