"""An incident as the dashboard's JSON tells it; the pages are drawn from the same."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from bot.codec import encode
from policies.badness import badness_before, is_open, probe_badness
from policies.facts import (
    Decision,
    Evidence,
    Health,
    HealthSample,
    Incident,
    PullRequestFacts,
    Reverted,
)
from policies.limits import HealthLimits

LIMITS = HealthLimits()
"""Which polls are drawn red: as in the comment, those that use failure budget."""


def incident_view(incident: Incident) -> dict[str, Any]:
    """All we know of one incident, as JSON data; times are epoch seconds (`…_at_s`) or ISO 8601 UTC."""
    return {
        **incident_summary(incident),
        "timeline": [
            {"at": iso(moment.at_s), "at_s": moment.at_s, "what": moment.what} for moment in incident.timeline
        ],
        "decision": _decision(incident.decision),
        "evidence": _evidence(incident.evidence),
        "reverted": _reverted(incident.reverted),
        "health": _health(incident),
        "change": _change(incident),
    }


def incident_summary(incident: Incident) -> dict[str, Any]:
    """An incident's line in the list."""
    deploy, reverted, change = incident.deploy, incident.reverted, incident.change
    recovered = incident.recovery is not None and incident.recovery.health is Health.HEALTHY
    return {
        "id": incident.id,
        "state": str(incident.state),
        "reason": incident.reason,
        "repository": deploy.repository,
        "environment": deploy.environment,
        "sha": deploy.sha,
        "branch": change.branch if change is not None else deploy.branch,
        "url": deploy.url,
        "deploy_id": deploy.id,
        "started_at_s": deploy.started_at_s,
        "completed_at_s": deploy.completed_at_s,
        "opened_at_s": incident.opened_at_s,
        "decided_at_s": incident.decided_at_s,
        "pushed_at_s": incident.pushed_at_s,
        "recovered_at_s": incident.recovery.ended_at_s if recovered and incident.recovery else None,
        "closed_at_s": incident.closed_at_s,
        "asked_until_s": incident.asked_until_s,
        "revert_sha": reverted.revert_sha if reverted is not None else None,
        "revert_pull_request": _pull_request(reverted.pull_request) if reverted is not None else None,
        "pull_requests": _pull_requests(incident),
    }


def iso(at_s: float) -> str:
    """An instant in UTC as people and machines both read it; the text "unknown" outside of the calendar."""
    try:
        return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "unknown"


def _pull_request(facts: PullRequestFacts | None) -> dict[str, Any] | None:
    if facts is None:
        return None
    return {"number": facts.number, "title": facts.title, "author": facts.author, "url": facts.url}


def _pull_requests(incident: Incident) -> list[dict[str, Any]]:
    culprits = incident.change.culprits if incident.change is not None else ()
    by_number = {c.pull_request.number: _pull_request(c.pull_request) for c in culprits if c.pull_request}
    return [view for view in by_number.values() if view is not None]


def _decision(decision: Decision | None) -> dict[str, Any] | None:
    if decision is None:
        return None
    order = decision.order
    return {
        "action": str(decision.action),
        "reason": decision.reason,
        "ordered_by": order.ordered_by if order is not None else None,
        "commits": list(order.commits) if order is not None else [],
        "gates": [
            {
                "rule": gate.rule,
                "status": gate.status,
                "reason": gate.reason,
                "number": gate.number,
                "limit": gate.limit,
            }
            for gate in decision.gates
        ],
    }


def _evidence(evidence: Evidence | None) -> dict[str, Any] | None:
    if evidence is None:
        return None
    return {**encode(evidence, Evidence), "captured_at": iso(evidence.captured_at_s)}


def _reverted(reverted: Reverted | None) -> dict[str, Any] | None:
    return None if reverted is None else dict(encode(reverted, Reverted))


def _change(incident: Incident) -> dict[str, Any] | None:
    change = incident.change
    if change is None:
        return None
    return {
        "branch": change.branch,
        "head": change.head,
        "last_good": change.last_good,
        "unknown": change.unknown,
        "commits": [
            {
                "sha": culprit.commit.sha,
                "subject": culprit.commit.subject,
                "shape": str(culprit.commit.shape),
                "pull_request": culprit.pull_request.number if culprit.pull_request is not None else None,
            }
            for culprit in change.culprits
        ],
    }


def _health(incident: Incident) -> dict[str, Any]:
    before = incident.baseline.samples if incident.baseline is not None else ()
    was_open = any(is_open(sample.probe) for sample in before)
    watched, recovery = incident.watched, incident.recovery
    return {
        "verdict": watched.verdict.reason if watched is not None else None,
        "recovery_verdict": recovery.verdict.reason if recovery is not None else None,
        "before": [_square(sample, was_open) for sample in before],
        "after": [_square(sample, was_open) for sample in (watched.samples if watched is not None else ())],
        "recovery": [_square(s, was_open) for s in (recovery.samples if recovery is not None else ())],
    }


def _square(sample: HealthSample, was_open: bool) -> dict[str, Any]:
    badness = badness_before(sample, LIMITS)
    if sample.error is None and was_open:
        open_no_more = probe_badness(sample.probe, was_open=True)
        badness = badness if open_no_more is None else max(badness or 0.0, open_no_more)
    look = "unknown" if badness is None else "bad" if badness > LIMITS.allowed_badness else "good"
    return {
        "t_s": round(sample.t_s, 1),
        "look": look,
        "badness": None if badness is None else round(badness, 3),
        "why": _seen(sample),
    }


def _seen(sample: HealthSample) -> str:
    """What one poll saw, in words."""
    words = [f"could not look: {sample.error}"] if sample.error is not None else []
    if sample.probe is not None:
        status = f" (status {sample.probe.status})" if sample.probe.status is not None else ""
        words.append(f"probe {sample.probe.ok} ok, {sample.probe.failed} failed{status}")
    if sample.targets:
        states = Counter(target.state for target in sample.targets)
        words.append("targets: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    if sample.traffic is not None:
        traffic = sample.traffic
        words.append(f"{traffic.rate_5xx:.0%} of {traffic.requests_per_min:.0f} requests/min answered 5xx")
    if sample.crash:
        words.append("the container crashed")
    return "; ".join(words) or "nothing was seen"
