"""What is said of orders: roll back, the dry run, approvals and cancellations."""

from __future__ import annotations

from bot.command_ports import About, Considered, Followed
from bot.comments_commands_parts import (
    gates_part,
    in_environment,
    named_commits,
    plan_part,
    told,
    who,
)
from bot.comments_headline import is_reverted
from bot.comments_text import instant, prose, short
from policies.asked import Asked, Mood, Reply
from policies.cleaning import inline
from policies.facts import (
    Deploy,
    Incident,
    IncidentState,
    Reverted,
    RevertOutcome,
    RollbackOrder,
)
from policies.limits import Plan

_BEGUN = (IncidentState.REVERTING, IncidentState.REVERTED, IncidentState.PROPOSED)


def nothing_to_roll_back(about: About, environment: str, number: int) -> Reply:
    """The pull request is open, was closed, or its commit was never deployed there."""
    if about.is_open:
        why = f"#{number} is not merged, so there is nothing of it to revert."
        return Reply(Mood.REFUSED, "Not rolled back.", why, "To keep it out, close it.")
    if about.merge_sha is None:
        why = f"#{number} was closed without being merged, so there is nothing of it to revert."
        return Reply(Mood.REFUSED, "Not rolled back.", why)
    where = f" to {inline(environment, 100)}" if environment else ""
    base = inline(about.pull_request.base_ref, 120)
    why = f"I have heard of no deploy of #{number} ({short(about.merge_sha)}, merged into {base}){where}."
    return Reply(
        Mood.REFUSED,
        "Not rolled back.",
        why,
        f"If it is deployed by other means, revert it by hand: `git revert -m 1 {short(about.merge_sha)}` "
        f"on {base}.",
    )


def not_guarded(ignored: str) -> Reply:
    return Reply(
        Mood.REFUSED,
        "Not rolled back.",
        f"Its deploy is not guarded. {prose(ignored)}",
        "See `.github/rollback.yml`.",
    )


def not_rolled_back(considered: Considered, incident: Incident | None) -> Reply:
    if incident is not None and is_reverted(incident):
        again = "`/rollback reland` brings the change back."
        return Reply(Mood.REFUSED, "Already rolled back.", told(incident), again)
    reason = prose(considered.decision.reason)
    return Reply(Mood.REFUSED, "Not rolled back.", reason, "", (gates_part(considered.decision),))


def rolling_back(followed: Followed, order: RollbackOrder, asked: Asked) -> Reply:
    """What became of an order that was given."""
    incident = followed.incident
    if followed.heard and incident is not None:
        if incident.decision is not None and incident.decision.order is None:
            return Reply(Mood.REFUSED, "Not rolled back.", prose(incident.decision.reason))
        return Reply(
            Mood.ACCEPTED,
            "Rolling back.",
            f"{who(asked.who)} ordered it: I revert {named_commits(order.commits, incident)} on "
            f"{inline(order.branch, 120)}, and tell how it goes in the incident's comment.",
            "`/rollback cancel` stops it until the push.",
        )
    return _overtaken(incident, "Not rolled back again.", "Not rolled back.")


def dry_run(considered: Considered, rehearsed: Reverted | None, plan: Plan, deploy: Deploy) -> Reply:
    """The plan of a rollback: commits, files, conflicts, gates; nothing was changed."""
    order = considered.decision.order
    gates = gates_part(considered.decision)
    if order is None:
        why = f"I would not roll back: {prose(considered.decision.reason)}"
        return Reply(Mood.ACCEPTED, "Nothing was changed.", why, parts=(gates,))
    clean = rehearsed is not None and rehearsed.outcome is RevertOutcome.REVERTED
    already = rehearsed is not None and rehearsed.outcome is RevertOutcome.ALREADY_REVERTED
    if clean:
        why = f"I would revert {named_commits(order.commits, None)} on {inline(order.branch, 120)}; it applies cleanly."
    elif already and rehearsed is not None:
        why = f"There is nothing left to revert. {prose(rehearsed.reason)}"
    else:
        why = f"The revert would fail. {prose(rehearsed.reason) if rehearsed else 'It could not be tried.'}"
    parts = (plan_part(considered, order, rehearsed, plan, deploy), gates)
    return Reply(Mood.ACCEPTED, "Nothing was changed.", why, parts=parts)


def no_question(
    about: About, environment: str, incident: Incident | None = None, asked: Asked | None = None
) -> Reply:
    """There is nothing to approve, any more or at all."""
    number = about.pull_request.number
    if incident is None:
        why = f"No question about #{number} is open{in_environment(environment)}."
        return Reply(Mood.REFUSED, "Not approved.", why, 'To revert it: `/rollback --reason "…"`.')
    if incident.state is IncidentState.HELD and incident.asked_until_s is not None:
        ended = instant(incident.asked_until_s, dated=True)
        why = f"The question was open until {ended} UTC and nobody answered, so nothing was done."
        return Reply(
            Mood.REFUSED, "Not approved.", why, 'To revert it all the same: `/rollback --reason "…"`.'
        )
    if asked is not None and _answered(incident) and not _decided_by(incident, asked):
        return _overtaken(incident, "Already answered.", "Not approved.")
    return _overtaken(incident, "Not approved.", "Not approved.")


