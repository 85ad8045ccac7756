"""Tells a random token from a word, a name, a digest or an id that a reader of logs needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import re2

Span = tuple[int, int]

_RUN: Final = re2.compile(rb"[A-Za-z0-9_+/=~.-]{20,}")
_HEX: Final = re.compile(rb"(?:0x)?(?:[0-9a-f]+|[0-9A-F]+)(?:-[0-9a-f]+)*")


def looks_random(text: bytes, *, relaxed: bool = False) -> bool:
    """Whether `text` has the letter statistics of a generated token. `relaxed` where its name speaks for it."""
    if len(text) < (12 if relaxed else 20) or _HEX.fullmatch(text):
        return False
    kinds = (
        any(48 <= byte <= 57 for byte in text)
        + any(65 <= byte <= 90 for byte in text)
        + any(97 <= byte <= 122 for byte in text)
    )
    return kinds == 3


def random_tokens(data: bytes) -> Iterator[Span]:
    """Spans of bare tokens that look random. Linear in `data`."""
    for found in _RUN.finditer(data):
        if looks_random(found.group()) and b"/" not in found.group() and b"." not in found.group():
            yield found.span()
