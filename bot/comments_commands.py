"""Every sentence that answers a `/rollback` command: result, reason, next step; and how GitHub shows it."""

from __future__ import annotations

import hashlib
import re

from bot.command_ports import About, Call, Considered, Followed, Relanded, Standing
from bot.comments_commands_parts import (
    evidence_parts,
    gates_part,
    named_switch,
    plan_part,
    shown_paths,
    until,
)
from bot.comments_evidence import folded, is_log_hidden
from bot.comments_headline import bad_commits, headline, pull_request_of
from bot.comments_text import duration, instant, prose, short, words
from policies.asked import Asked, Mood, Part, Reply
from policies.chatops import USAGE
from policies.cleaning import cap, fenced, inline
from policies.facts import (
    Deploy,
    Incident,
    IncidentState,
    PullRequestFacts,
    Reverted,
    RevertOutcome,
    RollbackOrder,
    Switch,
    Verdict,
)
from policies.limits import Plan

NOT_DONE = {
    "rollback": "Not rolled back.",
    "approve": "Not approved.",
    "cancel": "Not cancelled.",
    "hold": "Not held.",
    "resume": "Not resumed.",
    "freeze": "Not frozen.",
    "unfreeze": "Not unfrozen.",
    "reland": "Not relanded.",
    "logs": "Not shown.",
}
MOST_BYTES = 60_000
MOST_LOG_BYTES = 40_000
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?(?:_[A-Za-z0-9]{1,40})?")
_BOLD_FIRST = re.compile(r"\*\*(.+?)\*\* ?(.*)", re.DOTALL)
_REVERTING = (IncidentState.REVERTING, IncidentState.REVERTED, IncidentState.PROPOSED)


# --- on GitHub ------------------------------------------------------------------------------------


def command_marker(asked: Asked) -> str:
    """The hidden first line by which the one answer to a request is found again."""
    named = f"{asked.place}\0{asked.repository}\0{asked.id}".encode("utf-8", "replace")
    return f"<!-- rollback-bot:command:{hashlib.sha256(named).hexdigest()[:24]} -->"


def command_comment(asked: Asked, reply: Reply) -> str:
    """The answer as Markdown of at most 60,000 bytes; nothing foreign formats, links or mentions in it."""
    lead = " ".join(part for part in (f"**{reply.result}**", reply.why, reply.next) if part)
    parts = [f"{command_marker(asked)}\n{lead}"]
    for part in reply.parts:
        text = part.text
        if part.is_log:
            text = fenced(cap(text.rstrip("\n"), max_bytes=MOST_LOG_BYTES)[0])
        parts.append(folded(part.title, text) if part.title else text)
    kept: list[str] = []
    for part_text in parts:
        if sum(len(one.encode()) + 2 for one in (*kept, part_text)) <= MOST_BYTES:
            kept.append(part_text)
    return "\n\n".join(kept) + "\n"


def plain_answer(reply: Reply) -> str:
    """The answer as one line of plain words, for the audit and a terminal."""
    said = " ".join(part for part in (reply.result, reply.why, reply.next) if part)
    return words(said.replace("**", "").replace("`", ""), 500)


# --- answers of every verb ------------------------------------------------------------------------


def could_not(asked: Asked, reason: str) -> Reply:
    """Something of ours failed; nothing was done as far as we know."""
    verb = asked.command.verb if asked.command else ""
    return Reply(Mood.REFUSED, NOT_DONE.get(verb, "Not done."), prose(reason), "Try again in a minute.")


def misunderstood(why: str) -> Reply:
    """`why` is a sentence of the grammar's own."""
    return Reply(Mood.CONFUSED, "Not understood.", why, parts=(Part("", f"```\n{USAGE}\n```"),))


def usage() -> Reply:
    return Reply(
        Mood.ACCEPTED,
        "This is what I understand.",
        "Only the first line of a new comment counts.",
        parts=(Part("", f"```\n{USAGE}\n```"),),
    )