def not_approved(considered: Considered) -> Reply:
    reason = prose(considered.decision.reason)
    return Reply(Mood.REFUSED, "Not approved.", reason, "", (gates_part(considered.decision),))


def approved(followed: Followed, order: RollbackOrder, asked: Asked) -> Reply:
    """What became of an approval."""
    incident = followed.incident
    if followed.heard and incident is not None:
        if incident.decision is not None and incident.decision.order is None:
            return Reply(Mood.REFUSED, "Not approved.", prose(incident.decision.reason))
        return Reply(
            Mood.ACCEPTED,
            "Approved.",
            f"{who(asked.who)} decided: I revert {named_commits(order.commits, incident)} on "
            f"{inline(order.branch, 120)}.",
            "`/rollback cancel` stops it until the push.",
        )
    if incident is not None and _answered(incident):
        return _overtaken(incident, "Already answered.", "Not approved.")
    return _overtaken(incident, "Not approved.", "Not approved.")


def nothing_to_cancel(
    about: About, environment: str, incident: Incident | None = None, *, watching: bool = False
) -> Reply:
    """Nothing is under way that could be cancelled."""
    number = about.pull_request.number
    if incident is not None:
        if incident.pushed_at_s is not None:
            return too_late(incident)
        return Reply(Mood.REFUSED, "Not cancelled.", f"Nothing is under way any more: {told(incident)}")
    if watching:
        return Reply(
            Mood.REFUSED,
            "Not cancelled.",
            f"Nothing is under way: I only watch the deploy of #{number}{in_environment(environment)}.",
            "`/rollback hold` keeps me from acting on it.",
        )
    return Reply(
        Mood.REFUSED, "Not cancelled.", f"No rollback of #{number} is under way{in_environment(environment)}."
    )


def too_late(incident: Incident) -> Reply:
    reverted = incident.reverted
    if reverted is not None and reverted.pull_request is not None:
        why = f"The revert is proposed in #{reverted.pull_request.number:d} already."
        return Reply(Mood.REFUSED, "Too late to cancel.", why, "Close that pull request to keep the change.")
    sha = reverted.revert_sha if reverted else None
    pushed = f" at {instant(incident.pushed_at_s)} UTC" if incident.pushed_at_s is not None else ""
    what = f"The revert {short(sha)} was pushed" if sha else "The revert was pushed"
    why = f"{what}{pushed}."
    return Reply(Mood.REFUSED, "Too late to cancel.", why, "`/rollback reland` brings the change back.")


def cancelled(followed: Followed, asked: Asked) -> Reply:
    incident = followed.incident
    if followed.heard:
        return Reply(
            Mood.ACCEPTED,
            "Cancelled.",
            f"{who(asked.who)} stopped it before anything was pushed; the branch is as it was.",
            'To revert it later: `/rollback --reason "…"`.',
        )
    if incident is None:
        return Reply(
            Mood.REFUSED, "Not cancelled.", "Nobody was there to hear it.", "Look at `/rollback status`."
        )
    if incident.pushed_at_s is not None or (incident.reverted and incident.reverted.pull_request):
        return too_late(incident)
    if incident.state is IncidentState.CLOSED and _answered(incident):
        return _overtaken(incident, "Already cancelled.", "Not cancelled.")
    return _overtaken(incident, "Not cancelled.", "Not cancelled.")


def _overtaken(incident: Incident | None, by_somebody: str, otherwise: str) -> Reply:
    """Something else happened first: what, and by whom."""
    if incident is None:
        why = "I passed it on, and nothing came of it within a minute."
        return Reply(Mood.REFUSED, otherwise, why, "Look at `/rollback status`.")
    order = incident.decision.order if incident.decision else None
    person = incident.person
    said = ""
    if person is not None and (order is not None or incident.state is IncidentState.CLOSED):
        said = f"{who(person.actor)} was first ({inline(person.verb, 30)}). "
    elif order is not None:
        said = f"{prose(order.ordered_by, 80)} was first. ".capitalize()
    return Reply(Mood.REFUSED, by_somebody if said else otherwise, f"{said}{told(incident)}")


def _answered(incident: Incident) -> bool:
    """Whether a person's word decided it."""
    return incident.person is not None and (
        incident.state in (*_BEGUN, IncidentState.RECOVERED, IncidentState.FAILED)
        or (incident.state is IncidentState.CLOSED and incident.person.verb == "cancel")
        or (incident.decision is not None and incident.decision.order is not None)
    )


def _decided_by(incident: Incident, asked: Asked) -> bool:
    return incident.person is not None and incident.person.id == asked.id
