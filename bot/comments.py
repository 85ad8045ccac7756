"""Every sentence that people read on GitHub: the incident's comment and the pull request of a revert."""

from __future__ import annotations

import hashlib
import re

from bot.comments_evidence import (
    facts_table,
    fixes,
    folded,
    is_log_hidden,
    layers,
    log,
    log_summary,
    reasons,
    timeline,
)
from bot.comments_headline import (
    bad_commits,
    headline,
    is_failing,
    is_observed,
    needs_a_person,
    pull_request_of,
    title,
)
from bot.comments_next import next_step, notices
from bot.comments_text import MOST_ID_CHARS, commit, incident_url, prose, short, words
from policies.cleaning import inline
from policies.facts import Incident, IncidentState, PullRequestFacts
from policies.limits import Plan

__all__ = ["headline", "incident_comment", "incident_marker", "needs_a_person", "revert_pull_request"]

MOST_BYTES = 60_000
"""GitHub refuses bodies of more than 65,536 characters."""
_ITEMS_TRIED = (100, 30, 8, 2)
"""Of every list, how many items; fewer are tried only when even a short log finds no room beside them."""
_SHORT_LOG_BYTES = 6_000
_PLAIN_ID = re.compile(r"[A-Za-z0-9._]+(?:-[A-Za-z0-9._]+)*")
_TRAILER_VALUE = re.compile(r"[A-Za-z0-9._-]{1,200}")


def incident_marker(incident_id: str) -> str:
    """The hidden first line by which the incident's comment is found again; any id makes an HTML comment."""
    if not _PLAIN_ID.fullmatch(incident_id) or len(incident_id) > MOST_ID_CHARS:
        incident_id = hashlib.sha256(incident_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"<!-- rollback-bot:incident:{incident_id} -->"


def incident_comment(
    incident: Incident,
    plan: Plan,
    base_url: str | None,
    public: bool,
    pull_request: PullRequestFacts | None = None,
) -> str:
    """The whole comment of an incident in its present state, as Markdown of at most 60,000 bytes of UTF-8.

    `public`: anyone can read the repository, so the log is linked unless `logs.publish` says otherwise.
    Nothing from outside formats, links or mentions in it; the log cannot leave its block.
    """
    whole_log = len(incident.evidence.log.encode("utf-8", "replace")) if incident.evidence else 0
    text = ""
    for most in _ITEMS_TRIED:
        room = MOST_BYTES - _size(_composed(incident, plan, base_url, public, pull_request, 0, most))
        if room < min(whole_log, _SHORT_LOG_BYTES) and most != _ITEMS_TRIED[-1]:
            continue
        text = _composed(incident, plan, base_url, public, pull_request, max(room, 0), most)
        while (excess := _size(text) - MOST_BYTES) > 0 and room > 0:
            room = max(room - excess, 0)
            text = _composed(incident, plan, base_url, public, pull_request, room, most)
        break
    return text


def _composed(
    incident: Incident,
    plan: Plan,
    base_url: str | None,
    public: bool,
    pull_request: PullRequestFacts | None,
    log_bytes: int,
    most: int,
) -> str:
    hidden = is_log_hidden(plan, public)
    evidence = incident.evidence
    parts = [
        f"{incident_marker(incident.id)}\n{title(incident)}",
        _what_happened(incident),
        facts_table(incident, plan, hidden),
        next_step(incident, plan, pull_request),
        notices(plan),
        folded("Suggested fixes", fixes(incident, most)),
        folded("What failed, layer by layer", layers(evidence, hidden, most)),
        folded(log_summary(evidence), log(incident, plan, base_url, hidden, log_bytes)) if evidence else "",
        folded("Timeline (UTC)", timeline(incident, most)),
        folded(_reasons_title(incident), reasons(incident, most)),
        _footer(incident, base_url),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _size(text: str) -> int:
    return len(text.encode())


def _what_happened(incident: Incident) -> str:
    """What was seen, and then the reason of the present state unless it says that already."""
    seen = incident.watched.verdict.reason if incident.watched and is_failing(incident) else ""
    if seen.rstrip(".") in incident.reason:
        seen = ""
    reason = prose(incident.reason)
    if incident.state is IncidentState.HELD and reason:
        reason = f"**Why I did not act.** {reason}"
    return "\n\n".join(part for part in (prose(seen), reason) if part)


def _reasons_title(incident: Incident) -> str:
    held = incident.state is IncidentState.HELD or is_observed(incident)
    return "Why I did not act: every gate" if held else "Why: every gate with its number and limit"


def _footer(incident: Incident, base_url: str | None) -> str:
    url = incident_url(base_url, incident.id)
    page = f" · [everything about it]({url})" if url else ""
    return f"<sub>Incident {inline(incident.id, 80)}{page} · this comment is kept up to date</sub>"


def revert_pull_request(incident: Incident, plan: Plan) -> tuple[str, str]:
    """Title and body of the pull request that brings the revert to a branch which takes no push.

    The title holds no words from outside but the environment's name: a `[skip ci]` in an old title would keep
    the fix from being deployed.
    """
    reverted, bad = incident.reverted, bad_commits(incident)
    names = {sha: f"#{known.number:d}" for sha in bad if (known := pull_request_of(incident, sha))}
    what = " and ".join(dict.fromkeys(names.get(sha, short(sha)) for sha in bad[:5]))
    environment = re.sub(r"[^\w./ -]", " ", words(incident.deploy.environment, 60))
    listed = "\n".join(f"- {commit(sha)}{f' ({names[sha]})' if sha in names else ''}" for sha in bad[:20])
    paragraphs = [
        f"{inline(incident.deploy.environment)} is failing since the deploy of {short(incident.deploy.sha)}. "
        f"This takes the change off {inline(plan.branch)} again; **merging it is the fix**.",
        prose(incident.watched.verdict.reason) if incident.watched else prose(incident.reason),
        f"It reverts:\n\n{listed}" if listed else "",
        prose(reverted.reason) if reverted else "",
        "Please keep the commit's message when merging: its trailers tell me that this deploy is a revert.",
        _trailers(incident),
    ]
    return f"Revert {what} to roll back {environment}", "\n\n".join(
        part for part in paragraphs if part
    ) + "\n"


def _trailers(incident: Incident) -> str:
    """Again at the end of the body, because a squash merge may take its message from there."""
    values = (("Rollback-Deploy", incident.deploy.id), ("Rollback-Incident", incident.id))
    harmless = [
        (key, value) for key, value in values if _TRAILER_VALUE.fullmatch(value) and prose(value) == value
    ]
    return "\n".join(f"{key}: {value}" for key, value in harmless)