def not_allowed(verdict: Verdict) -> Reply:
    """The refusal of `policies.permission`, which begins with the result in bold."""
    found = _BOLD_FIRST.fullmatch(verdict.reason)
    if found is None:
        return Reply(Mood.REFUSED, "Not done.", verdict.reason)
    return Reply(Mood.REFUSED, found[1], found[2])


def unknown_environment(verb: str, wanted: str, known: tuple[str, ...]) -> Reply:
    heard = f"I know {_listed(known)}." if known else "I have heard of no deploy of this repository yet."
    why = f"I know no single environment {inline(wanted, 100)} here. {heard}"
    return Reply(Mood.REFUSED, NOT_DONE.get(verb, "Not done."), why, "Name it with `--env`." if known else "")


def which_environment(verb: str, candidates: tuple[str, ...]) -> Reply:
    said = f"/rollback{'' if verb == 'rollback' else ' ' + verb} --env"
    why = f"It could be {_listed(candidates, 'or')}."
    return Reply(
        Mood.REFUSED,
        NOT_DONE.get(verb, "Not done."),
        why,
        f"Name one: {inline(f'{said} {_quoted(candidates[0])}', 200)}.",
    )


def which_service(verb: str) -> Reply:
    return Reply(
        Mood.REFUSED,
        NOT_DONE.get(verb, "Not done."),
        "I have heard of no deploy of this repository yet, so there is no service to hold.",
        f"`/rollback {verb} --repo` is for the repository as a whole.",
    )


# --- rollback -------------------------------------------------------------------------------------


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


def not_rolled_back(considered: Considered) -> Reply:
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
            f"{_who(asked.who)} ordered it: I revert {_commits(order.commits, incident)} on "
            f"{inline(order.branch, 120)}, and tell how it goes in {_incident_comment(incident, asked)}.",
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
        why = f"I would revert {_commits(order.commits, None)} on {inline(order.branch, 120)}; it applies cleanly."
    elif already and rehearsed is not None:
        why = f"There is nothing left to revert. {prose(rehearsed.reason)}"
    else:
        why = f"The revert would fail. {prose(rehearsed.reason) if rehearsed else 'It could not be tried.'}"
    parts = (plan_part(considered, order, rehearsed, plan, deploy), gates)
    return Reply(Mood.ACCEPTED, "Nothing was changed.", why, parts=parts)


# --- answers to a question ------------------------------------------------------------------------


def no_question(
    about: About, environment: str, incident: Incident | None = None, asked: Asked | None = None
) -> Reply:
    """There is nothing to approve, any more or at all."""
    number = about.pull_request.number
    if incident is None:
        why = f"No question about #{number} is open{_in(environment)}."
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
            f"{_who(asked.who)} decided: I revert {_commits(order.commits, incident)} on "
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
        return Reply(Mood.REFUSED, "Not cancelled.", f"Nothing is under way any more: {_line(incident)}")
    if watching:
        return Reply(
            Mood.REFUSED,
            "Not cancelled.",
            f"Nothing is under way: I only watch the deploy of #{number}{_in(environment)}.",
            "`/rollback hold` keeps me from acting on it.",
        )
    return Reply(Mood.REFUSED, "Not cancelled.", f"No rollback of #{number} is under way{_in(environment)}.")


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
            f"{_who(asked.who)} stopped it before anything was pushed; the branch is as it was.",
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
        said = f"{_who(person.actor)} was first ({inline(person.verb, 30)}). "
    elif order is not None:
        said = f"{prose(order.ordered_by, 80)} was first. ".capitalize()
    return Reply(Mood.REFUSED, by_somebody if said else otherwise, f"{said}{_line(incident)}")


def _answered(incident: Incident) -> bool:
    """Whether a person's word decided it."""
    return incident.person is not None and (
        incident.state in (*_REVERTING, IncidentState.RECOVERED, IncidentState.FAILED)
        or (incident.state is IncidentState.CLOSED and incident.person.verb == "cancel")
        or (incident.decision is not None and incident.decision.order is not None)
    )


def _decided_by(incident: Incident, asked: Asked) -> bool:
    return incident.person is not None and incident.person.id == asked.id


# --- switches -------------------------------------------------------------------------------------


