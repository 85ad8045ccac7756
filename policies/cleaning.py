"""Makes text that somebody else wrote safe to show: the order of cleaning, the cap, the fence, no mentions.

The order matters and is fixed in `clean`: decode, strip terminal sequences, drop invisible characters, redact the
whole text, and only then cut it (a key that was cut in half is no longer recognised).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from policies.redaction import redact

MAX_BYTES: Final = 60_000
"""GitHub takes 65,536 characters in a comment; the rest is for what stands around the log."""
MAX_LINE_CHARS: Final = 2_000
HEAD_SHARE: Final = 0.25
"""Of what is kept, the part from the beginning: the crash is at the end, its cause often at the start."""

# Each pattern stops at the next opener or line end, so that a text of nothing but openers costs linear time.
_STRINGS: Final = re.compile(
    "(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])(?P<carried>[^\x07\x1b\x90\x98\x9c-\x9f\n]*)(?:\x07|\x1b\\\\|\x9c)"
)
_CSI: Final = re.compile("(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]")
_ESCAPE: Final = re.compile("\x1b[ -/]*[0-~]?")
_LINE_ENDS: Final = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_UNIT_SEPARATORS: Final = dict.fromkeys(range(28, 32), " ")
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # C0 and C1 without tab and line ends
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners, fillers
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"  # zero width, bidi
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"  # musical format, tags, variation selectors
)
CODE_BEGINS: Final = re.compile(f"{_INVISIBLE.pattern[:-1]}\r\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")
CODE: Final = re.compile(
    f"{_STRINGS.pattern}|{_CSI.pattern}|{_ESCAPE.pattern}|\r(?=\n)|(?P<line_end>[\r\x0b\x0c\x85\u2028\u2029])"
    f"|(?P<space>[\x1c-\x1f])|{_INVISIBLE.pattern}+"
)
"""One of what `plain` takes out or writes anew; begins with one of `CODE_BEGINS`."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
LONGEST_RUN: Final = 32
_BACKTICKS: Final = re.compile("`+")
_LONG_RUN: Final = re.compile(f"`{{{LONGEST_RUN + 1},}}")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Text that may be shown, how many values were redacted in it and how many lines were left out."""

    text: str
    redacted: int = 0
    lines_cut: int = 0


def decode(raw: bytes) -> str:
    """UTF-8 where it is UTF-8; every byte that is not becomes U+FFFD. Never fails."""
    return raw.decode("utf-8", "replace")


def plain(text: str) -> str:
    """`text` without terminal sequences and invisible characters, with `\\n` line ends only.

    Invisible characters are dropped and not replaced: a token that they split becomes whole again, and a log
    in UTF-16 becomes readable, so that redaction sees what a reader would see.
    """
    if "\x1b" in text or "\x9b" in text or "\x9d" in text:
        text = _STRINGS.sub("", text)
        text = _CSI.sub("", text)
        text = _ESCAPE.sub("", text)
    text = _LINE_ENDS.sub("\n", text).translate(_UNIT_SEPARATORS)
    return _SURROGATE.sub("\ufffd", _INVISIBLE.sub("", text))


def clean(
    raw: bytes | str,
    extra: tuple[str, ...] = (),
    *,
    max_lines: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> Cleaned:
    """Everything that must happen to foreign text before anyone sees it, in the one safe order.

    `extra` are the repository's own RE2 patterns of what else to remove. Cleaning what is clean changes nothing.
    """
    text = plain(decode(raw) if isinstance(raw, bytes) else raw)
    redacted = redact(text, extra)
    capped, lines_cut = cap(redacted.text, max_lines=max_lines, max_bytes=max_bytes)
    return Cleaned(capped, redacted.count, lines_cut)


def cap(text: str, *, max_lines: int | None = None, max_bytes: int = MAX_BYTES) -> tuple[str, int]:
    """`text` cut to lines of 2,000 characters, `max_lines` and `max_bytes` (UTF-8); how many lines went.

    Head and tail are kept and one line says what is missing between them.
    """
    lines = [_short(line) for line in text.split("\n")]
    sizes = [len(line.encode("utf-8", "replace")) + 1 for line in lines]
    most = len(lines) if max_lines is None else max(2, max_lines)
    if len(lines) <= most and sum(sizes) - 1 <= max_bytes:
        return "\n".join(lines), 0
    room = max(0, max_bytes - 64)  # for the line that tells of the cut
    head = _fitting(sizes, int(room * HEAD_SHARE), int((most - 1) * HEAD_SHARE))
    tail = _fitting(sizes[:head:-1] if head else sizes[::-1], room - sum(sizes[:head]), most - 1 - head)
    cut = len(lines) - head - tail
    if cut <= 0:
        return "\n".join(lines), 0
    kept = [*lines[:head], f"[… {cut} lines cut …]", *(lines[-tail:] if tail else [])]
    shown = "\n".join(kept).encode("utf-8", "replace")[: max(0, max_bytes)]
    return shown.decode("utf-8", "ignore"), cut


def _fitting(sizes: list[int], max_bytes: int, max_lines: int) -> int:
    count = used = 0
    for size in sizes[: max(0, max_lines)]:
        used += size
        if used > max_bytes:
            break
        count += 1
    return count


def _short(line: str) -> str:
    if len(line) <= MAX_LINE_CHARS:
        return line
    half = (MAX_LINE_CHARS - 40) // 2
    return f"{line[:half]} [… {len(line) - 2 * half} characters cut …] {line[-half:]}"


def _tame(text: str) -> str:
    """`text` with no run of backticks longer than a renderer counts.

    cmark keeps the length of a fence in one byte and gives up on code spans of more than 80: a run of 300 would
    leave a fence of 301.
    """
    return _LONG_RUN.sub("`" * LONGEST_RUN + "…", text)


def fence_for(text: str) -> str:
    """The run of backticks that nothing in `text` can close: one longer than its longest, at least three."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    return "`" * max(3, longest + 1)


def fenced(text: str) -> str:
    """`text` as a Markdown code block that it cannot leave. Clean it first; begins and ends at column one."""
    text = _tame(text)
    fence = fence_for(text)
    body = text if text.endswith("\n") or not text else text + "\n"
    return f"{fence}text\n{body}{fence}"


def inline(text: str, max_chars: int = 300, *, in_table: bool = False) -> str:
    """`text` for use inside a sentence of Markdown: one line in a code span, where nothing formats, links or
    mentions. The span's fence is longer than any run of backticks inside; in a table `|` is escaped.
    """
    flat = _tame(" ".join(plain(text).split()))
    if len(flat) > max_chars:
        flat = flat[: max_chars - 1] + "…"
    if not flat:
        return ""
    if in_table:
        # A table splits its row at bars before it looks for code spans.
        flat = flat.replace("\\", "\\\u200b").replace("|", "\\|")
    ticks = "`" * (max((len(run) for run in _BACKTICKS.findall(flat)), default=0) + 1)
    pad = " " if flat[0] == "`" or flat[-1] == "`" else ""
    return f"{ticks}{pad}{flat}{pad}{ticks}"


_MARKUP: Final = re.compile(r"[\\`*_{}\[\]()<>+!|~&]")
_REFERENCE: Final = re.compile(r"([@#]|\bGH-|:(?=//)|\bwww(?=\.))", re.IGNORECASE)


def unmentioned(text: str) -> str:
    """`text` as plain words where a code span cannot stand (a name, a title): no markup, mention or link.

    A zero-width space after `@` keeps it from being a mention; writing it as a character reference would not,
    because GitHub looks for mentions after it has resolved those.
    """
    flat = " ".join(plain(text).split())
    escaped = _MARKUP.sub(lambda found: f"&#{ord(found.group())};", flat)
    return _REFERENCE.sub("\\1\u200b", escaped)
