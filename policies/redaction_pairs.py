"""Finds secrets by the name that stands before them: `DB_PASSWORD=…`, `"api_key": "…"`, `--token …`.

The pattern engine only finds names with a separator behind them; whether the name means a secret and where its
value ends is decided here, one candidate at a time, so that prose ("invalid token: unexpected end") stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final

import re2

from policies.redaction_random import looks_random

Span = tuple[int, int]

MAX_VALUE: Final = 8192
"""Bytes; a longer value is cut here and its rest is judged by shape and randomness like any other text."""

TELLING: Final = 256
"""Bytes of a value that tell whether it is one."""

_NAME: Final = (
    rb"[A-Za-z0-9_.$-]*(?i:pass|pwd|secret|token|key|cred|auth|bearer|jwt|cookie|session|csrf|xsrf|dsn|otp|salt"
    rb"|pepper|hmac|sig|conn|webhook|pin)[A-Za-z0-9_.-]*"
)
_PAIR: Final = re2.compile(
    rb"(" + _NAME + rb")(?:\\*[\"'`])?\]?[ \t]*(=>|:=|={1,3}|:|%3[Dd])[ \t]*(?:!![a-z]{2,12}[ \t]+)?"
)
_FLAG: Final = re2.compile(rb"(?:^|[\s\"'\[,])--?(" + _NAME + rb")(?:[\"']?,[ \t]*|[ \t]+)")
_ELEMENTS: Final = tuple(
    re2.compile(pattern)
    for pattern in (
        rb"<(" + _NAME + rb")(?:[ \t][^<>]*)?>([^<>\s][^<>]*)<",
        rb"(?i:key|name|id)=[\"'](" + _NAME + rb")[\"'][^<>\n]{0,100}>([^<>\s][^<>]*)</",
        # Django's own page for errors
        rb"<td>(" + _NAME + rb")</td>\s*<td[^<>]*>\s*(?:<pre>|<code>)?\s*([^<>\s][^<>]*)<",
    )
)
_NAMED_VALUE: Final = re2.compile(
    rb"(?i:name|key|parameter)(?:\\*[\"'])?[ \t]*[:=][ \t]*(?:\\*[\"'])?(" + _NAME + rb")(?:\\*[\"'])?"
    rb"[ \t]*,?[ \t]*(?:\\n|\n)?[ \t]*(?:\\*[\"'])?(?i:value|valueFrom|default)(?:\\*[\"'])?[ \t]*[:=][ \t]*"
)
# The value first, as the console of ECS and some sorted JSON have it.
_VALUE_FIRST: Final = re2.compile(
    rb"(?i)[\"']value[\"'][ \t]*:[ \t]*[\"]((?:[^\"\\\n]|\\.)+)[\"][ \t]*,\s*"
    rb"[\"'](?:name|key)[\"'][ \t]*:[ \t]*[\"'](?-i:(" + _NAME + rb"))[\"']"
)
_TYPED: Final = re2.compile(
    rb"\[?[\"'](" + _NAME + rb")[\"'](?::\w+)?\]?[ \t]*=>\s*(?:string|str)\(\d+\)[ \t]*\""
)
_KEYWORD: Final = re2.compile(rb"(?:^|[\s{(\[,]):(" + _NAME + rb")[ \t]+\"")
_REJECTED: Final = re2.compile(rb"(?m)^(" + _NAME + rb")\n[^\n]{0,400}\binput_value=")  # pydantic
_TUPLE: Final = re2.compile(rb"[(\[][ \t]*(?:\\*[\"'])(" + _NAME + rb")(?:\\*[\"'])[ \t]*,[ \t]*")
_DEFAULT: Final = re2.compile(
    rb"(?:env|getenv|get|config|fetch)\w*[.(]+[\"']("
    + _NAME
    + rb")[\"'][ \t]*,[ \t]*(?:default[ \t]*=[ \t]*)?"
)
# `vault kv get` and other tables: the name, a gap, the value, nothing more.
_COLUMN: Final = re2.compile(rb"(?m)^[ \t]*(" + _NAME + rb")(?:[ ]{2,}|[ ]*\t[ \t]*)")
_CAPITALS: Final = re2.compile(
    rb"\b((?:[A-Z0-9]+_)*(?:[A-Z]*KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASS)(?:_[A-Z0-9]+)*)[ \t]+"
    rb"(?:(?:is|was|to|of)[ \t]+)?[\"']"
)
_QUOTED: Final = (_CAPITALS, _TYPED, _KEYWORD)
"""Patterns that end behind the quote that opens the value."""
_CHANGED: Final = re.compile(rb"\\*[\"']?[ \t]{0,4}(?:->|=>|\xe2\x86\x92)[ \t]{0,4}")
_LIST: Final = re.compile(rb"\[(?=[\s\"'\]])")
SCOPE: Final = re.compile(rb":[A-Z][A-Za-z]*\b")
"""What follows the first colon in the name of a class: `HostAuthorization::Response`."""
_LISTED: Final = re2.compile(rb"[\"']([^\"'\n]{4,})[\"']")


class _Kind(Enum):
    """How much a name says: a password can be any word, a token cannot, a session is often only a session."""

    PASSWORD = "password"  # noqa: S105
    SECRET = "secret"  # noqa: S105
    TOKEN = "token"  # noqa: S105
    WEAK = "weak"
    KEY = "key"


_WORDS: Final = re.compile(rb"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PASSWORDS: Final = frozenset(
    b"password passwd passwort pwd pass passphrase passcode userpass userpassword dbpass dbpassword requirepass "
    b"masterauth keypass storepass pgpassword".split()
)
_SECRETS: Final = frozenset(
    b"secret secrets apikey secretkey privatekey accesskey accountkey signingkey encryptionkey masterkey authkey "
    b"credential credentials creds jwtsecret clientsecret apisecret appsecret keyid dsn otp totp pepper pin".split()
)
_TOKENS: Final = frozenset(
    b"token tokens authtoken accesstoken refreshtoken idtoken csrftoken csrf xsrf csrfmiddlewaretoken apitoken "
    b"bearer jwt authorization cookie cookies sessionid hmac xauthtoken connectionstring".split()
)
_WEAK: Final = frozenset(b"auth session sig signature salt webhook webhookurl".split())
_KEY_OF: Final = frozenset(
    b"api access secret private signing encryption encrypt crypt crypto master account shared auth session app "
    b"application license licence service storage deploy ssh webhook admin client consumer subscription integration "
    b"write ingest ingestion hash cookie fernet jwt hmac aes rsa server user read project management anon role "
    b"intake insert rest publishable".split()
)
# What a name ends with when it tells of a secret without being one.
_ABOUT: Final = frozenset(
    b"count counts type types url uri file files path paths name names length len size ttl expires expiry expired "
    b"expiration expire exp in at timeout endpoint header headers field fields param params policy reset enabled "
    b"disabled required limit limits usage used status valid validator validators hasher hashers hint age version "
    b"format prefix suffix algorithm alg method methods provider providers backend backends class module source "
    b"scope scopes mode rotation manager store service controller handler error errors exception failed domain "
    b"samesite secure httponly arn ref cache middleware plugin event events index column pattern rate max min "
    b"budget total per bytes seconds ms days hours engine serializer kind cost left remaining host port user "
    b"username email id ids verified changed updated created required mapping map set list table pair pairs "
    b"space group groups server servers dir directory location date time log level state factory view views task "
    b"job repository serializer request response form forms builder adapter listener interface impl test tests spec "
    b"model record entity configuration filter resolver strategy".split()
)
_TELLING_ID: Final = frozenset((b"secret", b"session", b"sessionid", b"accesskey"))


def _kind(name: bytes) -> _Kind | None:
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:
        return None
    last = words[-1]
    if last.isdigit() and len(words) > 1:
        words.pop()
        last = words[-1]
    if last == b"id" and len(words) > 1:
        if words[-2] == b"key" and len(words) > 2:
            return _Kind.SECRET if words[-3] == b"access" else None
        return _Kind.TOKEN if words[-2] in _TELLING_ID else None
    if last in _ABOUT:
        return None
    if last == b"key" or last == b"keys":
        return _Kind.SECRET if len(words) > 1 and words[-2] in _KEY_OF else _Kind.KEY
    if last in (b"string", b"str") and len(words) > 1 and words[-2] in (b"connection", b"conn"):
        return _Kind.SECRET
    kinds = {_kind_of(word) for word in words[-3:]} | {_kind_of(b"".join(words[-2:]))}
    return next((kind for kind in _Kind if kind in kinds), None)


def is_secret_name(name: bytes) -> bool:
    """Whether whatever stands under `name` is a secret (`db_password`, `apiKey`; not `token_count`, `key`)."""
    return _kind(name) not in (None, _Kind.KEY, _Kind.WEAK)


def says_nothing(text: bytes) -> bool:
    """Whether `text` stands in a value's place without being one: `null`, `****`, `${DB_PASSWORD}`."""
    return bool(_NOTHING.fullmatch(text[:TELLING]))


