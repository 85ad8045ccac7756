"""Finds secrets that a sentence tells: `the password is hunter2`, and not `the password is too short`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import re2

Span = tuple[int, int]

_TELLS: Final = (
    rb"(?i)\b(passwords?|passwd|pwd|passphrase|passcode|secrets?|tokens?|credentials?|(?:api|access|secret)[ -]?key)"
    rb"(?:[ \t]+(?:for|of)[ \t]+[^\n]{1,60}?)?[ \t]+(?:(?:is|was|are|were|will[ \t]+be|has[ \t]+been|equals)"
    rb"(?:[ \t]+(?:now|still|currently))?(?:[ \t]+(?:re)?(?:set|changed|updated)[ \t]+to)?"
    rb"|(?:re)?(?:set|changed|updated)[ \t]+to)[ \t]*(?::[ \t]*|[ \t])[ \t]*"
)
_QUOTED: Final = re2.compile(_TELLS + rb"(?:\\*\"([^\"\n\\]{3,200})|\\*'([^'\n\\]{3,200})|`([^`\n]{3,200}))")
# A quote before a letter is the password's own.
_BARE: Final = re2.compile(_TELLS + rb"((?:[^\s\"'`<>\\]|[\"'][A-Za-z0-9]){4,200})")

_TAIL: Final = b".,;:)]}"
_SIGNS: Final = re.compile(rb"[!@#$%^&*+=?~].*[A-Za-z0-9]", re.DOTALL)
_MIXED: Final = re.compile(rb"[a-z][A-Z]")
_PLAIN: Final = re.compile(rb"[A-Za-z]+(?:[-_'/.,;:|(){}*=&]+[A-Za-z]+)*[-_'/.,;:|(){}*=&!?]*")
_HARMLESS: Final = re.compile(
    rb"(?i)\*+|x{3,}|\$\{?\w+\}?|%\w+%|%\(?\w+\)?[sd]?|[*_]{1,3}[a-z]+[*_]{1,3}[.!]?"
    rb"|[a-z_][\w.]*\(.*|https?:.*|/.*|\.{1,2}/.*"
    rb"|(?:required|invalid|incorrect|wrong|expired|missing|empty|null|none|valid|set|changed)[^A-Za-z0-9].*"
)
# Numbers with their units, dates, versions, and the names of methods.
_MEASURED: Final = re.compile(
    rb"(?i)[\d.,:+%/xtz-]*\d(?:[\d.,:+%/xtz-]*|[-]?(?:ms|s|m|h|d|sec\w*|min\w*|hours?|days?|bits?|bytes?|chars?"
    rb"|characters?|digits?|[km]i?b|st|nd|rd|th|times)(?:[-_][a-z]+)*)"
    rb"|(?:sha|md|utf|base|o?auth|rs|hs|es|ps|aes|ed|pbkdf|rc|v|ipv|iso|tls|ssl|http|rfc|rsa|ntlm|x)v?[-_]?\d{1,4}"
    rb"(?:[-_./](?:\d+|[a-z]+))*"
    rb"|(?:bcrypt|argon|scrypt|pbkdf)2?(?:[-_][a-z0-9]+)*"
    rb"|(?:my|postgre|no)sql(?:-\w+)*|github|gitlab|oauth|openssh|openid|javascript|(?:mongo|maria)db|macos"
)
_EMAIL: Final = re.compile(rb"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_NAMES: Final = re.compile(rb"[A-Za-z]?[a-z]+(?:[A-Z][a-z]+)+|[A-Z]+(?:[A-Z][a-z]+)+")
_ABOUT: Final = re.compile(
    rb"(?:Error|Exception|Invalid|Valid|Required|Expired|Missing|Null|None|String|Field|Token|Password|Encoder|Hash\w*)$"
)
MIN_PIN: Final = 4
MIN_CODE: Final = 6


def _is_value(name: bytes, text: bytes, after: bytes) -> bool:
    """Whether the word that a sentence gives as a secret is one and not a word of the sentence."""
    password = name.lower().startswith(b"pass") or name.lower() == b"pwd"
    if text.isdigit():
        ends = not after.lstrip(b" \t") or after[:1] in (b".", b",", b";", b")", b"\r", b'"', b"'")
        return ends and len(text) >= (MIN_PIN if password else MIN_CODE)
    if text[:1] in b"([{<[-:=" or _HARMLESS.fullmatch(text) or _MEASURED.fullmatch(text):
        return False
    if not password and (b"/" in text or _EMAIL.fullmatch(text) or _NAMES.fullmatch(text)):
        return False
    if _MIXED.search(text) and not _ABOUT.search(text) and b"." not in text:
        return True
    if _PLAIN.fullmatch(text):
        return False
    return any(48 <= byte <= 57 for byte in text) or bool(_SIGNS.search(text))


def told(data: bytes) -> Iterator[Span]:
    """Spans of the secrets that sentences tell. Linear in `data`."""
    for found in _QUOTED.finditer(data):
        group = next(number for number in (2, 3, 4) if found.span(number)[0] != -1)
        yield found.span(group)
    for found in _BARE.finditer(data):
        start, end = found.span(2)
        text = found.group(2).rstrip(_TAIL)
        end = start + len(text)
        line_end = data.find(b"\n", end, end + 60)
        if _is_value(found.group(1), text, data[end : line_end if line_end != -1 else end + 60]):
            yield start, end
