"""What is said of relands, and the draft pull request of one."""

from __future__ import annotations

import re

from bot.command_ports import About, Relanded
from bot.comments_commands_parts import (
    shown_paths,
    who,
)
from bot.comments_text import prose, words
from policies.asked import Asked, Mood, Reply
from policies.cleaning import inline
from policies.facts import (
    Incident,
)


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
        f"{who(pull.author)}, this brings #{pull.number} back, which was rolled back. {who(asked.who)} asked for it.",
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
