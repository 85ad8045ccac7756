"""Where the bot keeps things on this disk: made for those who write there, only asked after by those who read."""

from __future__ import annotations

import os
from pathlib import Path

from bot.failures import BadSettings, BotFailure
from bot.settings import Settings
from bot.store import Store
from bot.store_database import database_url


def make_data_dir(settings: Settings) -> None:
    """Make DATA_DIR if it is missing. May be repeated. Raises BadSettings."""
    _make(settings.data_dir, "DATA_DIR")


def make_database_dir(settings: Settings) -> None:
    """Make the folder of the SQLite file; another database has none. May be repeated. Raises BadSettings, also
    for an address that is no database's."""
    path = sqlite_file(settings)
    if path is not None:
        _make(path.parent, "DATABASE_URL" if settings.database_url else "DATA_DIR")


def existing_store(settings: Settings) -> Store:
    """The bot's memory, for whoever looks into it by hand: nothing is made. Raises BadSettings for an address that
    is no database's, BotFailure where there is none yet."""
    store = Store(settings.database)
    path = sqlite_file(settings)
    if path is not None and not _is_database(path):
        raise BotFailure(
            f"There is no database yet at {path}. Make it with `rollback-bot migrate`, or set DATA_DIR or "
            "DATABASE_URL to where the bot runs."
        )
    return store


def sqlite_file(settings: Settings) -> Path | None:
    """The file of a SQLite database; None: it is in memory, or on a server. Raises BadSettings."""
    url = database_url(settings.database)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database).absolute()


def _is_database(path: Path) -> bool:
    try:
        # An empty file is what SQLite leaves behind where somebody only looked.
        return path.is_file() and path.stat().st_size > 0
    except OSError as error:
        raise BotFailure(
            f"The database at {path} cannot be looked at ({error.strerror}). Run this as the bot's user, or set "
            "DATA_DIR or DATABASE_URL to where the bot runs."
        ) from None


def _make(folder: Path, setting: str) -> None:
    why = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        why = "it is a file"
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "not a usable path"
    if not why and not os.access(folder, os.W_OK | os.X_OK):
        why = "it may not be written"
    if why:
        raise BadSettings(
            f"The folder {folder} cannot be used ({why}). Set {setting} to a place that the bot may write."
        )