def held(switch: Switch, target: str, incident: Incident | None) -> Reply:
    what = "this repository" if switch.name == "kill" else inline(_environment_of(target), 100)
    lift = "`/rollback resume --repo`" if switch.name == "kill" else "`/rollback resume`"
    why = f"I watch {what} and report, but do not act{until(switch.until_s)}."
    if incident is not None and incident.closed_at_s is None and incident.state in _REVERTING:
        why += f" What is under way goes on: {_line(incident)}"
    return Reply(Mood.ACCEPTED, "Held.", why, f"{lift} lets me act again.")


def resumed(was_on: bool, target: str, left: tuple[Standing, ...]) -> Reply:
    what = inline(_environment_of(target), 100) if ":" in target else "this repository"
    still = f" Still on: {'; '.join(named_switch(one) for one in left)}." if left else ""
    if not was_on:
        return Reply(Mood.REFUSED, "Not resumed.", f"{what} was not on hold.{still}".strip())
    return Reply(
        Mood.ACCEPTED,
        "Resumed.",
        f"I act on {what} again.{still}" if not left else f"The hold of {what} is lifted.{still}",
    )


def frozen(switch: Switch, branch: str) -> Reply:
    why = (
        f"Open pull requests to {inline(branch, 120)} get the failing check `rollback/freeze`"
        f"{until(switch.until_s)}; new ones too. Reason: {prose(switch.reason, 300).rstrip('.')}."
    )
    return Reply(Mood.ACCEPTED, "Frozen.", why, "`/rollback unfreeze` lifts it.")


def unfrozen(was_on: bool, branch: str) -> Reply:
    if not was_on:
        return Reply(Mood.REFUSED, "Not unfrozen.", f"{inline(branch, 120)} was not frozen.")
    why = f"{inline(branch, 120)} takes merges again, and the check `rollback/freeze` is cleared."
    return Reply(Mood.ACCEPTED, "Unfrozen.", why)


def freeze_check(switch_reason: str, actor: str, branch: str, until_s: float | None) -> tuple[str, str]:
    """Title and summary of the failing check."""
    title = f"{words(branch, 80)} is frozen{until(until_s)}"
    who = f"By {inline(actor, 60)}"
    why = f"{who}: {prose(switch_reason, 300)}" if switch_reason else f"{who}."
    return (
        title,
        f"{why}\n\nA maintainer lifts it with `/rollback unfreeze` on any pull request to this branch.",
    )


def thawed_check(branch: str) -> tuple[str, str]:
    """Title and summary of the check once the freeze has ended."""
    return f"{words(branch, 80)} is not frozen any more", "The freeze was lifted or its time was up."


def expired(name: str, target: str, until_s: float) -> str:
    """The note of a switch whose time was up, for the audit."""
    return f"The {name} of {words(target, 200)} ended by itself at {instant(until_s, dated=True)} UTC."


def failed_rollback(incident: Incident) -> str:
    """The reason of the freeze after a rollback that failed."""
    return f"The rollback of {short(incident.deploy.sha)} failed (incident {incident.id})."


# --- reland ---------------------------------------------------------------------------------------


def nothing_to_reland(about: About, why: str) -> Reply:
    return Reply(
        Mood.REFUSED,
        "Not relanded.",
        f"There is nothing of #{about.pull_request.number} to bring back: {why}.",
    )


def relanded(done: Relanded, about: About, branch: str) -> Reply:
    pull = about.pull_request
    if done.pull_request is None:
        where = f" It conflicts in {shown_paths(done.conflicts)}." if done.conflicts else ""
        by_hand = f"By hand: {inline(done.command, 400)}." if done.command else ""
        return Reply(Mood.REFUSED, "Not relanded.", f"{prose(done.reason)}{where}", by_hand)
    old = inline(pull.head_ref, 120) if pull.head_ref else "the old branch"
    return Reply(
        Mood.ACCEPTED,
        "Ready to reland.",
        f"#{done.pull_request.number} brings #{pull.number} back to {inline(branch, 120)} as a draft.",
        f"Put the fix on its branch {inline(done.pull_request.head_ref, 120)}, then mark it ready. Do not merge "
        f"{old} again: its commits are in the history already, so git would silently leave them out.",
    )


