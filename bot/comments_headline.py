"""Says in one line what has become of an incident: the comment's title, a log line, a line in Slack."""

from __future__ import annotations

from collections.abc import Callable

from bot.comments_text import between, duration, short, words
from bot.ports import UNDEPLOYED
from policies.cleaning import inline
from policies.facts import Action, Health, Incident, IncidentState, PullRequestFacts, RevertOutcome

SIGNS = {
    IncidentState.DETECTED: "🔴",
    IncidentState.HELD: "✋",
    IncidentState.ASKED: "❓",
    IncidentState.REVERTING: "⏳",
    IncidentState.REVERTED: "↩️",
    IncidentState.PROPOSED: "🔀",
    IncidentState.RECOVERED: "✅",
    IncidentState.FAILED: "🚨",
    IncidentState.CLOSED: "⚪",
}


def headline(incident: Incident) -> str:
    """One plain sentence without Markdown, for a terminal, a log or Slack. Names the repository too."""
    said = _told(incident, words)
    return f"{words(incident.deploy.repository)}: {said}{'' if said.endswith('?') else '.'}"


def title(incident: Incident) -> str:
    """The same as the Markdown heading of the comment."""
    return f"### {SIGNS[incident.state]} {_told(incident, inline)}"


def needs_a_person(incident: Incident) -> bool:
    """Whether somebody must act now, so that an edit, which notifies nobody, is not enough."""
    asked = (IncidentState.ASKED, IncidentState.PROPOSED, IncidentState.FAILED)
    return incident.state in asked or is_unanswered(incident)


def is_unanswered(incident: Incident) -> bool:
    """Whether we asked, nobody answered in time, and the incident ended held."""
    over = incident.state is IncidentState.HELD and incident.closed_at_s is not None
    return over and incident.asked_until_s is not None


def is_observed(incident: Incident) -> bool:
    """Whether the bot may only watch here, so that nothing it says is an action."""
    return incident.decision is not None and incident.decision.action is Action.OBSERVE


def is_failing(incident: Incident) -> bool:
    """Whether the service was seen to be unhealthy; a person may order a rollback without that."""
    return incident.watched is not None and incident.watched.health is Health.UNHEALTHY


def is_reverted(incident: Incident) -> bool:
    """Whether the change is off the branch: by us, by somebody before us, or by the merge of our pull request."""
    reverted = incident.reverted
    if reverted is None:
        return False
    if reverted.outcome in (RevertOutcome.REVERTED, RevertOutcome.ALREADY_REVERTED):
        return True
    return reverted.pull_request is not None and is_revert_deployed(incident)


def is_revert_deployed(incident: Incident) -> bool:
    """Whether a deploy of the revert was heard of; before that its end says nothing about the change."""
    return incident.recovery is not None and incident.recovery.verdict.rule != UNDEPLOYED


def bad_commits(incident: Incident) -> tuple[str, ...]:
    """What is to be reverted, newest first: as ordered, else as the deploy brought it."""
    if incident.decision is not None and incident.decision.order is not None:
        return incident.decision.order.commits
    culprits = incident.change.culprits if incident.change else ()
    return tuple(culprit.commit.sha for culprit in culprits) or (incident.deploy.sha,)


def pull_request_of(incident: Incident, sha: str) -> PullRequestFacts | None:
    """The pull request that brought a commit of the deploy."""
    culprits = incident.change.culprits if incident.change else ()
    return next((culprit.pull_request for culprit in culprits if culprit.commit.sha == sha), None)


def recovery_health(incident: Incident) -> Health | None:
    """What was seen after the revert, or while holding; None before anything was."""
    return incident.recovery.health if incident.recovery is not None else None


def _told(incident: Incident, name: Callable[[str], str]) -> str:
    deploy = f"the deploy of {name(short(incident.deploy.sha))} to {name(incident.deploy.environment)}"
    told = _TELLERS[incident.state](incident, deploy)
    return told[0].upper() + told[1:]


def _detected(incident: Incident, deploy: str) -> str:
    if not is_failing(incident):
        return f"somebody asked to roll back {deploy}"
    after = between(incident.deploy.completed_at_s, incident.opened_at_s)
    return f"{deploy} is failing, {duration(after)} after it completed"


def _held(incident: Incident, deploy: str) -> str:
    if is_unanswered(incident):
        failing = "is failing, and I" if is_failing(incident) else "stays: I"
        return f"nobody answered in time: {deploy} {failing} did not roll it back"
    if is_failing(incident):
        return f"{deploy} is failing, and I did not roll it back"
    return f"I did not roll back {deploy}"


def _asked(incident: Incident, deploy: str) -> str:
    if is_failing(incident):
        return f"{deploy} is failing: shall I roll it back?"
    return f"shall I roll back {deploy}?"


def _reverting(incident: Incident, deploy: str) -> str:
    return f"I am rolling back {deploy}"


def _reverted(incident: Incident, deploy: str) -> str:
    if incident.reverted and incident.reverted.outcome is RevertOutcome.ALREADY_REVERTED:
        return f"{deploy} was reverted already"
    after = duration(between(incident.deploy.completed_at_s, incident.pushed_at_s))
    return f"{deploy} was rolled back: the revert was pushed {after} after it completed"


def _proposed(incident: Incident, deploy: str) -> str:
    pull_request = incident.reverted.pull_request if incident.reverted else None
    where = f"#{pull_request.number:d}" if pull_request else "a pull request"
    return f"the revert of {deploy} waits in {where} to be merged"


def _recovered(incident: Incident, deploy: str) -> str:
    after = duration(between(incident.deploy.completed_at_s, incident.closed_at_s))
    if not is_revert_deployed(incident):
        return f"healthy again after {after}, although no revert of {deploy} was deployed"
    return f"healthy again after {after}: {deploy} was rolled back"


def _failed(incident: Incident, deploy: str) -> str:
    proposed = incident.reverted is not None and incident.reverted.pull_request is not None
    if not is_reverted(incident):
        return (
            f"the revert of {deploy} was not merged and deployed in time"
            if proposed
            else f"I could not roll back {deploy}"
        )
    if is_revert_deployed(incident):
        return f"still failing although {deploy} was rolled back"
    return f"{deploy} was rolled back, but I heard of no deploy of the revert"


def _closed(incident: Incident, deploy: str) -> str:
    if is_observed(incident):
        return (
            f"{deploy} failed, and I only observe here"
            if is_failing(incident)
            else f"I only observed {deploy}"
        )
    if not is_reverted(incident) and recovery_health(incident) is Health.HEALTHY:
        after = duration(between(incident.deploy.completed_at_s, incident.closed_at_s))
        return f"recovered without a rollback, {after} after {deploy}"
    return (
        f"closed without rolling back {deploy}"
        if not is_reverted(incident)
        else f"closed: {deploy} is reverted"
    )


_TELLERS: dict[IncidentState, Callable[[Incident, str], str]] = {
    IncidentState.DETECTED: _detected,
    IncidentState.HELD: _held,
    IncidentState.ASKED: _asked,
    IncidentState.REVERTING: _reverting,
    IncidentState.REVERTED: _reverted,
    IncidentState.PROPOSED: _proposed,
    IncidentState.RECOVERED: _recovered,
    IncidentState.FAILED: _failed,
    IncidentState.CLOSED: _closed,
}
