"""Every sentence that people read in Slack only, and how what GitHub reads as Markdown is shown there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from bot.command_ports import Standing, question_of
from bot.comments_commands import plain_answer
from bot.comments_commands_parts import named_switch, told
from bot.comments_headline import SIGNS, bad_commits, headline, is_failing, pull_request_of
from bot.comments_next import next_step
from bot.comments_text import incident_url, prose, words
from bot.slack_api import Text
from policies.asked import Asked, Mood, Part, Reply
from policies.chatops import SLACK_USAGE
from policies.cleaning import cap, inline, plain
from policies.facts import Incident, IncidentState, PullRequestFacts
from policies.limits import Plan
from policies.redaction import redact

TAKEN: Final = "Got it; the answer comes here."
KNOWN: Final = "I have this one already; its answer comes here, or came."
NOT_TAKEN: Final = (
    "Not taken: my database does not answer, so nothing was done. Please try again in a minute."
)
UNKNOWN: Final = (
    "I cannot tell whether this was taken: my database stopped answering in the middle. "
    "Look at `/rollback status` before you ask again."
)
APPROVE, CANCEL, WHY = "rollback_approve", "rollback_cancel", "rollback_why"
CONNECT_YES, CONNECT_NO = "rollback_connect_yes", "rollback_connect_no"

MOST_SECTION_CHARS: Final = 2_800
"""Slack takes 3,000 in a section and 50 blocks in a message."""
MOST_SECTIONS: Final = 40
MOST_MESSAGE_BYTES: Final = 30_000
_FENCED: Final = re.compile(r"^(`{3,})[^`\n]*\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"(?<!`)(`{1,40})(?!`)([^\n]+?)(?<!`)\1(?!`)")
_BOLD: Final = re.compile(r"\*\*([^*\n]{1,500})\*\*")
_LINK: Final = re.compile(r"\[([^\[\]\n]{1,300})\]\((https?://[^\s()<>|]{1,1000})\)")
_COMMAND: Final = re.compile(r"/rollback(?= (?!connect|help)|$)")

Block = dict[str, Any]


# --- Markdown as Slack writes it -----------------------------------------------------------------------


def escaped(text: str) -> str:
    """Text in which Slack sees no mention, channel or link: these begin with `<`."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cleaned(text: str, extra: tuple[str, ...] = ()) -> str:
    """Nothing is told in Slack that still looks like a secret, wherever it came from."""
    return redact(plain(text), extra).text


def mrkdwn(markdown: str, target: str = "") -> str:
    """Our Markdown (bold, code spans, links, lists) as Slack writes it; everything else in it is plain words.

    `target` (`owner/name#42`) completes the commands in it, since a channel does not say what is meant."""
    said, at = [], 0
    for found in _CODE.finditer(markdown):
        said.append(_worded(markdown[at : found.start()]))
        said.append(_code(found[2], target))
        at = found.end()
    said.append(_worded(markdown[at:]))
    return "".join(said)


def _worded(text: str) -> str:
    text = escaped(text)
    text = _LINK.sub(r"<\2|\1>", text)
    text = _BOLD.sub(r"*\1*", text)
    return re.sub(r"(?m)^- ", "• ", text)


def _code(code: str, target: str) -> str:
    code = code.strip().replace("`", "'")
    if target:
        code = _COMMAND.sub(f"/rollback {target}", code, count=1)
    return f"`{escaped(code)}`" if code else ""


def sections(markdown: str, target: str = "") -> Iterator[Block]:
    """`markdown` as blocks, each short enough; code in fences stays in fences."""
    at = 0
    for found in _FENCED.finditer(markdown):
        yield from _prose_sections(markdown[at : found.start()], target)
        yield from log_sections(found[2])
        at = found.end()
    yield from _prose_sections(markdown[at:], target)


def _prose_sections(markdown: str, target: str) -> Iterator[Block]:
    for piece in _pieces(mrkdwn(markdown.strip("\n"), target)):
        yield section(piece)


def log_sections(text: str) -> Iterator[Block]:
    """Foreign text as it is, in blocks of code that it cannot leave."""
    for piece in _pieces(escaped(re.sub("`{3,}", "'''", text.strip("\n")))):
        yield section(f"```\n{piece}\n```")


