"""What is read by command: evidence, status, and why."""

from __future__ import annotations

from bot.command_ports import About, Call, Standing
from bot.comments_commands_parts import (
    evidence_parts,
    gates_part,
    in_environment,
    named_switch,
    told,
)
from bot.comments_evidence import is_log_hidden
from bot.comments_text import instant, prose, short
from policies.asked import Mood, Part, Reply
from policies.cleaning import inline
from policies.facts import (
    Incident,
    IncidentState,
)
from policies.limits import Plan


def evidence(incident: Incident | None, about: About, plan: Plan) -> Reply:
    number = about.pull_request.number
    if incident is None:
        why = f"Nothing was captured for #{number}: no deploy of it failed while I watched."
        return Reply(Mood.ACCEPTED, "No evidence.", why, "`/rollback status` tells what I know of it.")
    if incident.evidence is None:
        why = f"Nothing is captured for incident {inline(incident.id, 80)}, or not yet."
        return Reply(Mood.ACCEPTED, "No evidence.", why, "`/rollback why` tells what I saw and decided.")
    if is_log_hidden(plan, not plan.private):
        why = "The log is not shown in a public place; it stands on the incident's page."
        return Reply(
            Mood.ACCEPTED, "Captured.", why, f"`rollback-bot incidents {incident.id}` prints it too."
        )
    captured = incident.evidence
    when = instant(captured.captured_at_s, dated=True)
    redacted = f"{captured.redacted:d} value{'' if captured.redacted == 1 else 's'} redacted"
    return Reply(Mood.ACCEPTED, "Captured.", f"At {when} UTC, {redacted}.", parts=evidence_parts(captured))


def status(call: Call, incident: Incident | None, live: bool, switches: tuple[Standing, ...]) -> Reply:
    lines = []
    number = call.asked.number
    if call.deploy is None:
        lines.append(f"- I have heard of no deploy of #{number}{in_environment(call.environment)}.")
    else:
        when = instant(call.deploy.completed_at_s, dated=True)
        lines.append(
            f"- {short(call.deploy.sha)} was deployed to {inline(call.environment, 100)} at {when} UTC; "
            + ("I am at work on it." if live else "I do not watch it any more.")
        )
    if incident is not None:
        lines.append(f"- Incident {inline(incident.id, 80)}: {told(incident)}")
        if incident.state is IncidentState.ASKED and incident.asked_until_s is not None:
            lines.append(
                f"- A question is open until {instant(incident.asked_until_s, dated=True)} UTC: "
                "`/rollback approve` or `/rollback cancel`."
            )
    lines.append(f"- Mode is `{call.plan.mode.value}` ({inline(call.plan.config_from, 100)}).")
    lines += [f"- {named_switch(one)}" for one in switches] or ["- No hold, freeze or kill switch is on."]
    return Reply(Mood.ACCEPTED, f"Status of #{number}.", parts=(Part("", "\n".join(lines)),))


def why(call: Call, incident: Incident | None) -> Reply:
    number = call.asked.number
    if incident is None:
        where = in_environment(call.environment)
        said = f"I have decided nothing about #{number}{where}: no deploy of it failed while I watched."
        return Reply(Mood.ACCEPTED, "Nothing was decided.", said)
    gates = (gates_part(incident.decision),) if incident.decision else ()
    said = told(incident)
    reason = prose(incident.reason)
    return Reply(Mood.ACCEPTED, f"Why, for #{number}.", f"{said} {reason}".strip(), parts=gates)
