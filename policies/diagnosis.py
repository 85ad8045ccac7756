"""Reads the likely cause out of a log: the last fatal line that is known, the cause rather than its wrapper.

The log is read from its end. What a wrapper says ("worker failed to boot") sends the reader further up; a known
cause above it is the answer. Signs of life after the last error mean that the program got over it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from policies.causes import UNKNOWN, UNKNOWN_ADVICE, WRAPPER, WRAPPER_ADVICE
from policies.facts import Diagnosis, RevertHelps
from policies.signatures import SIGNATURES, WRAPPERS, Signature
from policies.traces import CONTEXTS

MAX_LINES: Final = 5_000
MAX_LINE_CHARS: Final = 1_000
MAX_SHOWN_CHARS: Final = 400
BETTER_LINE_WITHIN: Final = 15
"""Lines above a match in which the same cause may be said in a whole sentence."""
TRACE_LINES: Final = 60
"""Lines on either side of a fatal line in which its trace may tell what it was about."""
LAST_WORDS: Final = 3
"""An ERROR line tells of the end only among so many last lines."""

SAID_OFTEN: Final = 3
"""A cause that is only warned of counts from so many times on: one warning is a retry."""

_PREFIX: Final = re.compile(
    r"(?:[\w.-]{1,60}\s{0,40}\|\s?)?(?:std(?:out|err) [FP] )?"
    r"(?:\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d[\d.,]{0,12}(?:Z|\s?[+-]\d\d:?\d\d)?\]?\s{0,4}:?)?"
    r"(?:\[\d\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d\] )?"
    r"(?:std(?:out|err) [FP] )?(?:\[\d+\]\s)?"
    r"(?:WARNING: \[pool \w{1,40}\] child \d+ said into std(?:out|err): \")?(?:NOTICE: PHP message: )?"
)
_STARTED: Final = re.compile(
    r"Application startup complete|[Aa]pplication (?:successfully )?started\b|entered RUNNING state"
    r"|Started \w+ in [\d.]+ seconds|\bready to accept connections"
    r"|(?<!Is the )(?<!your database )\b[Ss]erver (?:is )?(?:running (?:on|at)|listening|started|ready|up)\b"
    r"|^(?:[*=> ]*)[Ll]istening on\b|(?<!that's )(?<!already )\blistening (?:on|at) (?:port|http|:|\d)"
    r"|^\S*\s*[Rr]eady (?:on|in|at)\b"
    r"|\b(?i:(?:re)?connected (?:to|after)|connection (?:established|restored|succeeded)|recovered"
    r"|is healthy|now healthy)\b"
    r"|\bhealth ?check.{0,20}\b(?:ok|passed|200)\b|\bworker ready\b|\bready for start up|Quit the server with CONTROL-C"
    r"|:\d{2,5} - accepting connections$"
)
_REACHED: Final = re.compile(
    r"^(?:\S{1,40} )?(?:[\w.-]{1,40}:\d{2,5}"
    r"|(?i:(?:the )?(?:database|db|postgres\w{0,5}|mysql|mariadb|redis|rabbitmq|mongo(?:db)?))) "
    r"(?:is|now|connection) (?:now )?(?:up|available|ready|reachable)\b(?! yet)"
    r"|^(?i:(?:redis|database|db|postgres\w{0,5}|mysql|mongo(?:db|ose)?) (?:ready|connected))\b"
)
"""The database was there in the end: it takes back that it was not, and nothing else."""
_SERVED: Final = re.compile(
    r"\" [23]\d\d [\d-]|\b(?:GET|POST|HEAD|PUT|DELETE|PATCH) \S+ (?:HTTP/\S+ ?)?(?:=> |- |: )?\"? ?[23]\d\d\b"
    r"|Completed [23]\d\d |\bSent [23]\d\d in |\bstatus[\"']?[=:]\s?[23]\d\d\b"
)
_QUIET: Final = re.compile(
    r"(?:^|[\s\[|\"=:/(])(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|LOG|debug|info|notice|warn(?:ing)?|Warning)"
    r"(?:[\s\]|\",:/)]|$)"
)
_FATAL: Final = re.compile(
    r"^(?:[\w$]+(?:\.|::))*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Fault|NotFound|Refused|Timeout|Configured|Iteration"
    r"|DoesNotExist|Failure|Group)\b(?::|$)"
    r"|^Caused by: |^Exception in thread |^panic: |^fatal error: |^(?:Uncaught )?\[?(?:[A-Z]\w*)?Error(?: \[\w+\])?: "
    r"|\b(?:FATAL|CRITICAL|PANIC|EMERG|ALERT)\b|^(?:Fatal|Unhandled|Uncaught)\b|^Segmentation fault|SIGSEGV|core dumped"
    r"|\[emerg\]|\d+ (?:Segmentation fault|Aborted|Bus error|Illegal instruction)"
    r"|\((?:[A-Z]\w*::)*(?:[A-Z]\w*(?:Error|Exception|NotFound)|E[A-Z]{3,})\)$"
    r"|^\*\* \((?:[A-Z]\w*\.)*(?:[A-Z]\w*(?:Error|Exception)|exit|stop|EXIT)\b"
    r"|PHP Fatal error:|thread '[^']*' panicked at"
)
_NO_END: Final = re.compile(r"No route matches \[|FATAL -- :\s{0,4}(?:\[[\w-]{1,64}\])?$")
"""What Rails calls fatal: a page that was not found, and the empty lines around what it has to say."""
_RAISED: Final = re.compile(
    r"^(?:[\w$]+\.)*[A-Z]\w*(?:Error|Exception|Configured|Exit|NotFound|DoesNotExist)\b(?::|$)"
)
"""An exception's own line; a level that stands in its message is not its level."""
_WARNING: Final = re.compile(r"(?:\S+\s){0,4}\[?WARN(?:ING)?\b")
_BOUND: Final = re.compile(
    r"(?<!that's )(?<!already )\blistening (?:at|on)\b|\brunning on http", re.IGNORECASE
)
"""The port was had in the end, after however many tries."""
_EVENT: Final = re.compile(r"Warning\s{2,8}(?:Failed|BackOff|InspectFailed)\s")
"""Kubernetes knows no level above this one."""
_ERROR: Final = re.compile(r"(?:^|[\s\[|\"=:/(])(?:ERROR|error|SEVERE|Error|ERR)(?:[\s\]|\",:/)]|$)")
_REQUEST: Final = re.compile(
    r"\bHTTP/\d|\b[45]\d\d\b|Not Found|Forbidden|\b0 errors?\b|\berrors?[=:]\s?0\b|no errors?\b"
    r"|TLS handshake error|[Bb]roken pipe|reset by peer|context canceled"
)
_TRACE_LINE: Final = re.compile(r"\s|at |\.{3} \d+ |Caused by: |Traceback |\S+:\d+:in ")
_PROPERTY: Final = re.compile(
    r"^\s*(?:code|errno|syscall|sqlMessage|sqlState|address|port|path|detail|hint)\b[\"']?:"
)
_OF_A_REQUEST: Final = re.compile(
    r"Servlet\.service\(\) for servlet|Internal Server Error: /|Exception on /\S* \[[A-Z]+\]"
    r"|Error handling request |unhandled exception has occurred while executing the request"
    r"|\b(?:GET|POST|PUT|PATCH|DELETE) \S+ .{0,20}\b5\d\d\b"
)
"""What stands above the trace of a request that failed, in a program that goes on."""
_POOL: Final = re.compile(
    r"Connection is not available|PoolTimedOut|pool timed out|dropped from queue|Timeout acquiring a connection"
)
"""Nobody gets a connection; why none is made was said before."""
_STATE: Final = re.compile(r"\b(?:ErrImagePull|ImagePullBackOff)$")
"""The name of a state; the sentence that says why it came to it stands above."""
_QUOTED_SOURCE: Final = re.compile(r"^\s*(?:raise|throw|except|catch|if|#|//|\*(?!\* \()|at |from |File \")")
_LEVELS: Final = ("level", "levelname", "severity", "lvl", "log.level")
_NUMBERED_LEVELS: Final = {"20": "DEBUG", "30": "INFO", "40": "WARN", "50": "ERROR", "60": "FATAL"}
"""As pino and bunyan write them."""
_MESSAGES: Final = (
    "log",
    "message",
    "msg",
    "event",
    "error",
    "err",
    "exception",
    "exc_info",
    "stack",
    "stacktrace",
)
_CHANCE: Final = re.compile(r"\d+|0x[0-9a-f]+|[0-9a-f]{8,}")


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    signature: Signature | None
    fatal: bool
    wrapper: bool
    started: bool
    served: bool
    quiet: bool

    @property
    def telling(self) -> bool:
        return self.signature is not None or self.fatal or self.wrapper


