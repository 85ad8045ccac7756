"""Redacts raw bytes by what a reader sees of them: finds secrets that control codes split, and changes only those.

What the codes leave is read in place of the bytes, and what is found is taken back to where it came from; so every
byte outside a secret (colours, carriage returns, other encodings) stays as it is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from policies.cleaning import CODE, CODE_BEGINS
from policies.redaction import redact_bytes, replaced, secret_spans, shaped_spans
from policies.redaction_blocks import open_block

Span = tuple[int, int]

_ESCAPE: Final = 0x1B
_RETURN: Final = 0x0D


class Pieces:
    """A text put together of pieces of another, which knows where each of its bytes came from."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._begins = array("Q")
        self._origins = array("Q")
        self._size = 0

    def add(self, piece: bytes, origin: int) -> None:
        """Append `piece`, which stood at `origin`."""
        if piece:
            self._parts.append(piece)
            self._begins.append(self._size)
            self._origins.append(origin)
            self._size += len(piece)

    def text(self) -> bytes:
        """The whole."""
        return b"".join(self._parts)

    def origin(self, at: int) -> int:
        """Where the byte at `at` came from."""
        piece = bisect_right(self._begins, at) - 1
        return int(self._origins[piece] + at - self._begins[piece]) if piece >= 0 else 0

    def span(self, span: Span) -> Span:
        """The same stretch of the other text, with all that stood between its ends."""
        return self.origin(span[0]), self.origin(span[1] - 1) + 1


class View:
    """Three readings of bytes: as seen, as seen if lone carriage returns were nothing, and what codes carry inside."""

    def __init__(self, data: bytes) -> None:
        self.seen, self.joined, self.carried = Pieces(), Pieces(), Pieces()
        self.has_lone_returns = False
        text = data.decode("utf-8", "surrogateescape")
        at = origin = 0
        while begin := CODE_BEGINS.search(text, at):
            origin = self._keep(text[at : begin.start()], origin)
            code = CODE.match(text, begin.start())
            whole = code.group() if code else begin.group()
            self._read(whole, code.lastgroup if code else None, origin)
            if code and code.lastgroup == "carried":
                opening = _size(whole[: code.start("carried") - code.start()])
                self.carried.add(_encoded(code.group("carried")) + b"\n", origin + opening)
            origin += _size(whole)
            at = begin.start() + len(whole)
        self._keep(text[at:], origin)

    def _keep(self, text: str, origin: int) -> int:
        piece = _encoded(text)
        self.seen.add(piece, origin)
        self.joined.add(piece, origin)
        return origin + len(piece)

    def _read(self, code: str, kind: str | None, origin: int) -> None:
        if kind not in ("line_end", "space"):
            return
        sign = b"\n" if kind == "line_end" else b" "
        last = origin + _size(code) - 1
        self.seen.add(sign, last)
        if code == "\r":
            self.has_lone_returns = True
        else:
            self.joined.add(sign, last)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(_encoded(text))


def redact_raw(data: bytes, extra: tuple[str, ...] = ()) -> tuple[bytes, int]:
    """`data` of any encoding without its secrets, split by control codes or not, and how many were removed.

    `extra` as in `redact`. Every byte outside of a secret is returned as it came. Linear in `data`.
    """
    if not CODE_BEGINS.search(data.decode("utf-8", "surrogateescape")):
        return redact_bytes(data, extra)
    return replaced(data, list(_found(data, extra)))


def unfinished(data: bytes) -> int | None:
    """Where in `data`, which ends with a line, a secret of several lines begins and does not end yet; else None.

    Such are a private key and a YAML block, which has no end before a line that is less deep.
    """
    view = View(data)
    text = view.seen.text()
    key = text.rfind(b"-----BEGIN")
    if key != -1 and text.find(b"-----END", key) != -1:
        key = -1
    begins = [at for at in (key, open_block(text)) if at is not None and at != -1]
    return view.seen.origin(min(begins)) if begins else None


def _found(data: bytes, extra: tuple[str, ...]) -> Iterator[Span]:
    view = View(data)
    for pieces in (view.seen, view.carried):
        for span in secret_spans(pieces.text(), extra):
            yield pieces.span(span)
    if view.has_lone_returns:
        for span in secret_spans(view.joined.text(), extra):
            start, end = view.joined.span(span)
            # Others are found as seen, and there their surroundings are right.
            if _RETURN in data[max(0, start - 1) : end]:
                yield start, end
    if _ESCAPE in data:
        # An escape takes the character behind it along, which can be the first of a token.
        yield from shaped_spans(data)
