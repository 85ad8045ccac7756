"""Tells a random token from a word, a name, a digest or an id that a reader of logs needs.

A token is random if its characters follow each other as chance would have it and not as in ordinary identifiers:
the score is the most that any stretch of it speaks for chance, in bits. Digests and UUIDs are hexadecimal and count
for nothing, so they stay; a hexadecimal secret is known by its name or place alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from math import log2
from typing import Final

import re2

from policies.redaction_bigrams import FOLLOWING, KINDS

Span = tuple[int, int]

ENOUGH_BITS: Final = 28.0
"""Measured: 0.6 % of the long words of other sources score more (most of them are random indeed), and 99 % of
tokens of 24 random letters and digits."""
RELAXED_BITS: Final = 16.0
MIN_CHARS: Final = 20
RELAXED_MIN_CHARS: Final = 12

_RUN: Final = re2.compile(rb"[A-Za-z0-9_+/=~-]{20,}")
_DULL: Final = re2.compile(rb"[a-z_+/=~.%-]*|[A-Z_+/=~.%-]*|[0-9_+/=~.%:-]*")
_HEX: Final = re.compile(
    rb"(?<![A-Za-z0-9])(?:[0-9a-f]{4,}(?:-[0-9a-f]{2,}){2,}|[0-9A-F]{4,}(?:-[0-9A-F]{2,}){2,}"
    rb"|(?:0x)?(?:[0-9a-f]{6,}|[0-9A-F]{6,}))(?![A-Za-z0-9])"
)

# What generated tokens are made of, as shares of lower case, capitals, digits and signs.
_ALPHABETS: Final = (
    {"a": 0.41, "A": 0.41, "0": 0.15, "-": 0.03},
    {"a": 0.70, "A": 0.005, "0": 0.27, "-": 0.025},
    {"a": 0.005, "A": 0.77, "0": 0.20, "-": 0.025},
)


def _kind(byte: int) -> str:
    char = chr(byte)
    if char.isdigit():
        return "0"
    return ("a" if char.islower() else "A") if char.isalpha() else "-"


def _table(alphabet: dict[str, float]) -> tuple[tuple[float, ...], ...]:
    """Bits that each pair of characters speaks for chance."""
    rows = []
    for one in range(128):
        row = []
        for two in range(128):
            bits = log2(alphabet[_kind(two)] / KINDS[_kind(one)][_kind(two)])
            if chr(one).isalpha() and chr(two).isalpha():
                bits -= (ord(FOLLOWING[(one | 32) - 97][(two | 32) - 97]) - 87) / 2
            row.append(bits)
        rows.append(tuple(row))
    return tuple(rows)


_TABLES: Final = tuple(_table(alphabet) for alphabet in _ALPHABETS)


def looks_random(text: bytes, *, relaxed: bool = False) -> bool:
    """Whether `text` (ASCII) looks generated. `relaxed` where its name speaks for a secret already."""
    if len(text) < (RELAXED_MIN_CHARS if relaxed else MIN_CHARS) or _DULL.fullmatch(text):
        return False
    return _scores(text, RELAXED_BITS if relaxed else ENOUGH_BITS)


@lru_cache(maxsize=4096)
def _cached(text: bytes, enough: float) -> bool:
    plain = _HEX.sub(b"-", text)
    for table in _TABLES:
        bits, before = 0.0, table[45]
        for byte in plain:
            bits += before[byte]
            if bits > enough:
                return True
            if bits < 0.0:
                bits = 0.0
            before = table[byte]
    return False


def _scores(text: bytes, enough: float) -> bool:
    text = text.translate(None, bytes(range(128, 256)))
    return _cached(text, enough) if len(text) < 200 else _cached.__wrapped__(text, enough)


# A word between slashes: base64 has slashes too, but hardly ever a word between two of them.
_PATH: Final = re.compile(
    rb"(?:^|[/.~-])(?:[A-Z]?[a-z_]{4,}|tmp|usr|var|etc|opt|app|src|lib|bin|api|dev|sys|run|srv|www|git)/"
)

# --- bare tokens ----------------------------------------------------------------------------------

# What stands before an id or a digest; both are worth reading and neither opens anything.
_NAMED_ID: Final = re.compile(
    rb"(?i)(?:(?<![a-z])(?:[a-z]+[-_. ]?)?id(?:-2)?|etag|integrity|digest|checksum|fingerprint|md5|sha\d*|h1|crc|hash"
    rb"|uid|guid|uuid|ulid|ksuid|rev|revision|commit|build|arn|span|trace|x-amz-cf-id|x-cache|via|:\d{12}:secret)"
    rb"(?:\\{0,4}[\"'])?[ \t]{0,8}[:=(-]?[ \t]{0,8}(?:W/)?(?:\\{0,4}[\"'])?\Z"
    rb"|data:(?:image|font)/[\w.+-]{1,20};base64,\Z"
)
_TELLING_ID: Final = re.compile(rb"(?i)(?:secret|session|access[-_]?key|key|token|auth|sess)[-_. ]?id\W*\Z")
_HARMLESS: Final = re.compile(
    rb"(?:_Z\w+|01[0-9A-HJKMNP-TV-Z]{24}"  # mangled C++ names, ULIDs
    rb"|[a-z0-9.-]+-[bcdfghjklmnpqrstvwxz2456789]{5,10}-[bcdfghjklmnpqrstvwxz2456789]{5}"  # pods
    rb"|(?:pi|ch|cus|evt|req|in|sub|si|price|prod|txn|seti|acct|pm|py|re|po|tr|src|card|ba|il|cs)_[A-Za-z0-9]{8,40}"
    rb"|(?:sha\d+|md5|SHA\d+)[-:=][A-Za-z0-9+/=_-]+|/?nix/store/[a-z0-9]{32}.*"
    rb"|ABCDEFGHIJKLMNOPQRSTUVWXYZ.*|[0-9A-Za-z]{0,4}abcdefghijklmnopqrstuvwxyz.*)"
)


# Django makes its keys of fifty of these; other generators sprinkle signs among letters and digits.
_DJANGO: Final = re2.compile(rb"(?:^|[\s\"'=:`\[{])([a-z0-9!@#$%^&*(\-_=+)]{50})(?:$|[\s\"'`,;.\]}])")
_SIGNED: Final = re2.compile(rb"[A-Za-z0-9!@#$%^&*_+=~-]{20,}")
_SIGNS: Final = b"!@#^*"
_NEIGHBOUR: Final = rb"[A-Za-z0-9_-]{8,200}"
_BEFORE: Final = re.compile(_NEIGHBOUR + rb"[.:]\Z")
_AFTER: Final = re.compile(rb"[.:]" + _NEIGHBOUR)


def random_tokens(data: bytes) -> Iterator[Span]:
    """Spans of bare tokens that look random. Linear in `data`."""
    yield from _signed(data)
    for found in _RUN.finditer(data):
        for start, end in _parts(data, *found.span()):
            text = data[start:end]
            if looks_random(text) and not _HARMLESS.fullmatch(text) and not _is_id(data, start):
                yield _with_neighbours(data, start, end)


def _signed(data: bytes) -> Iterator[Span]:
    """Generated passwords and keys with signs among their letters."""
    for found in _DJANGO.finditer(data):
        if (
            len(set(found.group(1)) & set(b"!@#$%^&*(+)")) >= 3
            and len(set(found.group(1)) & set(b"0123456789")) >= 3
        ):
            yield found.span(1)
    for found in _SIGNED.finditer(data):
        text = found.group()[:256]
        if len(set(text) & set(_SIGNS)) >= 2 and looks_random(
            text.translate(None, _SIGNS + b"$%&"), relaxed=True
        ):
            yield found.span()


def _with_neighbours(data: bytes, start: int, end: int) -> Span:
    """The token with the random parts that a dot or colon joins to it."""
    left = _BEFORE.search(data[max(0, start - 201) : start])
    if left and looks_random(left.group()[:-1], relaxed=True):
        start -= len(left.group())
    right = _AFTER.match(data, end)
    if right and looks_random(right.group()[1:], relaxed=True):
        end = right.end()
    return start, end


def _parts(data: bytes, start: int, end: int) -> Iterator[Span]:
    """The run, or its parts where it is a path or a list of `name=token`; padding stays with its token."""
    if b"/" in data[start:end] and _PATH.search(data, max(0, start - 1), end):
        at = start
        for part in data[start:end].split(b"/"):
            yield at, at + len(part)
            at += len(part) + 1
        return
    while start < end:
        equals = data.find(b"=", start, end)
        stop = end if equals == -1 else equals
        while stop < end and data[stop : stop + 1] == b"=":
            stop += 1
        yield start, stop
        start = stop


def _is_id(data: bytes, start: int) -> bool:
    before = data[max(0, start - 40) : start]
    return bool(_NAMED_ID.search(before)) and not _TELLING_ID.search(before)
