"""The classes of causes in words, and what to do where none is known."""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "unknown"
WRAPPER: Final = "wrapper"

CAUSES: Final = {
    "architecture": "the image is built for another processor",
    "db_down": "the database cannot be reached or is full",
    "db_login": "the database refused the login",
    "db_tls": "the database accepts only TLS connections",
    "disk_full": "the disk is full",
    "django_setting": "a Django setting is missing or wrong",
    "host_check": "the application does not allow the host name it was asked by",
    "image_pull": "the image or a secret could not be pulled",
    "migration": "the migrations do not fit the database",
    "missing_env": "an environment variable is missing",
    "missing_module": "a dependency is missing from the image",
    "out_of_memory": "the process ran out of memory",
    "permission": "a file may not be executed or read",
    "port_in_use": "the port is in use",
    "syntax": "the code does not parse",
    UNKNOWN: "the cause is not known",
    WRAPPER: "the application did not start",
}
"""Each class in words, for sentences such as "the log says that …"."""


def in_words(kind: str) -> str:
    """The class as a clause; a class that is not known here (another release stored it) keeps its name."""
    return CAUSES.get(kind) or f"{kind.replace('_', ' ')} is the cause"


WRAPPER_ADVICE: Final = (
    "The server only says that the application did not start: its own error is not in this log."
)
UNKNOWN_ADVICE: Final = "Cause unknown: revert first, confirm the recovery, then analyse."
