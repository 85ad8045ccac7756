"""Names the lines of a log whose template was not there before the deploy.

A template is a line with its values masked. drain3 learns templates from a stream; it was left out: a log of 200
lines is too short for its tree to converge, so that which lines share a template depends on their order, and the
masks below do its share of the work (see docs/evidence.md).
"""

from __future__ import annotations

import re
from typing import Final

MAX_LINE_CHARS: Final = 1_000
MAX_NEW: Final = 20

_STAMP: Final = re.compile(
    r"^(?:[\w.-]{1,60}\s{0,40}\|\s?)?[\[(]?\d{4}[-/]\d\d[-/]\d\d[T ][\d:.,]+(?:Z|\s?[+-]\d\d:?\d\d)?[\])]?\s*"
)
_MASKS: Final = (
    (re.compile(r"\[redacted\]"), "<*>"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<*>"),
    (re.compile(r"\b(?:0x)?(?=[0-9a-f]*\d)[0-9a-f]{7,}\b"), "<*>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<*>"),
    (re.compile(r"(?<=[\s=:(\[])/[\w./%?&=-]*"), "<*>"),
    (re.compile(r"\d+"), "<*>"),
    (re.compile(r"<\*>(?:[.,:/_-]?<\*>)+"), "<*>"),
    (re.compile(r"\s+"), " "),
)


def template(line: str) -> str:
    """`line` without its time stamp, with digests, ids, addresses, paths and numbers masked."""
    text = _STAMP.sub("", line[:MAX_LINE_CHARS])
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text.strip()


def new_lines(before: str, after: str, at_most: int = MAX_NEW) -> tuple[str, ...]:
    """The first line of each template of `after` that `before` does not have, in order, at most `at_most`.

    Linear in both logs. Empty where nothing is known of before: then everything would be new."""
    known = {template(line) for line in before.split("\n")} - {""}
    if not known:
        return ()
    found: dict[str, str] = {}
    for line in after.split("\n"):
        shape = template(line)
        if shape and shape not in known and shape not in found:
            found[shape] = line.strip()
            if len(found) == at_most:
                break
    return tuple(found.values())
