"""What can be heard, as typed facts, taken from payloads that need not match any schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from bot.inbox import CommentHeard, DeployCompleted, DeployFailed, DeployStarted, HeadMoved, Heard

__all__ = [
    "CommentHeard",
    "DeployCompleted",
    "DeployFailed",
    "DeployStarted",
    "Fields",
    "HeadMoved",
    "Heard",
    "Ignored",
    "Lacking",
]

SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
BRANCH = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\]{1,250}")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
LATEST_S = datetime(2200, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing to do, and why; `note` is stored all the same (a deploy that failed no longer overlaps)."""

    why: str
    note: Heard | None = None


class Lacking(Exception):
    """The payload lacks what the event needs; `why` is the rest of a sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Fields:
    """A payload that is asked for what we need; whatever else it holds, in whatever form, is no error."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data

    def _at(self, path: str) -> Any:
        value: Any = self._data
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def text(self, *paths: str, at_most: int = 255) -> str | None:
        """The first of `paths` ("a.b") that is a printable line of at most so many characters."""
        for path in paths:
            value = self._at(path)
            if isinstance(value, str):
                value = value.strip()
                if value and len(value) <= at_most and UNPRINTABLE.search(value) is None:
                    return value
        return None

    def raw(self, path: str) -> str:
        """The text at `path` just as it came, of any length; empty where there is none."""
        value = self._at(path)
        return value if isinstance(value, str) else ""

    def has(self, path: str) -> bool:
        """Whether `path` is an object."""
        return isinstance(self._at(path), Mapping)

    def whole(self, path: str) -> int | None:
        """A positive whole number that fits 63 bits."""
        value = self._at(path)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63:
            return value
        return None

    def instant(self, *paths: str) -> float | None:
        """The first of `paths` that is a time (ISO 8601 or epoch seconds), as epoch seconds."""
        for path in paths:
            at_s = _instant(self._at(path))
            if at_s is not None:
                return at_s
        return None

    def repository(self, path: str = "repository.full_name") -> str:
        """ "owner/name". Raises Lacking."""
        name = self.text(path)
        if name is None or REPOSITORY.fullmatch(name) is None or {".", ".."} & set(name.split("/")):
            raise Lacking(f"no usable {path}")
        return name

    def sha(self, *paths: str) -> str:
        """A whole commit id, in lower case. Raises Lacking."""
        for path in paths:
            found = (self.text(path) or "").lower()
            if SHA.fullmatch(found):
                return found
        raise Lacking(f"no whole commit id in {paths[0]}")

    def branch(self, path: str) -> str | None:
        """The branch that a ref names; None for a tag, a commit id, or what git would not take as a name."""
        name = self.text(path)
        if name is None or (name.startswith("refs/") and not name.startswith("refs/heads/")):
            return None
        name = name.removeprefix("refs/heads/")
        if SHA.fullmatch(name.lower()) or BRANCH.fullmatch(name) is None:
            return None
        parts = name.split("/")
        if name.startswith("-") or ".." in name or "@{" in name or name == "@" or name.endswith("."):
            return None
        if any(not part or part.startswith(".") or part.endswith(".lock") for part in parts):
            return None
        return name

    def address(self, *paths: str) -> str | None:
        """The first of `paths` that is a plain http(s) address without credentials."""
        for path in paths:
            url = self.text(path, at_most=2000)
            if url is not None and _is_address(url):
                return url
        return None


def _instant(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value.strip())
            at_s = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    elif isinstance(value, (int, float)):
        at_s = float(value) if abs(value) < LATEST_S else -1.0
    else:
        return None
    return at_s if 0 < at_s < LATEST_S else None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and " " not in url
        and "\\" not in url
    )
