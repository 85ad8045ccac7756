"""What a revert commit says: the subject made harmless, the sentence git tools look for, and our trailers.

The subject of the reverted commit is foreign text. A marker such as `[skip ci]` in it would keep the revert
from being deployed, a closing word would close an issue, an `@name` would notify people: all three are
taken out. The sources are the forges' own documentation of skip markers, closing keywords and mentions.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

DEPLOY_TRAILER = "Rollback-Deploy"
INCIDENT_TRAILER = "Rollback-Incident"
ORDERED_BY_TRAILER = "Rollback-Ordered-By"
RELANDS_TRAILER = "Rollback-Relands"

_SUBJECT_LIMIT = 180
_SENTENCE_LIMIT = 400

_WHAT = (
    r"(?:ci|cd|cicd|actions?|checks?|builds?|deploy(?:s|ment|ments)?|pipelines?|workflows?|tests?|release"
    r"|azurepipelines|azpipelines|azp|travis(?:[ ._-]*ci)?|circle(?:[ ._-]*ci)?|appveyor|netlify|vercel"
    r"|render|buildkite|semaphore|drone|bitrise|codebuild|jenkins|gitlab|cirrus(?:[ ._-]*ci)?|cloudflare"
    r"|amplify|pages)"
)
_GAP = r"[\s._:*-]{0,20}"
_SKIP = r"(?:skip(?:s|ped|ping)?|no|disable)"
_MARKERS = re.compile(
    rf"\[[^\[\]]{{0,60}}(?<![a-z]){_SKIP}(?![a-z])[^\[\]]{{0,60}}\]"  # any bracket that speaks of skipping
    r"|\*{2,3}\s*no[_ -]?ci\s*\*{2,3}"
    rf"|(?<![a-z0-9]){_SKIP}{_GAP}{_WHAT}(?![a-z0-9])"
    rf"|(?<![a-z0-9]){_WHAT}{_GAP}(?:skip(?:s|ped|ping)?)(?![a-z0-9])"
    r"|skip-checks(?=\s*:)",  # GitHub's trailer, whatever stands before it
    re.IGNORECASE,
)
_MENTION = re.compile(r"(?<![A-Za-z0-9])[@＠]+(?=[A-Za-z0-9])")
_CLOSING = re.compile(
    r"\b(clos(?:e[sd]?|ing)|fix(?:e[sd]|ing)?|resolv(?:e[sd]?|ing)|implement(?:s|ed|ing)?|complete[sd]?)"
    r"(\s*:\s*|\s+)"
    r"((?:issues?\s+)?)"
    r"(?:https?://\S{1,200}?/(?:issues|pull|merge_requests|work_items)/(\d+)\S{0,100}"
    r"|([\w.-]{1,100}/[\w./-]{1,200})?[#!](\d+)"
    r"|gh-(\d+))",
    re.IGNORECASE,
)
_TRAILER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]{0,60}): ?(.{0,500})")
_REVERTS = re.compile(r"^This reverts commit ([0-9a-f]{40}(?:[0-9a-f]{24})?)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RevertTrailers:
    """Why a revert was made and how it is found again: the ids of deploy and incident, and who ordered it."""

    deploy_id: str
    incident_id: str
    ordered_by: str
    reason: str = ""


def one_line(text: str, limit: int = _SENTENCE_LIMIT) -> str:
    """`text` as a single line without control, format or unprintable characters, cut at `limit`."""
    spaced = "".join(
        " " if char.isspace() or unicodedata.category(char) in {"Zl", "Zp"} else char
        for char in text
        if char.isspace() or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
    )
    joined = " ".join(spaced.split())
    return joined if len(joined) <= limit else joined[: limit - 1].rstrip() + "…"


def harmless(text: str, limit: int = _SENTENCE_LIMIT) -> str:
    """One line of `text` that skips no pipeline, closes no issue and notifies nobody, still readable."""
    text = one_line(text, limit)
    # Taking one marker out can bring the halves of another together: repeat until nothing changes.
    for _ in range(limit):
        calmer = _MENTION.sub("", _CLOSING.sub(_named_instead_of_linked, _MARKERS.sub("…", text)))
        calmer = one_line(calmer, limit)
        if calmer == text:
            break
        text = calmer
    return text


def _named_instead_of_linked(match: re.Match[str]) -> str:
    word, gap, kind, by_url, elsewhere, by_hash, by_gh = match.groups()
    number = by_url or by_hash or by_gh
    return f"{word}{gap}{kind}{elsewhere + ' ' if elsewhere else ''}no. {number}"


def revert_subject(subject: str, sha: str) -> str:
    """The first line: `Revert "…"`, and `Reapply "…"` for the revert of a revert."""
    inner = harmless(subject, _SUBJECT_LIMIT).strip("… ") and harmless(subject, _SUBJECT_LIMIT)
    again = re.fullmatch(r'Revert "(.*)"', inner)
    if again and not again[1].startswith(('Revert "', "Reapply ")):
        return f'Reapply "{again[1]}"'
    return f'Revert "{inner or sha[:12]}"'


def revert_message(
    subject: str, sha: str, trailers: RevertTrailers, sign_off: str | None = None, mainline: str | None = None
) -> str:
    """The whole message of the commit that reverts `sha`.

    `subject` is the reverted commit's first line, `mainline` the parent that `sha` changed when it is a
    merge, `sign_off` the `Name <mail>` of a sign-off. Every line of ours begins with a letter, so that no
    `commit.cleanup` drops it."""
    paragraphs = [revert_subject(subject, sha), f"This reverts commit {sha}."]
    if mainline:
        paragraphs[-1] += f"\nIt was a merge; this reverses the changes it made to its parent {mainline}."
    if trailers.reason:
        paragraphs.append(f"Rolled back because: {harmless(trailers.reason)}")
    lines = [
        f"{DEPLOY_TRAILER}: {one_line(trailers.deploy_id)}",
        f"{INCIDENT_TRAILER}: {one_line(trailers.incident_id)}",
        f"{ORDERED_BY_TRAILER}: {harmless(trailers.ordered_by)}",
    ]
    if sign_off:
        lines.append(f"Signed-off-by: {one_line(sign_off)}")
    return "\n\n".join([*paragraphs, "\n".join(lines)]) + "\n"


def trailers_of(message: str) -> dict[str, str]:
    """The trailers of a message, from its last paragraphs that hold nothing else (a squash merge adds
    paragraphs of its own, such as co-authors, below ours). The last of several equal names wins."""
    found: dict[str, str] = {}
    for paragraph in reversed(re.split(r"\n\s*\n", message.replace("\r\n", "\n").strip())[1:]):
        pairs = [match for line in paragraph.splitlines() if (match := _TRAILER.fullmatch(line.strip()))]
        if len(pairs) != len(paragraph.splitlines()):
            break
        for pair in reversed(pairs):
            found.setdefault(pair[1], pair[2].strip())
    return found


def rollback_deploy_of(message: str) -> str | None:
    """The deploy that this commit of ours rolled back, None if it is no commit of ours."""
    return trailers_of(message).get(DEPLOY_TRAILER)


def is_rollback_of(message: str, deploy_id: str) -> bool:
    """Whether the message is that of our revert for this deploy."""
    return rollback_deploy_of(message) == one_line(deploy_id)


def reverts_claimed(message: str) -> tuple[str, ...]:
    """The commits the message says it reverts. A claim: relands, squashes and edits make it untrue."""
    return tuple(dict.fromkeys(_REVERTS.findall(message)))
