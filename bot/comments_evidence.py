"""The table and the folded parts of a comment: cause, layers, log, timeline and the decision's reasons."""

from __future__ import annotations

from collections.abc import Iterable

from bot.comments_headline import bad_commits, is_reverted, pull_request_of
from bot.comments_text import (
    between,
    commit,
    compared,
    duration,
    incident_url,
    instant,
    prose,
    squares,
    squares_before,
)
from policies.causes import CAUSES, UNKNOWN
from policies.cleaning import cap, fenced, inline
from policies.facts import (
    Diagnosis,
    Evidence,
    Incident,
    IncidentState,
    LayerStatus,
    RevertHelps,
    Verdict,
)
from policies.limits import Plan

MOST_COMMITS = 10
LAYER_SIGNS = {LayerStatus.OK: "🟩", LayerStatus.FAILING: "🟥", LayerStatus.UNKNOWN: "⬜"}
SIGNS_OF_STATUS = {
    "pass": "✅",
    "hold": "✋",
    "ask": "❓",
    "skipped": "⏭️",
    "healthy": "🟩",
    "unhealthy": "🟥",
    "pending": "⬜",
    "unknown": "⬜",
}
HELPS = {
    RevertHelps.YES: "A revert helps.",
    RevertHelps.NO: "A revert does not help.",
    RevertHelps.MAYBE: "A revert may or may not help.",
}


def is_log_hidden(plan: Plan, public: bool) -> bool:
    """Whether words of the log stay out of the comment (`logs.publish`, contract.md)."""
    return plan.logs.publish == "never" or (plan.logs.publish != "always" and public)


def facts_table(incident: Incident, plan: Plan, hidden: bool) -> str:
    """The table on top: cause, what was reverted and who ordered it, health, how long each part took."""
    rows = [
        ("Likely cause", _cause(incident.evidence, hidden)),
        ("Rolled back" if is_reverted(incident) else "Deployed", _commits(incident)),
        ("Health", _health(incident, plan)),
        ("Time", _times(incident)),
    ]
    body = "\n".join(f"| **{name}** | {value} |" for name, value in rows if value)
    return f"| | |\n|:--|:--|\n{body}"


def _cause(evidence: Evidence | None, hidden: bool) -> str:
    if evidence is None:
        return ""
    diagnosis = evidence.diagnosis
    if diagnosis is None:
        layer = evidence.failing_layer
        where = (
            f" ({prose(layer.name, 60, in_table=True)}: {prose(layer.summary, 300, in_table=True)})"
            if layer
            else ""
        )
        return f"unknown{where}"
    kind = CAUSES.get(diagnosis.kind) or prose(diagnosis.kind.replace("_", " "), 80, in_table=True)
    if hidden or not diagnosis.line:
        return kind
    if diagnosis.kind == UNKNOWN:
        kind = f"{kind}; the last error is"
    return f"{kind}: {inline(diagnosis.line, 300, in_table=True)}"


def _commits(incident: Incident) -> str:
    """What is or would be reverted, and once it is: by which commits, and who ordered that."""
    text = ", ".join(_named(incident, sha) for sha in bad_commits(incident)[:MOST_COMMITS])
    reverted = incident.reverted
    if reverted is None or not is_reverted(incident):
        return text
    order = incident.decision.order if incident.decision else None
    by = f", ordered by {prose(order.ordered_by, 80, in_table=True)}" if order else ""
    made = ", ".join(commit(sha) for sha in reverted.commits[:MOST_COMMITS])
    if reverted.pull_request is not None:
        made = f"#{reverted.pull_request.number:d}"
    return f"{text} → {made}{by}" if made else text


def _named(incident: Incident, sha: str) -> str:
    pull_request = pull_request_of(incident, sha)
    return f"{commit(sha)} (#{pull_request.number:d})" if pull_request else commit(sha)


def _health(incident: Incident, plan: Plan) -> str:
    limits = plan.health
    before = incident.baseline.samples if incident.baseline else ()
    since = incident.recovery.samples if incident.recovery else ()
    watched = incident.watched.samples if incident.watched else ()
    strips = (
        ("before", squares_before(before, limits)),
        ("after the deploy", squares(watched, limits, before)),
        ("after the revert" if is_reverted(incident) else "since", squares(since, limits)),
    )
    return " · ".join(f"{name} {strip}" for name, strip in strips if strip)


def _times(incident: Incident) -> str:
    deployed = incident.deploy.completed_at_s
    judged = incident.watched.ended_at_s if incident.watched else None
    end = "healthy" if incident.state is IncidentState.RECOVERED else "end"
    pushed, closed = incident.pushed_at_s, incident.closed_at_s
    parts = (
        ("deploy → verdict", between(deployed, judged)),
        ("verdict → push", between(judged, pushed)),
        (f"push → {end}", between(pushed, closed)),
        (f"verdict → {end}", between(judged, closed) if pushed is None and incident.reverted else None),
    )
    return " · ".join(f"{name} {duration(seconds)}" for name, seconds in parts if seconds is not None)


