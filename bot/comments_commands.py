"""Every sentence that answers a `/rollback` command: result, reason, next step; and how GitHub shows it."""

from __future__ import annotations

import hashlib
import re

from bot.comments_commands_parts import (
    listed,
    quoted,
)
from bot.comments_evidence import folded
from bot.comments_text import prose, words
from policies.asked import Asked, Mood, Part, Reply
from policies.chatops import USAGE
from policies.cleaning import cap, fenced, inline
from policies.facts import (
    Verdict,
)
from policies.permission import NOT_DONE

MOST_BYTES = 60_000
MOST_LOG_BYTES = 40_000
_BOLD_FIRST = re.compile(r"\*\*(.+?)\*\* ?(.*)", re.DOTALL)


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
    if known:
        why = f"I know no environment {inline(wanted, 100)} here, but {listed(known)}."
        next_ = f"Name it as it is written there: {inline(f'--env {quoted(known[0])}', 300)}."
    else:
        why = f"I know no environment {inline(wanted, 100)} here: I have heard of no deploy of this repository yet."
        next_ = "Once something is deployed, the environment is known by GitHub's deployment of it."
    return Reply(Mood.REFUSED, NOT_DONE.get(verb, "Not done."), why, next_)


def which_environment(verb: str, candidates: tuple[str, ...]) -> Reply:
    said = f"/rollback{'' if verb == 'rollback' else ' ' + verb} --env"
    why = f"It could be {listed(candidates, 'or')}."
    return Reply(
        Mood.REFUSED,
        NOT_DONE.get(verb, "Not done."),
        why,
        f"Name one: {inline(f'{said} {quoted(candidates[0])}', 200)}.",
    )


def which_service(verb: str) -> Reply:
    return Reply(
        Mood.REFUSED,
        NOT_DONE.get(verb, "Not done."),
        "I have heard of no deploy of this repository yet, so there is no service to hold.",
        f"`/rollback {verb} --repo` is for the repository as a whole.",
    )


def of_several(replies: dict[str, Reply]) -> Reply:
    """The answers for several environments as one."""
    first = next(iter(replies.values()))
    parts: list[Part] = []
    for environment, reply in replies.items():
        lead = " ".join(part for part in (reply.result, reply.why, reply.next) if part)
        parts += [Part("", f"**{inline(environment, 100)}** {lead}"), *reply.parts]
    incidents = {reply.incident_id for reply in replies.values() if reply.incident_id}
    moods = {reply.mood for reply in replies.values()}
    mood = Mood.ACCEPTED if Mood.ACCEPTED in moods else first.mood
    which = f"In {listed(tuple(replies))}:"
    return Reply(
        mood,
        f"{len(replies)} environments.",
        which,
        parts=tuple(parts),
        incident_id=incidents.pop() if len(incidents) == 1 else None,
    )
