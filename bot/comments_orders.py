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
from policies.attribution import Gate
from policies.cleaning import inline
from policies.eligibility import BOT
from policies.facts import (
    Decision,
    Deploy,
    Incident,
    IncidentState,
    Reverted,
    RevertOutcome,
    RollbackOrder,
)
from policies.limits import Plan

_BEGUN = (IncidentState.REVERTING, IncidentState.REVERTED, IncidentState.PROPOSED)
_STOPS = (Gate.HOLD, Gate.ASK)
_AFTER = {
    "kill": "A maintainer lifts it with `/rollback resume --repo`; one that was set on the server is lifted there.",
    "hold": "`/rollback resume` lifts the hold; then say this again.",
    "reason": "Say it again with the reason.",
    "moved_on": "`/rollback status` tells what I know; say `/rollback` on the pull request that is deployed now.",
    "own_rollback": "To have the change again, say `/rollback reland` on the pull request that was rolled back.",
    "culprits": "Every gate is listed below; choose the commits and revert them by hand.",
    "ignored": "Correct `.github/rollback.yml` for the next deploy; revert this one by hand.",
}
"""What a person can do about the gates that stop even them."""


def nothing_to_roll_back(about: About, environment: str, number: int) -> Reply:
    """The pull request is open, was closed, or its commit was never deployed there."""
    elsewhere = "If another pull request broke the service, say `/rollback` on that one."
    if about.is_open:
        why = f"#{number} is not merged, so there is nothing of it to revert."
        return Reply(Mood.REFUSED, "Not rolled back.", why, f"To keep it out, close it. {elsewhere}")
    if about.merge_sha is None:
        why = f"#{number} was closed without being merged, so there is nothing of it to revert."
        return Reply(Mood.REFUSED, "Not rolled back.", why, elsewhere)
    where = f" to {inline(environment, 100)}" if environment else ""
    base = inline(about.pull_request.base_ref, 120)
    why = f"I have heard of no deploy of #{number} ({short(about.merge_sha)}, merged into {base}){where}."
    return Reply(
        Mood.REFUSED,
        "Not rolled back.",
        why,
        f"If it is deployed by other means, revert it by hand on {base}: `git revert {short(about.merge_sha)}`, "
        "with `-m 1` if that is a merge commit.",
    )


def not_guarded(ignored: str) -> Reply:
    return Reply(
        Mood.REFUSED,
        "Not rolled back.",
        f"Its deploy is not guarded. {prose(ignored)}",
        "Correct `.github/rollback.yml` for the next deploy; revert this one by hand.",
    )


def not_rolled_back(considered: Considered, incident: Incident | None) -> Reply:
    if incident is not None and is_reverted(incident):
        again = "`/rollback reland` brings the change back."
        return Reply(Mood.REFUSED, "Already rolled back.", told(incident), again)
    return _stopped_by_a_gate("Not rolled back.", considered.decision)


def _stopped_by_a_gate(result: str, decision: Decision) -> Reply:
    return Reply(Mood.REFUSED, result, prose(decision.reason), after(decision), (gates_part(decision),))


def after(decision: Decision) -> str:
    """What a person can do about the first gate that stopped them."""
    stop = next((gate.rule for gate in decision.gates if gate.status in _STOPS), "")
    return _AFTER.get(stop, "Every gate is listed below; what I may not revert, a person still can by hand.")


def rolling_back(followed: Followed, order: RollbackOrder, asked: Asked) -> Reply:
    """What became of an order that was given."""
    incident = followed.incident
    if followed.heard and incident is not None:
        if incident.decision is not None and incident.decision.order is None:
            return _stopped_by_a_gate("Not rolled back.", incident.decision)
        return Reply(
            Mood.ACCEPTED,
            "Rolling back.",
            f"{who(asked.who)} ordered it: I revert {named_commits(order.commits, incident)} on "
            f"{inline(order.branch, 120)}, and tell how it goes in the incident's comment.",
            "`/rollback cancel` stops it until the push.",
        )
    return _overtaken(followed, "Not rolled back again.", "Not rolled back.")


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
    by_another = asked is not None and not _decided_by(incident, asked)
    result = "Already answered." if by_another and _answered(incident) else "Not approved."
    return _overtaken(Followed(False, incident), result, "Not approved.")


def older_than_the_question(incident: Incident) -> Reply:
    """The approval was written before the question was asked, and reached us only now."""
    asked_s = incident.decided_at_s or incident.opened_at_s
    why = (
        f"You wrote this before I asked the question that is open now ({instant(asked_s)} UTC), so it was meant for "
        "another one."
    )
    return Reply(
        Mood.REFUSED, "Not approved.", why, "Read the incident's comment, and say `/rollback approve` again."
    )


