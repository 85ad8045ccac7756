"""What is said while a Slack user and a GitHub login are being linked, in Slack and on GitHub."""

from __future__ import annotations

from bot.comments_slack import CONNECT_NO, CONNECT_YES, cleaned, escaped, section
from bot.comments_text import prose, words
from bot.slack_api import Text
from bot.store_slack import Connect
from policies.asked import Mood, Part, Reply
from policies.cleaning import inline

NOT_CONNECTED = "Not connected."
WITHIN = "ten minutes"
_AGAIN = "`/rollback connect` in Slack gives you a new one."


def code_given(code: str, link: str | None, login: str | None) -> Reply:
    """In Slack, to the asker alone: what to write where, so that GitHub says who they are."""
    comment = f"/rollback connect {code}"
    said = f"Write {inline(comment)} as a comment on any pull request of a repository that I guard, within {WITHIN}."
    more = f" [What this does, step by step]({link})" if link else ""
    return Reply(
        Mood.ACCEPTED,
        "Tell me who you are on GitHub.",
        f"You are @{login} for me now; this changes it." if login else "",
        parts=(
            Part(
                "",
                f"{said} GitHub then tells me who wrote it, and I ask you here whether that is you. Give the code "
                f"to nobody.{more}",
                is_for_asker=True,
            ),
        ),
    )


def not_set_up() -> Reply:
    return Reply(Mood.REFUSED, NOT_CONNECTED, "Slack is not set up on this server.")


def unknown_code() -> Reply:
    return Reply(Mood.REFUSED, NOT_CONNECTED, f"I know no such code, or its {WITHIN} are over. {_AGAIN}")


def used_code() -> Reply:
    return Reply(Mood.REFUSED, NOT_CONNECTED, f"That code was used already. {_AGAIN}")


def proved(connect: Connect, login: str, told: bool) -> Reply:
    """On GitHub: the login is known, the Slack user has still to say yes."""
    ask = (
        "I have asked them there to confirm it."
        if told
        else "I could not ask them there; they can type `/rollback connect` again."
    )
    return Reply(
        Mood.ACCEPTED if told else Mood.REFUSED,
        "Almost connected.",
        f"The Slack user {inline(connect.user_name or connect.user_id, 80)} ({inline(connect.user_id, 40)} in "
        f"{inline(connect.team_id, 40)}) asked for this code; once they confirm it, what they order in Slack "
        f"counts as @{login}'s. {ask}",
        "If that is not you, `/rollback connect off` undoes it.",
    )


def is_it_you(connect: Connect, login: str) -> Text:
    """In Slack, to whoever asked for the code: the last word is theirs."""
    said = f"GitHub says that *@{escaped(words(login, 60))}* wrote your code. Is that you?"
    buttons = [(CONNECT_YES, "Yes, that is me", "primary"), (CONNECT_NO, "No", "danger")]
    elements = [
        {
            "type": "button",
            "action_id": action,
            "style": style,
            "text": {"type": "plain_text", "text": label},
            "value": connect.code_hash,
        }
        for action, label, style in buttons
    ]
    return Text(cleaned(said), (section(said), {"type": "actions", "elements": elements}))


def linked(login: str) -> Reply:
    return Reply(
        Mood.ACCEPTED,
        "Connected.",
        f"You are @{login} for me now, and GitHub's role of @{login} decides what you may do.",
        "`/rollback connect off` undoes it.",
    )


def declined() -> Reply:
    return Reply(Mood.ACCEPTED, NOT_CONNECTED, "As you say; nothing was linked.", _AGAIN)


def not_yours() -> Reply:
    return Reply(Mood.REFUSED, NOT_CONNECTED, f"That question is not open, or it is not yours. {_AGAIN}")


def unlinked(was_linked: bool) -> Reply:
    if was_linked:
        return Reply(Mood.ACCEPTED, "Disconnected.", "From now on you may only read in Slack.")
    return Reply(Mood.ACCEPTED, "Not connected.", "There was nothing to undo.")


def unlinked_login(login: str, count: int) -> Reply:
    what = "one Slack user" if count == 1 else f"{count:d} Slack users"
    if count:
        return Reply(
            Mood.ACCEPTED, "Disconnected.", f"{what.capitalize()} no longer act as @{prose(login, 60)}."
        )
    return Reply(Mood.ACCEPTED, "Not connected.", f"No Slack user acts as @{prose(login, 60)}.")
