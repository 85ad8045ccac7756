"""Reads the likely cause out of a log: the last fatal line that is known, the cause rather than its wrapper."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from policies.facts import Diagnosis, RevertHelps
from policies.signatures import SIGNATURES, UNKNOWN_ADVICE, WRAPPER_ADVICE, WRAPPERS, Signature

MAX_LINES: Final = 5_000
MAX_LINE_CHARS: Final = 1_000
MAX_SHOWN_CHARS: Final = 400

_ALIVE: Final = re.compile(
    r"\" 2\d\d \d|\" 30\d \d|\b(?:GET|POST|HEAD|PUT) \S+ (?:HTTP/\S+ )?(?:=> |- )?\"? ?2\d\d\b"
    r"|Application startup complete|Started \w+ in [\d.]+ seconds|[Ss]erver (?:is )?(?:running|listening|started|ready)"
    r"|Completed 200 OK|\bready to accept connections|[Ll]istening on\b|health ?check.{0,20}(?:ok|passed|200)"
    r"|(?i:\b(?:re)?connected (?:to|after)|connection (?:established|restored|succeeded)|recovered\b)"
)
_QUIET: Final = re.compile(
    r"(?:^|[\s\[|\"=:])(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|debug|info|notice|warn(?:ing)?)(?:[\s\]|\",:]|$)"
)
_FATAL: Final = re.compile(
    r"^(?:[\w$]+\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Warning|Fault|NotFound|Refused|Timeout|Configured|Iteration"
    r"|DoesNotExist)\b(?::|$)"
    r"|^Caused by: |^Exception in thread |^panic: |^fatal error: |^goroutine \d+ \[running\]"
    r"|\b(?:FATAL|CRITICAL|PANIC|EMERG)\b|^(?:Uncaught )?[A-Z]\w*Error(?: \[\w+\])?: |^Unhandled |^node:internal"
    r"|\((?:[A-Z]\w*::)*[A-Z]\w*(?:Error|Exception|NotFound)\)$|^Segmentation fault"
)
_PREFIX: Final = re.compile(
    r"^(?:[\w.-]{1,60}\s+\|\s+)?(?:\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d[\d.,]*(?:Z|\s?[+-]\d\d:?\d\d)?\]?\s*)?"
    r"(?:std(?:out|err) [FP] )?(?:\[\d+\]\s*)?"
)


@dataclass(frozen=True, slots=True)
class _Found:
    line: str
    signature: Signature


def diagnose(log: str) -> Diagnosis | None:
    """The likely cause of the failure that `log` ends with, None where it tells of none.

    Works on cleaned text; reads the last 5,000 lines. Linear in the log.
    """
    wrapped = unknown = None
    for line in reversed(log.split("\n")[-MAX_LINES:]):
        text = _PREFIX.sub("", line[:MAX_LINE_CHARS]).rstrip()
        if not text.strip():
            continue
        if _ALIVE.search(text) and not (wrapped or unknown):
            return None
        signature = _known(text)
        if signature:
            return _diagnosis(signature.kind, text, signature.advice, signature.revert_helps)
        if WRAPPERS.search(text):
            wrapped = wrapped or text
        elif _FATAL.search(text):
            unknown = unknown or text
    if unknown:
        return _diagnosis("unknown", unknown, UNKNOWN_ADVICE, RevertHelps.MAYBE)
    if wrapped and "Booting worker" not in wrapped:
        return _diagnosis("wrapper", wrapped, WRAPPER_ADVICE, RevertHelps.MAYBE)
    return None


def _known(text: str) -> Signature | None:
    for signature in SIGNATURES:
        if signature.pattern.search(text):
            return signature if signature.certain or not _QUIET.search(text[:120]) else None
    return None


def _diagnosis(kind: str, line: str, advice: str, revert_helps: RevertHelps) -> Diagnosis:
    shown = line.strip()
    if len(shown) > MAX_SHOWN_CHARS:
        shown = shown[: MAX_SHOWN_CHARS - 1] + "…"
    return Diagnosis("image_pull" if kind == "image_pull_access" else kind, shown, advice, revert_helps)