def not_approved(considered: Considered) -> Reply:
    return _stopped_by_a_gate("Not approved.", considered.decision)


def approved(followed: Followed, order: RollbackOrder, asked: Asked, question: Incident) -> Reply:
    """What became of an approval; `question` is the incident as it stood when it was given."""
    incident = followed.incident
    if followed.heard and incident is not None:
        if incident.decision is not None and incident.decision.order is None:
            return _stopped_by_a_gate("Not approved.", incident.decision)
        return Reply(
            Mood.ACCEPTED,
            "Approved.",
            f"{who(asked.who)} said yes{_to_question(question)}: I revert "
            f"{named_commits(order.commits, incident)} on {inline(order.branch, 120)}.",
            "`/rollback cancel` stops it until the push.",
        )
    answered = incident is not None and _answered(incident)
    return _overtaken(followed, "Already answered." if answered else "Not approved.", "Not approved.")


def _to_question(incident: Incident) -> str:
    if incident.state is not IncidentState.ASKED or incident.decided_at_s is None:
        return ""
    return f" to my question of {instant(incident.decided_at_s)} UTC"


def nothing_to_cancel(
    about: About, environment: str, incident: Incident | None = None, *, watching: bool = False
) -> Reply:
    """Nothing is under way that could be cancelled."""
    number = about.pull_request.number
    if incident is not None:
        if incident.pushed_at_s is not None:
            return too_late(incident)
        why = f"Nothing is under way any more: {told(incident)}"
        return Reply(Mood.REFUSED, "Not cancelled.", why, "`/rollback why` tells how it was decided.")
    if watching:
        return Reply(
            Mood.REFUSED,
            "Not cancelled.",
            f"Nothing is under way: I only watch the deploy of #{number}{in_environment(environment)}.",
            "`/rollback hold` keeps me from acting on it.",
        )
    why = f"No rollback of #{number} is under way{in_environment(environment)}."
    return Reply(Mood.REFUSED, "Not cancelled.", why, "`/rollback status` tells how it stands.")


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
    stopped = incident.state is IncidentState.CLOSED and _answered(incident)
    return _overtaken(followed, "Already cancelled." if stopped else "Not cancelled.", "Not cancelled.")


def _overtaken(followed: Followed, by_somebody: str, otherwise: str) -> Reply:
    """Something else happened first: what, and by whom."""
    incident = followed.incident
    if followed.waiting:
        why = "Whoever works on this deploy has it, and has not decided within a minute; it still counts."
        next_ = "`/rollback status` tells what comes of it; `/rollback cancel` takes it back."
        return Reply(Mood.ACCEPTED, "Passed on.", why, next_)
    if incident is None:
        why = "Whoever worked on this deploy ended before hearing it, so nothing was done."
        return Reply(Mood.REFUSED, otherwise, why, "Look at `/rollback status`, and say it again.")
    said = _who_was_first(incident)
    return Reply(Mood.REFUSED, by_somebody if said else otherwise, f"{said}{told(incident)}", _now(incident))


def _who_was_first(incident: Incident) -> str:
    order = incident.decision.order if incident.decision else None
    person = incident.person
    if person is not None and person.verb == "cancel" and incident.state is IncidentState.CLOSED:
        return f"{who(person.actor)} cancelled it before anything was pushed. "
    if person is not None and (order is not None or incident.state is IncidentState.CLOSED):
        return f"{who(person.actor)} was first ({inline(person.verb, 30)}). "
    if order is not None and order.ordered_by == BOT:
        return "I had decided it myself by then, on the failure budget. "
    return f"{prose(order.ordered_by, 80)} was first. " if order is not None else ""


def _now(incident: Incident) -> str:
    """What can be done as the incident stands."""
    if is_reverted(incident):
        return "`/rollback reland` brings the change back."
    if incident.state is IncidentState.PROPOSED:
        return "Merge that pull request, or close it to keep the change."
    if incident.closed_at_s is not None:
        return 'To revert it all the same: `/rollback --reason "…"`.'
    return "The incident's comment tells how it goes; `/rollback cancel` stops it until the push."


def _answered(incident: Incident) -> bool:
    """Whether a person's word decided it."""
    return incident.person is not None and (
        incident.state in (*_BEGUN, IncidentState.RECOVERED, IncidentState.FAILED)
        or (incident.state is IncidentState.CLOSED and incident.person.verb == "cancel")
        or (incident.decision is not None and incident.decision.order is not None)
    )


def _decided_by(incident: Incident, asked: Asked) -> bool:
    return incident.person is not None and incident.person.id == asked.id
