"""What of this terminal's environment reaches the processes that the world starts: next to nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping

KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")


class RehearsalFailed(Exception):
    """A part of the rehearsal itself did not do its work; the message is a sentence for a person."""


def bare_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """PATH, HOME and the locale, and what is added: no proxies, no profiles, no settings of somebody's git."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | dict(extra or {})