def diagnose(log: str, *, exited: bool = False) -> Diagnosis | None:
    """The likely cause of the failure that `log` ends with, None where it tells of none.

    `log` is cleaned text, of which the last 5,000 lines are read. `exited`: the program is known to be dead, so
    that signs of life in the log prove nothing. Linear in the log.
    """
    texts = [text for line in log.split("\n")[-MAX_LINES:] for text in _unwrapped(line)]
    lines = [line for line in map(_read, texts[-MAX_LINES:]) if line.text.strip()]
    if not exited and _got_over_it(lines):
        return None
    unknown = wrapped = None
    unknown_at = -1
    hints: list[int] = []
    bound = False
    for at in range(len(lines) - 1, -1, -1):
        line = lines[at]
        bound = bound or bool(_BOUND.search(line.text))
        if bound and line.signature is not None and line.signature.kind == "port_in_use":
            continue
        if line.signature is not None and line.quiet and not (exited or unknown or wrapped):
            hints.append(at)
            continue
        if line.signature is not None:
            return _named(lines, at, line.signature)
        if line.started and (unknown or wrapped) and not exited:
            break
        if line.fatal and (exited or not _was_only_warned_of(lines, at)):
            if unknown is None:
                unknown, unknown_at = _with_its_message(lines, at), at
        elif line.wrapper:
            wrapped = wrapped or line.text
    if len(hints) >= SAID_OFTEN and (repeated := lines[hints[0]].signature) is not None:
        return _named(lines, hints[0], repeated)
    if unknown_at >= 0 and (told := _by_its_trace(lines, unknown_at)) is not None:
        return Diagnosis(told.kind, _shown(unknown or ""), told.advice, told.revert_helps)
    if unknown is None and wrapped is None:
        unknown = _last_words(lines)
    if unknown is not None:
        return Diagnosis(UNKNOWN, _shown(unknown), UNKNOWN_ADVICE, RevertHelps.MAYBE)
    if wrapped is not None:
        return Diagnosis(WRAPPER, _shown(wrapped), WRAPPER_ADVICE, RevertHelps.MAYBE)
    return None


