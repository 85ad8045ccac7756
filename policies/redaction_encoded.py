"""Reads what stands percent-encoded (a form, a query, a callback's address) as what it means, to find secrets in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import re2

Span = tuple[int, int]

# What `quote` and `quote_plus` leave as it is, and what they make; a delimiter of the form itself ends the run.
_RUN: Final = re2.compile(rb"(?:[A-Za-z0-9_.~+/-]|%[0-9A-Fa-f]{2}){16,}")
_CODE: Final = re.compile(rb"%[0-9A-Fa-f]{2}|\+")


def encoded(data: bytes, read: Callable[[bytes], Iterable[Span]]) -> Iterator[Span]:
    """Spans of `data` that `read` finds in its percent-encoded runs once they are decoded. Linear in `data`."""
    if b"%" not in data:
        return
    for found in _RUN.finditer(data):
        if b"%" in found.group():
            text, at = _decoded(found.group())
            for start, end in read(text):
                yield found.start() + at[start], found.start() + at[end]


def _decoded(run: bytes) -> tuple[bytes, list[int]]:
    """The decoded run, and for each of its bytes (and its end) where that began."""
    parts: list[bytes] = []
    at: list[int] = []
    before = 0
    for code in _CODE.finditer(run):
        parts += [
            run[before : code.start()],
            b" " if code.group() == b"+" else bytes([int(code.group()[1:], 16)]),
        ]
        at += range(before, code.start() + 1)
        before = code.end()
    parts.append(run[before:])
    at += range(before, len(run) + 1)
    return b"".join(parts), at