def _pieces(text: str) -> Iterator[str]:
    """Whole lines together, as many as fit."""
    kept = ""
    for line in text.split("\n"):
        while len(line) > MOST_SECTION_CHARS:
            # Not in the middle of `&lt;`, which would leave its half to be read.
            cut = line.rfind(" ", 1, MOST_SECTION_CHARS)
            cut = cut if cut > 0 else max(line.rfind("&", MOST_SECTION_CHARS - 6, MOST_SECTION_CHARS), 0)
            cut = cut or MOST_SECTION_CHARS
            if kept.strip():
                yield kept
                kept = ""
            yield line[:cut]
            line = line[cut:]
        if len(kept) + len(line) + 1 > MOST_SECTION_CHARS:
            yield kept
            kept = ""
        kept = f"{kept}\n{line}" if kept else line
    if kept.strip():
        yield kept


def section(text: str) -> Block:
    """`verbatim`: Slack makes no links or mentions of words by itself."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def message(markdown: str, short: str, target: str = "") -> Text:
    """A message of ours; `short` is its first line for notifications."""
    blocks = tuple(sections(cleaned(markdown), target))[:MOST_SECTIONS]
    return Text(escaped(cleaned(short)), blocks)


# --- answers to commands -------------------------------------------------------------------------------


def answer_text(asked: Asked, reply: Reply) -> Text:
    """The answer to one request, for the asker alone."""
    target = f"{asked.repository}#{asked.number}" if asked.repository and asked.number else ""
    lead = " ".join(part for part in (f"**{reply.result}**", reply.why, reply.next) if part)
    blocks = [*sections(cleaned(_named(lead, asked)), target)]
    for part in reply.parts:
        if part.title:
            blocks.append(section(f"*{escaped(words(cleaned(part.title), 150))}*"))
        text = part.text if part.is_for_asker else cleaned(part.text)
        text = cap(text, max_bytes=MOST_MESSAGE_BYTES)[0]
        blocks += [*log_sections(text)] if part.is_log else [*sections(_named(text, asked), target)]
    if len(blocks) > MOST_SECTIONS:
        blocks = [*blocks[: MOST_SECTIONS - 1], section("The rest is too long for Slack.")]
    return Text(escaped(cleaned(_named(plain_answer(reply), asked))), tuple(blocks))


def _named(text: str, asked: Asked) -> str:
    """An incident whose commit came by no pull request has no number to be called by."""
    return text if asked.number or not asked.button else re.sub(r"#0\b", "this deploy", text)


def usage() -> Reply:
    return Reply(Mood.ACCEPTED, "This is what I understand.", parts=(Part("", f"```\n{SLACK_USAGE}\n```"),))


def misunderstood(why: str) -> Reply:
    """`why` is a sentence of the grammar's own."""
    return Reply(Mood.CONFUSED, "Not understood.", why, parts=(Part("", f"```\n{SLACK_USAGE}\n```"),))


def which_pull_request(verb: str, result: str) -> Reply:
    said = "/rollback owner/name#42" + ("" if verb == "rollback" else f" {verb}")
    return Reply(
        Mood.REFUSED, result, "In Slack I cannot see which pull request you mean.", f"Type `{said}`."
    )


def not_connected(result: str) -> Reply:
    return Reply(
        Mood.REFUSED,
        result,
        "I do not know who you are on GitHub, and GitHub's roles decide who may do this.",
        "`/rollback connect` tells me, once. Without it you may read: `status`, `why`, `help`.",
    )


def other_question(result: str) -> Reply:
    return Reply(
        Mood.REFUSED,
        result,
        "That button belongs to a question that is no longer the open one.",
        "Look at `/rollback status`.",
    )


def unknown_incident(result: str) -> Reply:
    return Reply(Mood.REFUSED, result, "I no longer know the incident of that button.")


def overview(open_incidents: tuple[Incident, ...], switches: tuple[Standing, ...]) -> Reply:
    """What is open everywhere, for `/rollback status` without a pull request."""
    lines = [f"- {inline(one.deploy.repository, 120)}: {told(one)}" for one in open_incidents]
    lines = lines or ["- No incident is open."]
    lines += [f"- {named_switch(one)}" for one in switches] or ["- No hold, freeze or kill switch is on."]
    return Reply(Mood.ACCEPTED, "Status.", parts=(Part("", "\n".join(lines)),))


# --- the message of an incident ------------------------------------------------------------------------


def incident_of_button(button: str) -> str:
    """The id of the incident that a button names."""
    return button.rpartition("|")[0]


def pull_request_shown(incident: Incident) -> PullRequestFacts | None:
    """The pull request that an incident is talked about on: the newest that it would revert."""
    found = (pull_request_of(incident, sha) for sha in bad_commits(incident))
    return next((one for one in found if one is not None), None)


