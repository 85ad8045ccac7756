"""What is said of holds, freezes and kill switches, and what the failing check says."""

from __future__ import annotations

import hashlib

from bot.command_ports import Later, Standing
from bot.comments_commands_parts import (
    environment_of,
    named_switch,
    told,
    until,
    who,
)
from bot.comments_text import instant, prose, short, words
from policies.asked import Mood, Reply
from policies.cleaning import inline
from policies.facts import (
    Incident,
    IncidentState,
    Switch,
)
from policies.permission import NOT_DONE

_BEGUN = (IncidentState.REVERTING, IncidentState.REVERTED, IncidentState.PROPOSED)


def held(switch: Switch, target: str, incident: Incident | None) -> Reply:
    what = "this repository" if switch.name == "kill" else inline(environment_of(target), 100)
    lift = "`/rollback resume --repo`" if switch.name == "kill" else "`/rollback resume`"
    why = f"I watch {what} and report, but do not act{until(switch.until_s)}."
    return Reply(Mood.ACCEPTED, "Held.", why + _meanwhile(incident), f"{lift} lets me act again.")


def _meanwhile(incident: Incident | None) -> str:
    """What the hold means for an incident that is open."""
    if incident is None or incident.closed_at_s is not None:
        return ""
    if incident.state is IncidentState.REVERTING:
        return f" {told(incident)} If its push has not begun yet, this stops it; the incident's comment says which."
    if incident.state in _BEGUN:
        return f" What is pushed or proposed already goes on: {told(incident)}"
    return " The incident that is open stays open, and I do not roll it back while this is on."


def overtaken(verb: str, later: Later) -> Reply:
    """A word that was said later on the same switch came first, and stands."""
    said = {True: "set it", False: "lifted it"}[later.on]
    why = f"{who(later.actor)} {said} at {instant(later.at_s)} UTC, after you wrote this, and the later word stands."
    return Reply(Mood.REFUSED, NOT_DONE[verb], why, "If you still mean it, say it again in a new comment.")


def over_already(verb: str, until_s: float) -> Reply:
    """The time that was asked for had passed before the request reached us."""
    why = f"It was to last until {instant(until_s, dated=True)} UTC, and your comment reached me only after that."
    return Reply(Mood.REFUSED, NOT_DONE[verb], why, "If you still mean it, say it again in a new comment.")


def resumed(was_on: bool, target: str, left: tuple[Standing, ...]) -> Reply:
    what = inline(environment_of(target), 100) if ":" in target else "this repository"
    still = f" Still on: {'; '.join(named_switch(one) for one in left)}." if left else ""
    if not was_on:
        return Reply(Mood.REFUSED, "Not resumed.", f"{what} was not on hold.{still}", _lift(left))
    if left:
        return Reply(Mood.ACCEPTED, "Resumed.", f"The hold of {what} is lifted.{still}", _lift(left))
    return Reply(Mood.ACCEPTED, "Resumed.", f"I act on {what} again.")


def _lift(left: tuple[Standing, ...]) -> str:
    """How what is still on is lifted."""
    how = {
        "kill": "`/rollback resume --repo`",
        "hold": "`/rollback resume`",
        "freeze": "`/rollback unfreeze`",
    }
    known = dict.fromkeys(
        how[one.switch.name] for one in left if one.switch.name in how and one.target != "*"
    )
    if known:
        return f"{' and '.join(known)} {'lifts' if len(known) == 1 else 'lift'} that."
    return (
        "`rollback-bot resume` on the server lifts that." if left else "`/rollback status` lists what is on."
    )


def frozen(switch: Switch, branch: str, unmarked: str = "") -> Reply:
    """`unmarked`: why the check is not on every pull request yet."""
    missing = (
        f" The check is not on all of them yet, and I keep trying: {prose(unmarked)}" if unmarked else ""
    )
    why = (
        f"Open pull requests to {inline(branch, 120)} get the failing check `rollback/freeze`"
        f"{until(switch.until_s)}; new ones too. Reason: {prose(switch.reason, 300).rstrip('.')}.{missing}"
    )
    return Reply(Mood.ACCEPTED, "Frozen.", why, "`/rollback unfreeze` lifts it.")


def unfrozen(was_on: bool, branch: str) -> Reply:
    if not was_on:
        why = f"{inline(branch, 120)} was not frozen; no open pull request to it has a failing `rollback/freeze`."
        return Reply(Mood.REFUSED, "Not unfrozen.", why, "`/rollback status` lists what is on.")
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


def expiry_marker(name: str, target: str, set_at_s: float) -> str:
    """The hidden first line by which the note of one switch's end is found again."""
    named = f"{name}\0{target}\0{set_at_s:.3f}".encode("utf-8", "replace")
    return f"<!-- rollback-bot:expired:{hashlib.sha256(named).hexdigest()[:24]} -->"


def expiry_comment(name: str, target: str, actor: str, until_s: float) -> str:
    """What is said on the pull request where a switch was set, once its time is up."""
    what = {"hold": "The hold", "freeze": "The freeze", "kill": "The kill switch"}.get(name, prose(name, 40))
    now = {
        "freeze": "The check `rollback/freeze` is cleared.",
    }.get(name, "I act again.")
    return (
        f"**{what} has ended.** {who(actor)} set it on {inline(target, 200)} until "
        f"{instant(until_s, dated=True)} UTC. {now}\n"
    )


def expired(name: str, target: str, until_s: float) -> str:
    """The note of a switch whose time was up, for the audit."""
    return f"The {name} of {words(target, 200)} ended at {instant(until_s, dated=True)} UTC."


def failed_rollback(incident: Incident) -> str:
    """The reason of the freeze after a rollback that failed."""
    return f"The rollback of {short(incident.deploy.sha)} failed (incident {incident.id})."
