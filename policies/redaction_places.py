"""Finds secrets by the place they stand in: URLs, headers, connection strings, statements, key blocks, manifests."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

import re2

from policies.redaction_pairs import SCOPE
from policies.redaction_random import looks_random

Span = tuple[int, int]

# --- URLs -----------------------------------------------------------------------------------------

_USERINFO: Final = re2.compile(
    rb"[A-Za-z][A-Za-z0-9+.-]*:(?:\\?/){2}([^\s/@:\"'<>`|\\]*)(?::([^\s/\"'<>`]*))?@"
)
_DATABASE: Final = re2.compile(
    rb"(?i)(?:postgres(?:ql)?|mysql2?|mariadb|mongodb|redis|rediss|amqps?|mssql|sqlserver|oracle|cockroachdb"
    rb"|clickhouse|kafka|nats|ldaps?|smtps?|s?ftp)(?:\+\w+)?://[^\s/@:\"'<>`]*:([^\s\"'`]*)@"
)
_NETWORK_PATH: Final = re2.compile(
    rb"(?:^|[\s\"'=(])[A-Za-z0-9_.-]+:([^\s:@/\"'<>`]{6,})@[A-Za-z0-9-]+\.[A-Za-z0-9.-]+"
)
_DRIVER: Final = re2.compile(rb"[\w.-]+:([^\s\"'`]+)@(?:tcp|unix|cloudsql)\([^\s()]*\)/")
_BEFORE_NAME: Final = rb"(?i)(?:[?&]|&amp;|%26|%3F|\\u0026)"
_AFTER_NAME: Final = rb"(?:=|%3D)([^\s&\"'<>`\\#;|)]+)"
_QUERY: Final = re2.compile(
    _BEFORE_NAME
    + rb"(?:[a-z0-9_.\[\]-]*(?:token|secret|passw(?:or)?d|pwd|api_?key|signature|credential|jwt|assertion)"
    rb"[a-z0-9_.\[\]-]*|sig|access_key|hmac|pass|otp|apikey|licen[cs]e_key|x-goog-credential)" + _AFTER_NAME
)
# Names that are as often something else: the value must look generated.
_WEAK_QUERY: Final = re2.compile(
    _BEFORE_NAME + rb"(?:key|code|auth|session\w*|state|sid|k|nonce)" + _AFTER_NAME
)
_LONG_HEX: Final = re.compile(rb"[0-9a-fA-F]{20,}")

# --- headers --------------------------------------------------------------------------------------

_AUTHORIZATION: Final = re2.compile(
    rb"(?i)(?:proxy-)?authorization(?:\\*[\"'])?(?:[ \t]*(?:=>|[:=,]))[ \t]*(?:\[?[ \t]*b?\\*[\"'])?"
    rb"((?:basic|bearer|token|digest|apikey|api-key|negotiate|ntlm|hawk|oauth|key|ssws|snowflake|pat|bot"
    rb"|aws4-hmac-sha256|genie\w*)[ \t]+)?([^\n\"'`]*)"
)
_BEARER: Final = re2.compile(
    rb"(?i)\b(?:bearer|ssws)(?:[ \t]+|:[ \t]*|%20|\+)(?:\\*[\"'`])?([A-Za-z0-9._~+/|:-]{8,}={0,2})"
)
_BASIC: Final = re2.compile(rb"(?i)\bbasic(?:[ \t]+|%20)([A-Za-z0-9+/_-]{6,}={0,2})")
_TOKEN_SCHEME: Final = re2.compile(rb"(?i)\b(?:api)?token[ \t]+([A-Za-z0-9._~+=][A-Za-z0-9._~+/=-]{15,})")
_HEADER: Final = re2.compile(
    rb"(?i)\b((?:set-)?cookie|x-[a-z-]*(?:token|key|secret|signature|auth)[a-z-]*|api-?key|private-token|job-token"
    rb"|x-amz-security-token)(?:\\*[\"'])?[ \t]*[:,][ \t]*(?:\\*[\"'])?([^\n\"'`]+)"
)

# --- statements and command lines -----------------------------------------------------------------

_STATEMENTS: Final = tuple(
    re2.compile(pattern)
    for pattern in (
        rb"(?i)(?:\buser\b|\bgrant\b|\brole\b|@)[^\n]{0,200}\bidentified[ \t]+(?:with[ \t]+\S+[ \t]+)?(?:by|as)"
        rb"[ \t]+(?:password[ \t]+)?(?:\\*[\"'])([^\n\"']+)",
        rb"(?i)\b(?:encrypted[ \t]+)?password[ \t]+(?:\\*[\"'`])([^\n\"'`]+)",
        rb"(?i)\bset[ \t]+password[^\n=]{0,80}=[ \t]*(?:password\()?(?:\\*[\"'])([^\n\"']+)",
        rb"(?i)\bmachine[ \t]+\S+[ \t]+login[ \t]+\S+[ \t]+password[ \t]+(\S+)",
        rb"(?i)\b(?:password|passwd|passphrase|secret|token|api[ -]?key|access[ -]?key)[ \t]+(?:is|was|of|to|are)"
        rb"[ \t]*:?[ \t]+(?:\\*[\"'`])([^\n\"'`]{3,})",
        rb"(?i)\bcurl\b[^\n|;]*[ \t](?:-u|--user|--proxy-user)[ \t=]*[\"']?([^\s\"':]*:[^\s\"']+)",
        rb"(?i)\bsshpass[ \t]+-p[ \t]*[\"']?([^\s\"']+)",
        rb"(?i)\b(?:mysql|mariadb)[\w-]*[^\n|;]*?[ \t](?-i:-p)(\"[^\"\n]+|'[^'\n]+|[^\s\"']+)",
        rb"\b(?:response|cnonce)=\"([0-9a-f]{8,})\"",  # digest authentication
        rb"(?i)\bredis-cli\b[^\n|;]*[ \t]-a[ \t]+[\"']?([^\s\"']+)",
        rb"(?i)\bdocker[ \t]+login\b[^\n|;]*[ \t]-p[ \t]+[\"']?([^\s\"']+)",
        rb"(?i)\boracle:\w+:[^\s/@]+/([^\s@]+)@",
        rb"(?i)(?:\bauth|basicauth|\blogin|\bcredentials?)[ \t]*=?[ \t]*[(\[][ \t]*[\"'][^\"'\n]+[\"'][ \t]*,[ \t]*"
        rb"[\"']([^\"'\n]+)",
        rb"(?i)\bnet[ \t]+use\b[^\n]*/user:\S+[ \t]+(\S+)",
        rb"\bAUTH[ \t]+(?:PLAIN[ \t]+|LOGIN[ \t]+)?[\"']?([A-Za-z0-9+/=_-]{12,})",
        rb"(?i)\brequirepass[ \t]+[\"']?([^\s\"']+)",
        rb"(?m)^[\w.*-]+:(?:5432|\*):[\w*-]+:[\w.-]+:(\S+)$",  # .pgpass
    )
)
_PROSE: Final = re2.compile(
    rb"(?i)\b(?:password|passwd|passphrase|secret|token|api[ -]?key|access[ -]?key|credentials?)[ \t]+"
    rb"(?:(?:is|was|of|to|value)"
    rb"[ \t]*:?[ \t]+)?([^\s\"'`:=]{8,})"
)

_KEY_WORDS: Final = re2.compile(
    rb"(?i)\b(?:api|access|secret|auth|private|signing|encryption|account|licen[cs]e|bot|app)[ \t](?:key|token|secret)"
    rb"[ \t]*[:=][ \t]*([^\s\"'`]{8,})"
)

# --- key blocks -----------------------------------------------------------------------------------

_BEGIN: Final = re2.compile(
    rb"-----BEGIN[ A-Z0-9]*PRIVATE KEY[ A-Z0-9]*-----|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"
)
_FINISH: Final = re2.compile(
    rb"-----END[ A-Z0-9]*PRIVATE KEY[ A-Z0-9]*-----|---- END SSH2 ENCRYPTED PRIVATE KEY ----"
)
_BODY_LINE: Final = re.compile(
    rb"(?:[^\n]*[\s|:>\]\"'])?(?:[A-Za-z0-9+/=]{4,}|(?:Proc-Type|DEK-Info|Version|Comment|Hash):[^\n]*)?[\s\"',\\+]*"
)
_INLINE: Final = re.compile(
    rb"(?:[A-Za-z0-9+/= \t\"'+]|\\+(?:r\\+n|[nrt/]|u000[ad]|x0[ad])|%0[AaDd]|<br ?/?>)+"
)
_BASE64_LINE: Final = re.compile(rb"(?:[^\n]*[\s|:>\]\"'])?[A-Za-z0-9+/]{40,}={0,2}[\s\"',\\+]*")
_LAST_BASE64_LINE: Final = re.compile(rb"(?:[^\n]*[\s|:>\]\"'])?[A-Za-z0-9+/]{2,}={0,2}[\s\"',\\+]*")
_MAX_LINES: Final = 200


def _blocks(data: bytes) -> Iterator[Span]:
    at = 0
    while begin := _BEGIN.search(data, at):
        end = _block_end(data, begin.end())
        yield begin.start(), end
        at = max(end, begin.end())
    # A log that was cut at its head can begin inside a key; an end that is left alone would begin one next time.
    for number, finish in enumerate(_FINISH.finditer(data)):
        cut = number == 0 and not _BEGIN.search(data, 0, finish.start())
        yield _block_start(data, finish.start()) if cut else finish.start(), finish.end()


def _block_end(data: bytes, at: int) -> int:
    inline = _INLINE.match(data, at)
    here = inline.end() if inline else at
    closing = _FINISH.match(data, here) if data[here : here + 1] == b"-" else None
    if closing:
        return int(closing.end())
    line_end = data.find(b"\n", here)
    if line_end == -1 or data[here:line_end].strip(b" \t\r\"',\\+"):
        return here
    end = line_end
    for _ in range(_MAX_LINES):
        start = end + 1
        stop = data.find(b"\n", start)
        stop = len(data) if stop == -1 else stop
        closing = _FINISH.search(data, start, stop)
        if closing:
            return int(closing.end())
        if start >= len(data) or stop - start > 400 or not _BODY_LINE.fullmatch(data, start, stop):
            break
        end = stop
    return end


def _block_start(data: bytes, at: int) -> int:
    start = data.rfind(b"\n", 0, at) + 1
    inline = re.search(rb"[A-Za-z0-9+/=\\nr]*\Z", data[max(start, at - 8192) : at])
    begin = at - len(inline.group()) if inline else at
    for number in range(_MAX_LINES):
        above = data.rfind(b"\n", 0, max(0, start - 1)) + 1
        # What stands right above the end is the key's last line, however short.
        line = _BASE64_LINE if number else _LAST_BASE64_LINE
        if start == 0 or not line.fullmatch(data, above, start - 1):
            break
        begin = start = above
    return begin


# --- manifests ------------------------------------------------------------------------------------

_SECRET_KIND: Final = re2.compile(rb"(?m)\bkind[\"']?:[ \t]*[\"']?Secret\b|\bstringData[\"']?:[ \t]*$")
_DATA_KEY: Final = re.compile(rb"([ \t]*)[\"']?(?:data|stringData)[\"']?:[ \t]*\{?[ \t]*")
_ENTRY: Final = re.compile(
    rb"([ \t]*)[\"']?[\w.-]+[\"']?[ \t]*:[ \t]*(?:[|>][+-]?[ \t]*)?[\"']?([^\n\"']*)[\"']?,?[ \t]*"
)
_INLINE_SECRET: Final = re2.compile(rb"\"kind\":[ \t]*\"Secret\"")
_INLINE_DATA: Final = re2.compile(rb"\"(?:data|stringData)\":[ \t]*\{([^{}]*)\}")
_JSON_VALUE: Final = re2.compile(rb":[ \t]*\"((?:[^\"\\]|\\.)+)\"")
_JWK: Final = re2.compile(rb"\"kty\":")
_JWK_VALUE: Final = re2.compile(rb"\"(?:d|p|q|dp|dq|qi|k)\":[ \t]*\"([A-Za-z0-9_-]{8,})\"")


def _manifests(data: bytes) -> Iterator[Span]:
    if _SECRET_KIND.search(data):
        yield from _yaml_secrets(data)
    if _INLINE_SECRET.search(data):
        for found in _INLINE_DATA.finditer(data):
            for value in _JSON_VALUE.finditer(data, found.start(1), found.end(1)):
                yield value.span(1)
    if _JWK.search(data):
        for found in _JWK_VALUE.finditer(data):
            yield found.span(1)


def _yaml_secrets(data: bytes) -> Iterator[Span]:
    """Every value under `data:` or `stringData:`; kubectl prints `data` before `kind`, so both orders count."""
    depth, at = -1, 0
    for line in data.split(b"\n"):
        key = _DATA_KEY.fullmatch(line)
        if key:
            depth = len(key.group(1))
        elif depth >= 0 and line.strip():
            if len(line) - len(line.lstrip(b" \t")) <= depth:
                depth = -1
            else:
                entry = _ENTRY.fullmatch(line)
                start, end = entry.span(2) if entry else (len(line) - len(line.lstrip(b" \t")), len(line))
                if end > start:
                    yield at + start, at + end
        at += len(line) + 1


# --- all of them ----------------------------------------------------------------------------------

_HARMLESS: Final = re.compile(
    rb"(?i)(?:\*+|x{3,}|\[?redacted\]?|\$\{?\w+\}?|<[^>]*>|none|null|%\w+%|\{[^}]*\})?"
)
_CALLED: Final = re.compile(rb"[A-Za-z]+\([^()]*\)[.,:;]?")  # `expired(401)`
_LETTERS: Final = re.compile(rb"[A-Za-z]+(?:[-_'/.][A-Za-z]+)*[.,:;!?)\]]*")


def _is_basic(text: bytes) -> bool:
    try:
        return b":" in base64.b64decode(text.replace(b"-", b"+").replace(b"_", b"/") + b"==")
    except (binascii.Error, ValueError):
        return False


def _urls(data: bytes) -> Iterator[Span]:
    for found in _USERINFO.finditer(data):
        user, password = found.span(1), found.span(2)
        if password[0] != -1:
            if not _HARMLESS.fullmatch(found.group(2)):
                yield password
            elif len(found.group(1)) >= 20:
                yield user
        elif len(found.group(1)) >= 12 and not _LETTERS.fullmatch(found.group(1)):
            yield user
    for pattern in (_DATABASE, _NETWORK_PATH, _DRIVER, _QUERY):
        for found in pattern.finditer(data):
            if not _HARMLESS.fullmatch(found.group(1)) and not (
                pattern is _QUERY and len(found.group(1)) < 6 and b"pass" not in found.group().lower()
            ):
                yield found.span(1)
    for found in _WEAK_QUERY.finditer(data):
        value = found.group(1)[:256]
        if _LONG_HEX.fullmatch(value) or looks_random(value, relaxed=True):
            yield found.span(1)


def _headers(data: bytes) -> Iterator[Span]:
    for found in _AUTHORIZATION.finditer(data):
        if SCOPE.match(found.group(2)) and not found.group(1):
            continue  # `HostAuthorization::Response` is the name of a class
        if found.group(1) or not _LETTERS.match(found.group(2)):
            start, end = found.span(2)
            if not _HARMLESS.fullmatch(found.group(2).strip()):
                yield start, end - (len(found.group(2)) - len(found.group(2).rstrip(b" \t)}],;")))
    for pattern in (_BEARER, _TOKEN_SCHEME):
        for found in pattern.finditer(data):
            if not _LETTERS.fullmatch(found.group(1).rstrip(b"=")):
                yield found.span(1)
    for found in _BASIC.finditer(data):
        if _is_basic(found.group(1)):
            yield found.span(1)
    for found in _HEADER.finditer(data):
        if not _HARMLESS.fullmatch(found.group(2).strip()) and not _LETTERS.fullmatch(
            found.group(2).split(b" ")[0]
        ):
            yield found.span(2)


def _statements(data: bytes) -> Iterator[Span]:
    for pattern in _STATEMENTS:
        for found in pattern.finditer(data):
            if not _HARMLESS.fullmatch(found.group(1)):
                yield found.span(1)
    for found in (*_PROSE.finditer(data), *_KEY_WORDS.finditer(data)):
        text = found.group(1)
        if (
            not _LETTERS.fullmatch(text)
            and any(48 <= byte <= 57 for byte in text)
            and text[:1] not in b"([{<$/"
            and not _CALLED.fullmatch(text)
        ):
            yield found.span(1)


def places(data: bytes) -> Iterator[Span]:
    """Spans of secrets known by their place. Linear in `data`."""
    yield from _blocks(data)
    yield from _urls(data)
    yield from _headers(data)
    yield from _statements(data)
    yield from _manifests(data)