def _kind_of(word: bytes) -> _Kind | None:
    if word in _PASSWORDS or (word.endswith((b"password", b"passwd")) and len(word) > 7):
        return _Kind.PASSWORD
    if word in _SECRETS:
        return _Kind.SECRET
    if word in _TOKENS:
        return _Kind.TOKEN
    return _Kind.WEAK if word in _WEAK else None


# --- where a value ends ---------------------------------------------------------------------------

_OPEN: Final = re.compile(rb"(?:Some\(|new \w{1,40}\(|&)?[bBuUrRfF]{0,2}(\\{0,8}(?:\"\"\"|'''|[\"'`]))")
# A delimiter ends an unquoted value only where structure follows: passwords contain commas and brackets.
_END: Final = re.compile(
    rb"\s|\\[nrt](?=[^A-Za-z0-9]|[A-Z]|$)|</|&amp;|%26"
    rb"|\\?[\"'`]{1,8}(?=[\s,;:)}\]&|<>.\\]|$)"
    rb"|[,;&|](?=\s|$|[\"']?[A-Za-z_][\w.\[\]-]{0,60}[\"']?\s?[=:])"
    rb"|[)}\]>]{1,8}(?=[\s,;:\"')}\]|\\.]|$)"
)
# ODBC puts a value with signs into braces.
_BRACED: Final = re.compile(rb"\{([^\n{};]{4,200})\}(?=;)")
_NOTHING: Final = re.compile(
    rb"(?i)(?:none|null|nil|undefined|true|false|yes|no|on|off|unset|empty|missing|not|required|amd64|arm64|i386"
    rb"|[|>](?:[+-]?[1-9]?|[1-9][+-])"  # how a YAML block begins
    rb"|\*+|x{3,}|\.{2,}(?:\xe2\x80\xa6)?|-+|[\[(<{]+[a-z ]*(?:redacted|filtered|masked|hidden|removed|omitted"
    rb"|protected|sensitive|secret)[^\s]*|redacted|filtered|masked|hidden|<[\w .:'/-]+>?|\$\{[\w.:-]+\}?|\$\(.*"
    rb"|(?-i:\$[A-Z_][A-Z0-9_]*)|%\(\w+\)s?|%s|%\w+%|\{\{.*|\$\{\{.*|\{[\w.]*\}|[({\[]+|0|)[,;.)}\]]*"
)
_ATTRIBUTE: Final = re.compile(
    rb"(?:self|this|cls|settings|config|conf|cfg|request|req|os|env|process|app|args|opts|options|kwargs|params|data"
    rb"|credentials|session|user|ctx|context|event|props|state|client|conn|secrets|vars|values|inputs)"
    rb"(?:(?:\.|->|::)\w+)+[,;)]*"
)
_CODE: Final = re.compile(rb"(?:await |new |not |lambda)?[A-Za-z_]\w*(?:(?:\.|::|->)\w+)*(?:[(\[]|$)")
# How programs print objects: `Token{a64f992 …`, `android.os.BinderProxy@2bd79ce`, `<Session 0x7f…`.
_CALL: Final = re.compile(rb"[A-Za-z_]\w*(?:(?:\.|::|->)\w+)*\([bru]?[\"'].*", re.DOTALL)
_OBJECT: Final = re.compile(rb"[A-Za-z_$][\w.$]*(?:[{(\[<].*|@[0-9a-f]{4,16}[,;)}\]]*)")
_FRAME: Final = re.compile(rb"\s*(?:\S+ +\| +)?File \"[^\"\n]{1,400}\", line \d+")
_NEXT_FLAG: Final = re.compile(rb"-[A-Za-z]{1,2}|--[a-z][a-z0-9-]*(?:=.*)?", re.DOTALL)
_LONG_HEX: Final = re.compile(rb"[0-9a-f]{20,}|[0-9A-F]{20,}")
_SENTENCE: Final = re.compile(rb"[A-Z][a-z']*(?: [A-Za-z0-9',.()-]+){2,}[.!]|(?:[a-z']+ ){3,}[a-z']+\.")
_WORDLIKE: Final = re.compile(rb"(?:[A-Z]?[a-z]{1,24}|[A-Z]{1,24}|[A-Z][a-z]+[A-Z][a-z]+)[.,:;!?)\]]*")


