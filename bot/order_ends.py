"""Tells what became of a person's order from the incident as it stands."""

from __future__ import annotations

from bot.command_ports import Followed
from policies.facts import Incident, IncidentState, PersonOrder

CANCEL = "cancel"
_BEGUN = (IncidentState.REVERTING, IncidentState.REVERTED, IncidentState.PROPOSED)


def settled(incident: Incident | None, order: PersonOrder) -> Followed | None:
    """What can be told of `order` by now; None while it may still be heard, or be stopped by another one."""
    if incident is None or if_later(incident, order) is None:
        return None
    mine = incident.person is not None and incident.person.id == order.id
    over = incident.closed_at_s is not None
    if order.verb == CANCEL:
        return _of_cancel(incident, mine=mine, over=over)
    if not mine:
        return Followed(False, incident) if over or incident.state in _BEGUN else None
    # Between the decision and the revert a cancel is still heard: whoever ordered is told the end of that.
    refused = incident.decision is not None and incident.decision.order is None
    return Followed(True, incident) if over or refused or incident.state in _BEGUN else None


def _of_cancel(incident: Incident, *, mine: bool, over: bool) -> Followed | None:
    if mine:
        return Followed(True, incident) if incident.state is IncidentState.CLOSED else None
    pushed = incident.pushed_at_s is not None or incident.state is IncidentState.PROPOSED
    return Followed(False, incident) if over or pushed else None


def if_later(incident: Incident | None, order: PersonOrder) -> Incident | None:
    """The incident, unless it had ended before the order was given."""
    if incident is None or (incident.closed_at_s is not None and incident.closed_at_s < order.at_s):
        return None
    return incident
