"""Finds secrets in YAML blocks: `password: |` or `>-`, and the deeper lines under it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import re2

from policies.redaction_pairs import is_secret_name, says_nothing

Span = tuple[int, int]

_SIGN: Final = rb"[|>](?:[+-]?[1-9]?|[1-9][+-])"
_TAGS: Final = rb"(?:[!&][^\s]{0,60}[ \t]+){0,2}"
# What a compose project, a diff, a comment or `docker logs -t` puts before each line.
_PREFIX: Final = rb"[\w./-]+[ \t]+\|[ \t]?|\d{4}-\d\d-\d\d[T ][\d:.,]+Z?[ \t]|[+<>#-]"
_HEAD: Final = re2.compile(
    rb"(?m)^(" + _PREFIX + rb")?([ \t]*(?:-[ \t]+){0,4})[\"']?([A-Za-z0-9_.$-]{1,200})[\"']?[ \t]*:[ \t]*"
    + _TAGS + _SIGN + rb"[ \t]*(?:[ \t]#[^\n]*)?\r?$"
)  # fmt: skip
# The same in one line of JSON: only its first line, because how deep the name stands is not known.
_ESCAPED: Final = re2.compile(
    rb"([A-Za-z0-9_.$-]{1,200})[ \t]*:[ \t]*"
    + _TAGS
    + _SIGN
    + rb"[ \t]*(?:\\r)?(?:\\n)+[ ]+([^\"\\\s][^\"\\\n]*)"
)
_BLANK: Final = re.compile(rb"[ \t]*")
_ANY_DIGIT: Final = bytes.maketrans(b"123456789", b"000000000")


@dataclass(frozen=True, slots=True)
class _Block:
    """Where the line with the name begins, its value's lines, and where the first line after them begins."""

    begin: int
    lines: tuple[Span, ...]
    end: int


def _depth(line: bytes, prefix: bytes, column: int) -> int | None:
    """Where the text of a line deeper than `column` begins; None where it is not deeper."""
    before = b""
    if prefix and line[: len(prefix)].translate(_ANY_DIGIT) == prefix.translate(_ANY_DIGIT):
        before = line[: len(prefix)]
    elif prefix not in (b"", b"-"):  # a dash can be a diff's or a list's
        return None
    blank = _BLANK.match(line, len(before))
    start = blank.end() if blank else len(before)
    return start if start > column else None


def _block(data: bytes, head: re.Match[bytes]) -> _Block:
    prefix, column = head.group(1) or b"", head.start(3) - head.start()
    column -= data[head.start(3) - 1 : head.start(3)] in (b'"', b"'")
    lines: list[Span] = []
    at = min(len(data), head.end() + 1)
    while at < len(data):
        stop = data.find(b"\n", at)
        stop = len(data) if stop == -1 else stop
        line = data[at:stop].rstrip()
        if line and line != prefix.rstrip():
            start = _depth(line, prefix, column)
            if start is None:
                break
            lines.append((at + start, at + len(line)))
        at = min(len(data), stop + 1)
    return _Block(head.start(), tuple(lines), at)


def _blocks(data: bytes) -> Iterator[_Block]:
    at = 0
    for head in _HEAD.finditer(data):
        if head.start() >= at and is_secret_name(head.group(3)):
            block = _block(data, head)
            at = block.end
            yield block


def blocks(data: bytes) -> Iterator[Span]:
    """Spans of the lines that are the value of a secret name. Linear in `data`."""
    for block in _blocks(data):
        if not all(says_nothing(data[start:end]) for start, end in block.lines):
            yield from block.lines
    for found in _ESCAPED.finditer(data):
        if is_secret_name(found.group(1)) and not says_nothing(found.group(2)):
            yield found.span(2)


def open_block(data: bytes) -> int | None:
    """Where a block begins whose value may go on behind the end of `data`, which ends with a line."""
    return next((block.begin for block in _blocks(data) if block.end >= len(data)), None)