def _quoted(data: bytes, opening: re.Match[bytes], limit: int) -> Span:
    quote, start = opening.group(1), opening.end()
    at = data.find(quote, start, limit)
    while at != -1:
        before = at
        while before > start and data[before - 1 : before] == b"\\":
            before -= 1
        if (at - before) % 2 == 0:
            return start, at
        at = data.find(quote, at + 1, limit)
    line_end = data.find(b"\n", start, limit)
    return start, line_end if line_end != -1 else limit


class _Values:
    """Where values end in one text. Remembers the last end: names without one between them share it, and a
    text of nothing but names would else be read again for each."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._read_from = self._end = -1

    def at(self, at: int) -> tuple[int, int, bool]:
        """Start and end of the value that begins at `at`, and whether it is quoted."""
        limit = min(len(self._data), at + MAX_VALUE)
        opening = _OPEN.match(self._data, at, limit)
        if opening:
            return *_quoted(self._data, opening, limit), True
        braced = _BRACED.match(self._data, at, limit)
        if braced:
            return braced.start(1), braced.end(1), True
        if not self._read_from <= at <= self._end:
            found = _END.search(self._data, at, limit)
            self._read_from, self._end = at, found.start() if found else limit
        return at, self._end, False


def _in_code(data: bytes, at: int) -> bool:
    """Whether the line is source that a Python traceback quotes: the line above it names file and line."""
    start = data.rfind(b"\n", max(0, at - 500), at)
    if start <= 0 or data[start + 1 : start + 5].strip():
        return False  # the exception's own message stands at the margin
    above = data.rfind(b"\n", max(0, start - 600), start) + 1
    return bool(_FRAME.match(data, above, start))


def _attached(data: bytes, at: int) -> bool:
    """Whether the flag at `at` is `-p` of a MySQL client with the password itself, and no name before one."""
    if data[at - 1 : at + 1] != b"-p" or data[at - 2 : at - 1] == b"-":
        return False
    near = max(0, at - 300)
    command = data[max(near, data.rfind(b"\n", near, at) + 1) : at].lower()
    return b"mysql" in command or b"mariadb" in command


def _secret(data: bytes, name: Span, separator: bytes, value: tuple[int, int, bool]) -> bool:
    kind = _kind(data[name[0] : name[1]])
    start, end, quoted = value
    text = data[start : min(end, start + TELLING)]
    if kind is None or _NOTHING.fullmatch(text):
        return False
    if separator == b"--" and not quoted and (_NEXT_FLAG.fullmatch(text) or _attached(data, name[0])):
        return False
    if separator == b":" and SCOPE.match(text) and data[name[0] : name[0] + 1].isupper():
        return False
    if kind is _Kind.KEY:
        return looks_random(text, relaxed=True)
    if kind is _Kind.WEAK:
        hook = text.startswith(b"http") and b"webhook" in data[name[0] : name[1]].lower()
        return hook or bool(_LONG_HEX.fullmatch(text)) or looks_random(text, relaxed=True)
    if quoted:
        return _quoted_secret(kind, text, structural=separator != b":" or _structural(data, name[0]))
    if kind is not _Kind.PASSWORD and _OBJECT.fullmatch(text):
        return False
    if text.isdigit() and (kind is not _Kind.PASSWORD or data[name[0] : name[1]].lower() == b"pass"):
        return len(text) >= 12
    if data[name[0] : name[1]] == b"secret" and data.rfind(b"arn:aws", max(0, name[0] - 60), name[0]) != -1:
        return False  # the resource's name, not its value
    if _ATTRIBUTE.fullmatch(text) or (_CODE.fullmatch(text) and _in_code(data, start)):
        return False
    if _CALL.fullmatch(text) or (_CODE.match(text) and text.rstrip(b",;")[-1:] in (b")", b"]", b"(", b"[")):
        return False
    if not _WORDLIKE.fullmatch(text):
        return kind is not _Kind.TOKEN or len(text) >= 6
    if separator == b":":
        return kind is _Kind.PASSWORD and _structural(data, name[0]) and not _prose_follows(data, end)
    return separator == b"--" or kind is not _Kind.TOKEN or len(text) >= 16


def _quoted_secret(kind: _Kind, text: bytes, *, structural: bool) -> bool:
    if _SENTENCE.fullmatch(text):
        return False
    if kind is _Kind.TOKEN and not structural:
        return len(text) >= 6 and not _WORDLIKE.fullmatch(text)
    return kind is _Kind.PASSWORD or len(text) >= 6 or not text.isdigit()


def _structural(data: bytes, at: int) -> bool:
    """Whether the name begins a line or an entry of a mapping, as in YAML, and not a clause of a sentence."""
    near = max(0, at - 200)
    before = data[max(near, data.rfind(b"\n", near, at) + 1) : at].rstrip(b" \t\"'\\")
    return not before or before[-1:] in b"{,[(-|&?;"


def _prose_follows(data: bytes, at: int) -> bool:
    rest = data[at : at + 80].split(b"\n", 1)[0].lstrip(b",;.")
    return bool(rest.strip()) and not rest.strip().startswith((b"#", b"}", b")", b"]", b'"', b"'"))


def _list_end(data: bytes, at: int) -> int:
    limit = min(len(data), at + MAX_VALUE)
    close = data.find(b"]", at, limit)
    return close if close != -1 else limit


def _listed(data: bytes, at: int, end: int) -> Iterator[Span]:
    """The texts in a list of secrets: `"tokens": ["…", "…"]`."""
    for found in _LISTED.finditer(data, at, end):
        if not _SENTENCE.fullmatch(found.group(1)):
            yield found.span(1)


def pairs(data: bytes) -> Iterator[Span]:
    """Spans of values whose name says that they are secret. Linear in `data`."""
    values = _Values(data)
    for pattern, separator in (
        (_PAIR, b""),
        (_FLAG, b"--"),
        (_NAMED_VALUE, b"="),
        (_TUPLE, b"="),
        (_DEFAULT, b"="),
        (_COLUMN, b":"),
        (_CAPITALS, b"="),
        (_TYPED, b"="),
        (_KEYWORD, b"="),
        (_REJECTED, b"="),
    ):
        at = 0
        while found := pattern.search(data, at):
            name = found.span(1)
            if _LIST.match(data, found.end()):
                at = _list_end(data, found.end() + 1)
                if is_secret_name(data[name[0] : name[1]]):
                    yield from _listed(data, found.end() + 1, at)
                continue
            value = values.at(found.end() - (pattern in _QUOTED))
            if _secret(data, name, separator or found.group(2), value):
                yield value[0], value[1]
                at = max(found.end(), value[1])
                changed = _CHANGED.match(data, at)
                if changed:
                    value = values.at(changed.end())
                    yield value[0], value[1]
                    at = max(changed.end(), value[1])
            else:
                at = found.end()
    for pattern in _ELEMENTS:
        for found in pattern.finditer(data):
            if _of_a_secret(found.group(1), found.group(2)):
                yield found.span(2)
    for found in _VALUE_FIRST.finditer(data):
        if _of_a_secret(found.group(2), found.group(1)):
            yield found.span(1)


def _of_a_secret(name: bytes, text: bytes) -> bool:
    if _kind(name) is _Kind.KEY:
        return looks_random(text, relaxed=True)
    return is_secret_name(name) and not _NOTHING.fullmatch(text)
