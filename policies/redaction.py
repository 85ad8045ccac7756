"""Removes secrets from text, whole and before anything is cut, in time linear in the text.

Readers mark what they know (shapes of tokens, names of values, places, blocks, sentences, randomness); the marks
are merged and replaced at once, so that no rule sees what another has left of a token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import re2

from policies.redaction_blocks import blocks
from policies.redaction_encoded import encoded
from policies.redaction_pairs import is_secret_name as _is_secret_name
from policies.redaction_pairs import pairs
from policies.redaction_places import places
from policies.redaction_prose import told
from policies.redaction_random import random_tokens
from policies.redaction_shapes import SHAPES

PLACEHOLDER: Final = "[redacted]"
_MARK: Final = PLACEHOLDER.encode()

_ESCAPED_SPACE: Final = re.compile(rb"\\[nrt]")

MIN_ECHO: Final = 10
MAX_ECHOES: Final = 200
"""A value once known to be secret is removed wherever else it stands; bounded so that time stays linear."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """Text without secrets, and how many places were removed."""

    text: str
    count: int


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20
    options.log_errors = False
    return re2.compile(pattern.encode(), options)


_LITERAL: Final = re.compile(r"(?:\\b)?((?:[A-Za-z0-9_-]|\\[.$])+)(?![*+?{])")


def _literal(shape: str) -> bytes:
    """What every text that has the shape must contain; empty where it begins with a choice."""
    found = _LITERAL.match(shape)
    return found.group(1).replace("\\", "").encode() if found else b""


# One by one: of all shapes in one pattern, finding where a match begins took a hundred times as long.
_SHAPES: Final = tuple((_literal(shape), _compiled(shape)) for shape in SHAPES)


def shaped_spans(data: bytes) -> list[tuple[int, int]]:
    """Where tokens stand whose shape alone says what they are."""
    return [
        found.span() for literal, pattern in _SHAPES if literal in data for found in pattern.finditer(data)
    ]


@lru_cache(maxsize=64)
def _extra(patterns: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(_compiled(pattern) for pattern in patterns)


def redact(text: str, extra: tuple[str, ...] = ()) -> Redacted:
    """`text` with every secret replaced by `[redacted]`. Redacting again changes nothing.

    `extra` are RE2 patterns; with groups, the groups are removed, else the whole match. A pattern that RE2 does
    not take raises `re2.error`: configuration is checked when it is read.
    """
    data, count = redact_bytes(text.encode("utf-8", "surrogatepass"), extra)
    return Redacted(data.decode("utf-8", "surrogatepass") if count else text, count)


def redact_bytes(data: bytes, extra: tuple[str, ...] = ()) -> tuple[bytes, int]:
    """The same for bytes of any encoding: what is not a secret comes back byte for byte."""
    return replaced(data, secret_spans(data, extra))


def secret_spans(data: bytes, extra: tuple[str, ...] = ()) -> list[tuple[int, int]]:
    """Where secrets stand in `data`, in no order; spans may overlap."""
    spans = _found(data)
    spans += encoded(data, _found)
    for pattern in _extra(extra):
        for found in pattern.finditer(data):
            groups = [found.span(index) for index in range(1, pattern.groups + 1)]
            spans += [span for span in groups if span[0] != -1] or [found.span()]
    spans = [(start, end) for start, end in spans if end > start and data[start:end] != _MARK]
    return spans + _echoes(data, spans)


def _found(data: bytes) -> list[tuple[int, int]]:
    """What the readers mark."""
    # Blanked to the same length: in `\\nAKIA…` the letter before the token is no letter.
    blanked = _ESCAPED_SPACE.sub(lambda found: b" " * len(found.group()), data) if b"\\" in data else data
    spans = shaped_spans(blanked)
    spans += random_tokens(blanked)
    spans += places(data)
    spans += pairs(data)
    spans += blocks(data)
    spans += told(data)
    return spans


def bad_patterns(extra: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `extra` that RE2 does not take."""
    bad = []
    for pattern in extra:
        try:
            _extra((pattern,))
        except re2.error:
            bad.append(pattern)
    return tuple(bad)


def is_secret_name(name: str) -> bool:
    """Whether a value under this name is secret whatever it looks like."""
    return _is_secret_name(name.encode("utf-8", "replace"))


def _echoes(data: bytes, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    values = {data[start:end] for start, end in spans if MIN_ECHO <= end - start <= 200}
    found = []
    for value in sorted(values, key=len, reverse=True)[:MAX_ECHOES]:
        if value.isalpha() or value.isdigit():
            continue
        at = data.find(value)
        while at != -1:
            found.append((at, at + len(value)))
            at = data.find(value, at + len(value))
    return found


def replaced(data: bytes, spans: list[tuple[int, int]]) -> tuple[bytes, int]:
    """`data` with one placeholder for each stretch that `spans` cover, and how many those are."""
    parts: list[bytes] = []
    at = count = 0
    for start, end in sorted(spans):
        if end <= at:
            continue
        if start > at or not parts:
            parts.append(data[at:start])
            parts.append(_mark(data[start:end]))
            count += 1
        at = end
    parts.append(data[at:])
    return b"".join(parts), count


def _mark(secret: bytes) -> bytes:
    # In UTF-16 every other byte is zero: a mark of single bytes would shift all that follows.
    wide = len(secret) > 2 and not any(secret[1::2])
    return b"\0".join(_MARK[at : at + 1] for at in range(len(_MARK))) if wide else _MARK
