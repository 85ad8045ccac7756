"""Does a path match a glob such as `**/migrations/**`? In time bounded by pattern × path."""

from __future__ import annotations

from collections.abc import Iterable


def first_match(paths: Iterable[str], patterns: Iterable[str]) -> tuple[str, str] | None:
    """The first (path, pattern) that match, or None."""
    split = [(pattern, _segments(pattern)) for pattern in patterns]
    for path in paths:
        names = path.split("/")
        for pattern, segments in split:
            if _whole(segments, names):
                return path, pattern
    return None


def _segments(pattern: str) -> list[str]:
    """A pattern without a slash names files in any folder; one that ends with one, all under it."""
    pattern = pattern.removeprefix("/") if pattern.count("/") > 1 else pattern
    if pattern.endswith("/"):
        pattern += "**"
    if "/" not in pattern:
        pattern = f"**/{pattern}"
    return pattern.removeprefix("/").split("/")


def _whole(segments: list[str], names: list[str]) -> bool:
    reach = {0}
    for segment in segments:
        if segment == "**":
            reach = set(range(min(reach), len(names) + 1)) if reach else set()
        else:
            reach = {at + 1 for at in reach if at < len(names) and _name(segment, names[at])}
    return len(names) in reach


def _name(segment: str, name: str) -> bool:
    """`*` is any run of characters and `?` any one, within one name."""
    at, back, star = 0, -1, -1
    i = 0
    while i < len(name):
        if at < len(segment) and segment[at] == "*":
            star, back = at, i
            at += 1
        elif at < len(segment) and segment[at] in ("?", name[i]):
            at += 1
            i += 1
        elif star >= 0:
            back += 1
            at, i = star + 1, back
        else:
            return False
    return all(char == "*" for char in segment[at:])