def _unwrapped(line: str) -> list[str]:
    """The lines inside a line of JSON: its level with its message, then the trace it carries; else the line."""
    prefix = _PREFIX.match(line)
    bare = (line[prefix.end() :] if prefix else line).strip()
    if not (bare.startswith("{") and bare.endswith("}")):
        return [line]
    try:
        fields = json.loads(bare)
    except (ValueError, RecursionError):
        return [line]
    level = next((str(fields[name]).upper() for name in _LEVELS if name in fields), "")
    level = _NUMBERED_LEVELS.get(level, level)
    texts = [fields[name] for name in _MESSAGES if isinstance(fields.get(name), str)]
    for error in (fields.get(name) for name in ("err", "error", "exception")):
        if isinstance(error, dict):
            texts += _error_object(error, with_trace=level in ("FATAL", "CRITICAL"))
    if not texts:
        return [line]
    head = f"{level} {texts[0]}" if level and level != "ERROR" else texts[0]
    return "\n".join([head + _status(fields), *texts[1:]]).split("\n")


def _error_object(error: dict[str, object], *, with_trace: bool) -> list[str]:
    """What an error that was logged as an object says; its trace only where the program died of it, since
    in a log of requests the head of a trace would read like the end of the program."""
    trace, message = error.get("stack"), error.get("message")
    if with_trace and isinstance(trace, str):
        return [trace]
    if isinstance(message, str):
        return [message]
    told = [error.get(name) for name in ("syscall", "code", "hostname", "address")]
    return [" ".join(word for word in told if isinstance(word, str))] if error.get("code") else []


def _status(fields: dict[str, object]) -> str:
    """The answer's status as text lines have it, so that answered requests of JSON logs are seen as such."""
    response = fields.get("res")
    inner = response.get("statusCode") if isinstance(response, dict) else None
    status = next((s for s in (fields.get("status"), fields.get("statusCode"), inner) if s is not None), None)
    return f" status={status}" if isinstance(status, int) and 100 <= status < 600 else ""


def _read(line: str) -> _Line:
    line = line[:MAX_LINE_CHARS]
    prefix = _PREFIX.match(line)
    text = (line[prefix.end() :] if prefix else line).rstrip()
    loud = _RAISED.match(text) or _EVENT.match(text)
    quiet = not loud and bool(_QUIET.search(" ".join(text[:120].split(None, 4)[:4])))
    signature = None if _QUOTED_SOURCE.match(text) and not text.startswith("at ") else _known(text, quiet)
    wrapper = bool(WRAPPERS.search(text))
    return _Line(
        text=text,
        signature=signature,
        fatal=signature is None and not wrapper and not quiet and _is_fatal(text),
        wrapper=signature is None and wrapper,
        started=signature is None and bool(_STARTED.search(text)),
        served=bool(_SERVED.search(text)),
        quiet=quiet,
    )