def folded(summary: str, content: str) -> str:
    """A part that opens on a click; `summary` is our own words only. Empty if there is nothing inside."""
    if not content:
        return ""
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def fixes(incident: Incident, most: int) -> str:
    """What the diagnosis advises, and what the revert itself had to say."""
    diagnosis = incident.evidence.diagnosis if incident.evidence else None
    lines = [] if diagnosis is None else _advice(diagnosis)
    if incident.reverted:
        lines += [prose(note) for note in incident.reverted.notes[:most]]
    return "\n".join(f"- {line}" for line in lines if line)


def _advice(diagnosis: Diagnosis) -> list[str]:
    return [prose(diagnosis.advice), HELPS[diagnosis.revert_helps]]


def layers(evidence: Evidence | None, hidden: bool, most: int) -> str:
    """Load balancer, host, container, in the runbook's order, each with what was seen of it."""
    lines: list[str] = []
    for layer in evidence.layers[:most] if evidence else ():
        lines.append(
            f"- {LAYER_SIGNS[layer.status]} **{prose(layer.name, 60)}**: {prose(layer.summary, 400)}"
        )
        shown = () if hidden else layer.details[:most]
        lines += [f"  - {seen}" for detail in shown if (seen := inline(detail, 300))]
        if not hidden and len(layer.details) > most:
            lines.append(f"  - … and {len(layer.details) - most} more")
    return "\n".join(lines)


def log_summary(evidence: Evidence) -> str:
    """The line above the folded log, numbers only."""
    parts = []
    if evidence.exit_code is not None:
        parts.append(f"exit code {evidence.exit_code:d}")
    if evidence.restarts:
        parts.append(f"{evidence.restarts:d} restart{'s' if evidence.restarts != 1 else ''}")
    parts.append(f"{evidence.redacted:d} value{'s' if evidence.redacted != 1 else ''} redacted")
    return f"Log of the container ({', '.join(parts)})"


def log(incident: Incident, plan: Plan, base_url: str | None, hidden: bool, most_bytes: int) -> str:
    """The log in a block it cannot leave, or where to read it instead."""
    evidence = incident.evidence
    if evidence is None or not evidence.log.strip():
        return ""
    if hidden:
        return _log_elsewhere(incident, plan, base_url)
    about = [f"container {inline(evidence.container, 100)}"] if evidence.container else []
    about += [inline(evidence.container_status, 100)] if evidence.container_status else []
    about += [f"image {inline(evidence.image, 200)}"] if evidence.image else []
    about.append(
        f"captured {instant(evidence.captured_at_s, dated=True)} UTC in {duration(evidence.seconds)}"
    )
    text, _ = cap(evidence.log.rstrip("\n"), max_bytes=most_bytes)
    return f"{' · '.join(about)}\n\n{fenced(text)}"


def _log_elsewhere(incident: Incident, plan: Plan, base_url: str | None) -> str:
    why = (
        "`logs.publish` is `never` here"
        if plan.logs.publish == "never"
        else "this repository is public (`logs.publish: always` would show it)"
    )
    url = incident_url(base_url, incident.id)
    command = inline(f"rollback-bot incidents {incident.id}", 140)
    where = f"[read it on the incident's page]({url})" if url else f"read it with {command}"
    return f"The log is not shown because {why}: {where}."


def timeline(incident: Incident, most: int) -> str:
    """Moments in UTC, with the date wherever it changes; the newest are kept."""
    lines, day = [], ""
    for moment in incident.timeline[-most:]:
        when = instant(moment.at_s, dated=True)
        lines.append(f"- {when if when[:10] != day else when[11:]} {prose(moment.what, 300)}")
        day = when[:10]
    return "\n".join(lines)


def reasons(incident: Incident, most: int) -> str:
    """Every gate's verdict with its number and limit; before there is a decision, the verdict on health."""
    verdicts: tuple[Verdict, ...] = incident.decision.gates if incident.decision is not None else ()
    if not verdicts and incident.watched is not None:
        verdicts = (incident.watched.verdict,)
    return "\n".join(_verdict_lines(verdicts, most))


def _verdict_lines(verdicts: Iterable[Verdict], most: int, indent: str = "") -> list[str]:
    lines: list[str] = []
    for verdict in list(verdicts)[:most]:
        sign = SIGNS_OF_STATUS.get(verdict.status, f"{prose(verdict.status, 30)}:")
        rule = f"**{prose(verdict.rule.replace('_', ' '), 60)}** " if verdict.rule else ""
        lines.append(f"{indent}- {sign} {rule}{prose(verdict.reason, 400)}{compared(verdict)}")
        if not indent:
            lines += _verdict_lines(verdict.children, most, indent="  ")
    return lines