def incident_text(incident: Incident, plan: Plan, base_url: str | None) -> Text:
    """The message of an incident in its present state, with buttons while a person must answer."""
    extra = plan.logs.redact
    short = f"{SIGNS[incident.state]} {headline(incident)}"
    pull_request = pull_request_shown(incident)
    target = f"{incident.deploy.repository}#{pull_request.number}" if pull_request else ""
    lead = f"*{escaped(cleaned(short, extra))}*"
    said = [_reason(incident), _cause(incident), _next(incident, plan, pull_request)]
    told_ = cleaned("\n\n".join(part for part in said if part), extra)
    blocks: list[Block] = [section(lead), *sections(told_, target)][: MOST_SECTIONS - 3]
    if incident.state is IncidentState.ASKED:
        blocks.append(_buttons(incident))
    blocks.append(_footer(incident, pull_request, base_url))
    return Text(escaped(cleaned(short, extra)), tuple(blocks))


def continued_text(incident: Incident) -> Text:
    """What a message says from then on that a newer one follows."""
    short = f"{words(incident.deploy.repository)}: an incident that goes on in a newer message below."
    said = escaped(cleaned(short))
    return Text(said, (section(said), _footer(incident, pull_request_shown(incident), None)))


def _reason(incident: Incident) -> str:
    seen = incident.watched.verdict.reason if incident.watched and is_failing(incident) else ""
    if seen.rstrip(".") in incident.reason:
        seen = ""
    return " ".join(part for part in (prose(seen), prose(incident.reason)) if part)


def _cause(incident: Incident) -> str:
    diagnosis = incident.evidence.diagnosis if incident.evidence else None
    return f"**Likely cause** {inline(diagnosis.line, 300)}" if diagnosis and diagnosis.line else ""


def _next(incident: Incident, plan: Plan, pull_request: PullRequestFacts | None) -> str:
    """The first paragraph of what GitHub says: the rest is commands for a terminal."""
    if incident.state in (IncidentState.RECOVERED, IncidentState.CLOSED):
        return ""
    return (
        next_step(incident, plan, pull_request).partition("\n\n")[0].replace("this comment", "this message")
    )


def _buttons(incident: Incident) -> Block:
    value = question_of(incident)
    commits = ", ".join(sha[:8] for sha in bad_commits(incident)[:5])
    where = words(incident.deploy.environment, 60)
    return {
        "type": "actions",
        "elements": [
            _button(
                APPROVE,
                "Approve",
                value,
                style="primary",
                confirm=(
                    "Roll back?",
                    f"This reverts {commits} and deploys it to {where} again.",
                    "Roll back",
                ),
            ),
            _button(
                CANCEL,
                "Cancel",
                value,
                style="danger",
                confirm=("Leave it?", f"Nothing is reverted; {where} stays as it is.", "Leave it"),
            ),
            _button(WHY, "Why", value),
        ],
    }


def _button(
    action: str, label: str, value: str, *, style: str = "", confirm: tuple[str, str, str] | None = None
) -> Block:
    made: dict[str, Any] = {
        "type": "button",
        "action_id": action,
        "text": {"type": "plain_text", "text": label},
        "value": value,
    }
    if style:
        made["style"] = style
    if confirm is not None:
        title, text, yes = confirm
        made["confirm"] = {
            "title": {"type": "plain_text", "text": title},
            "text": {"type": "plain_text", "text": text[:300]},
            "confirm": {"type": "plain_text", "text": yes},
            "deny": {"type": "plain_text", "text": "Back"},
        }
    return made


def _footer(incident: Incident, pull_request: PullRequestFacts | None, base_url: str | None) -> Block:
    proposed = incident.reverted.pull_request if incident.reverted else None
    parts = [_linked(incident, one) for one in (pull_request, proposed) if one is not None]
    url = incident_url(base_url, incident.id)
    named = f"incident {words(incident.id, 80)}"
    parts.append(f"<{url}|{escaped(named)}>" if url else escaped(named))
    return {
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": " · ".join(parts), "verbatim": True}],
    }


def _linked(incident: Incident, pull_request: PullRequestFacts) -> str:
    name = escaped(f"{words(incident.deploy.repository)}#{pull_request.number}")
    is_link = re.fullmatch(r"https?://[^\s<>|]{1,1000}", pull_request.url) is not None
    return f"<{escaped(pull_request.url)}|{name}>" if is_link else name