def _is_fatal(text: str) -> bool:
    return bool(_FATAL.search(text)) and not _NO_END.search(text)


def _known(text: str, quiet: bool) -> Signature | None:
    for signature in SIGNATURES:
        if signature.pattern.search(text):
            return signature if signature.certain or not quiet else None
    return None


def _was_only_warned_of(lines: list[_Line], at: int) -> bool:
    """Whether an exception stands right under a warning, and the program went on to say other things."""
    warned = at > 0 and bool(_WARNING.match(lines[at - 1].text))
    return warned and any(line.quiet or line.served for line in lines[at + 1 :])


def _got_over_it(lines: list[_Line]) -> bool:
    """Whether signs of life follow the last error: a start that was not there before it, or enough answers.

    One error among answered requests was one bad request; errors that keep coming between them were not."""
    errors = [at for at, line in enumerate(lines) if line.telling]
    if not errors:
        return False
    before = {_template(line.text) for line in lines[: errors[-1]] if line.started}
    after = lines[errors[-1] + 1 :]
    if any(line.started and _template(line.text) not in before for line in after):
        return True
    kinds = [_kind(lines[at]) for at in errors]
    reached = {_template(line.text) for line in after if _REACHED.search(line.text)}
    if kinds[-1] == "db_down" and reached - {_template(line.text) for line in lines[: errors[-1]]}:
        return True
    again = sum(kind == kinds[-1] for kind in kinds)
    if again == 1 and _was_one_request(lines, errors[-1]):
        return any(not _TRACE_LINE.match(line.text) for line in after)
    return sum(line.served for line in after) >= 2 * again


def _was_one_request(lines: list[_Line], at: int) -> bool:
    """Whether the error at `at`, of no known cause, belongs to the only request that failed since the start."""
    since = max((n for n in range(at) if lines[n].started), default=None)
    if since is None or lines[at].signature is not None:
        return False
    failed = [n for n in range(since, len(lines)) if _OF_A_REQUEST.search(lines[n].text)]
    return len(failed) == 1 and 0 <= at - failed[0] <= TRACE_LINES


def _kind(line: _Line) -> str:
    return line.signature.kind if line.signature else _template(line.text)


def _template(text: str) -> str:
    return _CHANCE.sub("#", text)


def _by_its_trace(lines: list[_Line], at: int) -> Signature | None:
    """What the lines around a fatal line say that it was about, where it leaves that open itself."""
    around = lines[max(0, at - TRACE_LINES) : at + TRACE_LINES]
    for context in CONTEXTS:
        if context.headline.search(lines[at].text) and any(
            context.nearby.search(line.text) for line in around
        ):
            return next(signature for signature in SIGNATURES if signature.kind == context.kind)
    return None


def _whole_sentence(lines: list[_Line], at: int) -> _Line:
    """The line that says the same cause best: an exception's message rather than one of its properties."""
    found = lines[at]
    if found.signature is None or not (_PROPERTY.match(found.text) or _STATE.search(found.text)):
        return found
    for line in reversed(lines[max(0, at - BETTER_LINE_WITHIN) : at]):
        same = line.signature is not None and line.signature.kind == found.signature.kind
        if same and not _PROPERTY.match(line.text) and not _STATE.search(line.text):
            return line
    return found


def _with_its_message(lines: list[_Line], at: int) -> str:
    """A line that only announces what the next one says, together with it."""
    text = lines[at].text
    says_on = text.endswith(":") and at + 1 < len(lines)
    return f"{text} {lines[at + 1].text.strip()}" if says_on else text


def _last_words(lines: list[_Line]) -> str | None:
    """An ERROR line at the very end, where nothing more certain was found."""
    for line in reversed(lines[-LAST_WORDS:]):
        if line.served or line.started:
            return None
        if _ERROR.search(line.text) and not _REQUEST.search(line.text):
            return line.text
    return None


def _why_no_connection(lines: list[_Line], at: int) -> _Line | None:
    """Why the pool stayed empty, where that was said above."""
    if not _POOL.search(lines[at].text):
        return None
    above = (line for line in reversed(lines[max(0, at - TRACE_LINES) : at]) if line.signature is not None)
    return next(
        (line for line in above if line.signature and line.signature.kind in ("db_login", "db_tls")), None
    )


def _named(lines: list[_Line], at: int, signature: Signature) -> Diagnosis:
    line = _why_no_connection(lines, at) or _whole_sentence(lines, at)
    told = line.signature or signature
    return Diagnosis(told.kind, _shown(line.text), told.advice, told.revert_helps)


def _shown(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"
