"""What is said of relands, and the draft pull request of one."""

from __future__ import annotations

from urllib.parse import urlsplit

from bot.command_ports import About, Relanded
from bot.comments_commands_parts import (
    shown_paths,
    who,
)
from bot.comments_text import prose
from policies.asked import Asked, Mood, Reply
from policies.cleaning import inline
from policies.facts import (
    Incident,
)
from policies.limits import Plan
from policies.revert_message import harmless
from policies.verifications import BootLogCheck, ImageCheck, SmokeCheck, Verifications

_UNSAID = "_(not in `verify:`)_"


def nothing_to_reland(about: About, why: str) -> Reply:
    return Reply(
        Mood.REFUSED,
        "Not relanded.",
        f"There is nothing of #{about.pull_request.number} to bring back: {why}.",
        "Say it on the pull request whose merge was rolled back.",
    )


def relanded(done: Relanded, about: About, branch: str) -> Reply:
    pull = about.pull_request
    if done.pull_request is None:
        where = f" It conflicts in {shown_paths(done.conflicts)}." if done.conflicts else ""
        by_hand = "If it was reverted by hand, revert that commit on a new branch."
        if done.command:
            by_hand = f"By hand: {inline(done.command, 400)}, then a pull request from there."
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
    about: About, incident: Incident | None, relands: tuple[str, ...], asked: Asked, plan: Plan
) -> tuple[str, str]:
    """Title and body of the draft. The title is the original one, made harmless: a squash merge makes it the
    commit's message, where a `[skip ci]` would keep the reland from being deployed."""
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
        checklist(plan),
        "\n".join(f"Rollback-Relands: {sha}" for sha in relands),
    ]
    title = harmless(pull.title, 180) or f"#{pull.number}"
    return f"Reland: {title}", "\n\n".join(part for part in paragraphs if part) + "\n"


def checklist(plan: Plan) -> str:
    """The four verifications with the values of the repository's own `verify:` section, as boxes to tick."""
    verify = plan.verify or Verifications()
    where = f" in {inline(plan.environment, 100)}" if plan.environment else ""
    if plan.verify is None:
        said = (
            "Before it goes in, verify these four (write them into `verify:` in `.github/rollback.yml`, and the "
            "next reland names the values):"
        )
    else:
        said = f"Before it goes in, verify the four of `verify:` in `.github/rollback.yml`{where}:"
    boxes = (
        _image(verify.image),
        _boot_log(verify.boot_log),
        _smoke(verify.smoke, plan.url),
        _env(verify.env),
    )
    return f"{said}\n\n" + "\n".join(f"- [ ] {box}" for box in boxes)


def _image(check: ImageCheck | None) -> str:
    if check is None:
        return f"**Image**: it holds the settings that the change needs {_UNSAID}"
    holds = f"contains {_codes(check.contains)}" if check.contains else "is there"
    return f"**Image**: the file {inline(check.file, 500)} in the built image {holds}"


def _boot_log(check: BootLogCheck | None) -> str:
    if check is None or not (check.contains or check.never):
        return f"**Boot log**: the container starts without an error {_UNSAID}"
    has = f"contains {_codes(check.contains)}" if check.contains else ""
    never = f"never {_codes(check.never, 'or')}" if check.never else ""
    return f"**Boot log**: the container's log {' and '.join(part for part in (has, never) if part)}"


def _smoke(check: SmokeCheck | None, url: str | None) -> str:
    if check is None:
        return f"**Smoke test**: the changed path answers as it should {_UNSAID}"
    path = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}{check.path}" if url else check.path
    sent = f" with the JSON {inline(check.body, 2_000)}" if check.body is not None else ""
    found = f", and {inline(check.jmespath, 500)} (JMESPath) finds a value in it" if check.jmespath else ""
    return f"**Smoke test**: {inline(f'{check.method} {path}', 1_200)}{sent} answers {check.status:d}{found}"


def _env(names: tuple[str, ...]) -> str:
    if not names:
        return f"**Environment**: every variable exists, is injected by the workflow and is read by the code {_UNSAID}"
    return f"**Environment**: {_codes(names)} exist, are injected by the workflow and are read by the code"


def _codes(texts: tuple[str, ...], last: str = "and") -> str:
    shown = [inline(text, 200) for text in texts]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"