def reland_pull_request(
    about: About, incident: Incident | None, relands: tuple[str, ...], asked: Asked
) -> tuple[str, str]:
    """Title and body of the draft. The title is the original one, made harmless."""
    pull = about.pull_request
    old = inline(pull.head_ref, 120) if pull.head_ref else "the old branch"
    cause = incident.evidence.diagnosis if incident and incident.evidence else None
    paragraphs = [
        f"{_who(pull.author)}, this brings #{pull.number} back, which was rolled back. {_who(asked.who)} asked for it.",
        f"**Put the fix on this branch before you merge.** The log said: {inline(cause.line, 300)}"
        if cause and cause.line
        else "**Put the fix on this branch before you merge.**",
        f"⚠️ **Do not merge {old} again.** Its commits are already in the history of {inline(pull.base_ref, 120)}, "
        "so git would silently leave them out and bring only what is new.",
        "Before it goes in:\n\n"
        "- [ ] the image holds the settings that the change needs\n"
        "- [ ] the boot log is clean\n"
        "- [ ] a smoke test of the changed path succeeds\n"
        "- [ ] every environment variable exists, is injected and is read",
        "\n".join(f"Rollback-Relands: {sha}" for sha in relands),
    ]
    title = words(re.sub(r"[^\w .,:;()/'+-]", " ", pull.title), 180) or f"#{pull.number}"
    return f"Reland: {title}", "\n\n".join(part for part in paragraphs if part) + "\n"


# --- reading --------------------------------------------------------------------------------------


def evidence(incident: Incident | None, about: About, plan: Plan) -> Reply:
    number = about.pull_request.number
    if incident is None or incident.evidence is None:
        why = f"Nothing was captured for #{number}: no deploy of it failed while I watched."
        return Reply(Mood.ACCEPTED, "No evidence.", why)
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
        lines.append(f"- I have heard of no deploy of #{number}{_in(call.environment)}.")
    else:
        when = instant(call.deploy.completed_at_s, dated=True)
        lines.append(
            f"- {short(call.deploy.sha)} was deployed to {inline(call.environment, 100)} at {when} UTC; "
            + ("I am at work on it." if live else "I do not watch it any more.")
        )
    if incident is not None:
        lines.append(f"- Incident {inline(incident.id, 80)}: {_line(incident)}")
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
        said = f"I have decided nothing about #{number}{_in(call.environment)}: no deploy of it failed while I watched."
        return Reply(Mood.ACCEPTED, "Nothing was decided.", said)
    gates = (gates_part(incident.decision),) if incident.decision else ()
    said = _line(incident)
    reason = prose(incident.reason)
    return Reply(Mood.ACCEPTED, f"Why, for #{number}.", f"{said} {reason}".strip(), parts=gates)


# --- small pieces ---------------------------------------------------------------------------------


def _who(login: str) -> str:
    return f"@{login}" if _LOGIN.fullmatch(login) else prose(login, 60)


def _in(environment: str) -> str:
    return f" in {inline(environment, 100)}" if environment else ""


def _line(incident: Incident) -> str:
    """The incident in one sentence, without the repository's name."""
    return prose(headline(incident).partition(": ")[2])


def _incident_comment(incident: Incident, asked: Asked) -> str:
    return "the incident's comment" if asked.number else "the incident"


def _commits(commits: tuple[str, ...], incident: Incident | None) -> str:
    named = []
    for sha in commits[:5] or (bad_commits(incident)[:5] if incident else ()):
        known: PullRequestFacts | None = pull_request_of(incident, sha) if incident else None
        named.append(f"#{known.number} ({short(sha)})" if known else short(sha))
    more = f" and {len(commits) - 5} more" if len(commits) > 5 else ""
    return ", ".join(named) + more


def _listed(names: tuple[str, ...], last: str = "and") -> str:
    shown = [inline(name, 100) for name in names[:10]]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


def _environment_of(target: str) -> str:
    return target.partition(":")[2] or target


__all__ = ["command_comment", "command_marker", "duration", "plain_answer"]
