"""The small pieces every comment is made of: foreign words made harmless, durations, instants, squares."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from policies.badness import badness_before
from policies.budget import opening, step
from policies.cleaning import inline, plain
from policies.facts import HealthSample, Verdict
from policies.limits import HealthLimits

GOOD, BAD, UNSEEN = "🟩", "🟥", "⬜"
MOST_SQUARES = 30
SHORT_SHA_CHARS = 8
MOST_ID_CHARS = 100

_SHA = re.compile(r"[0-9a-f]{7,64}")
_PIECE = re.compile(r"`[^`]+`|`+|\s+|[^\s`]+")
# Words that Markdown cannot read anything into. What a word may not hold: markup, HTML, entities, mentions,
# references to issues, addresses, emoji names, underscores that could open or close emphasis.
_HARMLESS = re.compile(r"&|[^\\`*\[\]{}<|~$^@#&]+")
_TELLING = re.compile(
    r"://|\bwww\.|\bGH-\d|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:\w*[A-Za-z]\w*:", re.IGNORECASE
)
_OPENS_A_BLOCK = re.compile(r"[-+>=]|\d+[.)]")


def prose(text: str, max_chars: int = 600, *, in_table: bool = False) -> str:
    """Foreign words inside a sentence of ours: one line in which nothing formats, links, mentions or refers.

    Ordinary words stay as they are; a word that means something to Markdown or GitHub stands in a code span.
    """
    flat = words(text, max_chars)
    said = ""
    for piece in _PIECE.findall(flat):
        if piece.isspace():
            said += " "
        elif piece[0] == "`" and piece.strip("` "):
            said = _with_code(said, piece[1:-1], in_table)
        elif _is_harmless(piece, first=not said.strip()):
            said += piece
        else:
            opening, core, closing = _around(piece)
            said = _with_code(said + opening, core, in_table) + closing
    return said


def _with_code(said: str, code: str, in_table: bool) -> str:
    # Two spans side by side would be read as one run of backticks.
    gap = " " if said.endswith("`") else ""
    return f"{said}{gap}{inline(code, len(code), in_table=in_table)}"


def _around(word: str) -> tuple[str, str, str]:
    """The punctuation around a word stays outside its code span."""
    core = word.strip("(\"'“”).,;:!?…")
    if not core:
        return "", word, ""
    start = word.index(core)
    return word[:start], core, word[start + len(core) :]


def _is_harmless(word: str, *, first: bool) -> bool:
    if first and _OPENS_A_BLOCK.match(word):
        return False
    return _HARMLESS.fullmatch(word) is not None and _TELLING.search(word) is None


def words(text: str, max_chars: int = 120) -> str:
    """Foreign text for places without Markdown (a title, a terminal, a log): one clean line."""
    flat = " ".join(plain(text).split())
    return flat if len(flat) <= max_chars else flat[: max_chars - 1] + "…"


def short(sha: str | None) -> str:
    """The first 8 characters of a commit id; "unknown" for anything that is none."""
    return sha[:SHORT_SHA_CHARS] if sha and _SHA.fullmatch(sha) else "unknown"


def commit(sha: str | None) -> str:
    """A whole commit id in the open, because GitHub then shortens it and links it by itself."""
    return sha if sha and _SHA.fullmatch(sha) else "unknown"


def duration(seconds: float | None) -> str:
    """`72.4` → "1 min 12 s"; two units at most, "an unknown time" where nothing is known."""
    if seconds is None or seconds != seconds:
        return "an unknown time"
    whole = round(min(max(seconds, 0.0), 1e9))
    if whole < 1:
        return "under 1 s"
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def between(start_s: float | None, end_s: float | None) -> float | None:
    """Seconds from one instant to another, None if either is unknown."""
    return None if start_s is None or end_s is None else end_s - start_s


def instant(at_s: float, *, dated: bool = False) -> str:
    """An instant in UTC, as `14:03:09` or `2026-05-04 14:03:09`."""
    try:
        moment = datetime.fromtimestamp(at_s, UTC)
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"
    return moment.strftime("%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S")


def squares_before(samples: Iterable[HealthSample], limits: HealthLimits) -> str:
    """One square a poll of the time before a deploy, the newest last, at most thirty."""
    return _strip(_square(badness_before(sample, limits), limits.allowed_badness) for sample in samples)


def squares(
    samples: Iterable[HealthSample], limits: HealthLimits, baseline: tuple[HealthSample, ...] = ()
) -> str:
    """One square a poll, the newest last, at most thirty: red where it used failure budget, white where nothing
    was seen. `baseline`: the polls from before, which tell what is usual."""
    budget, seen = opening(baseline, limits), []
    for sample in samples:
        after = step(budget, sample, limits)
        repeated = after is budget  # not later than the one before it
        seen.append(_square(badness_before(sample, limits) if repeated else after.now, after.allowed))
        budget = after
    return _strip(seen)


def _square(badness: float | None, allowed: float) -> str:
    if badness is None:
        return UNSEEN
    return BAD if badness > allowed else GOOD


def _strip(seen: Iterable[str]) -> str:
    return "".join(list(seen)[-MOST_SQUARES:])


def compared(verdict: Verdict) -> str:
    """The number and the limit of a verdict, unless its sentence has them already."""
    if verdict.number is None or verdict.limit is None:
        return ""
    limit = f"{verdict.limit:g}"
    said = any(f"{verdict.number:{form}}" in verdict.reason for form in (".0f", ".1f", "g"))
    return "" if said and limit in verdict.reason else f" ({verdict.number:.3g}, limit {limit})"


def incident_url(base_url: str | None, incident_id: str) -> str | None:
    """The incident's page, None where there is no public address to link to."""
    if not base_url or urlsplit(base_url).scheme not in ("http", "https") or len(incident_id) > MOST_ID_CHARS:
        return None
    page = quote(incident_id, safe="", errors="replace")
    return f"{quote(base_url.rstrip('/'), safe=':/[]@')}/incidents/{page}"
