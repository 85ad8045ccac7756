"""What a person asked for and what is answered, as values: the same from a GitHub comment and from Slack."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from policies.chatops import MENTION, Command

GITHUB = "github"
_PLAIN_WORD = re.compile(r"[\w./:@+][\w./:@+-]*")
SLACK = "slack"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `command` is None where it was not understood, and `misunderstood` says why.

    `id` names the request itself, however often and by whichever way it is delivered. `who` is the GitHub
    login whose role counts; empty: known to no account, who may only read. `answer_to` is the place's own address for
    the answer (on GitHub the id of the comment). A place that has accounts of its own names the asker's in
    `account`; `button` is the value of the button that was pressed there, which names what it is about.
    `repository` is empty and `number` 0 where no pull request was named."""

    id: str
    place: str
    who: str
    repository: str
    number: int
    at_s: float
    command: Command | None
    misunderstood: str = ""
    answer_to: str = ""
    account: str = ""
    button: str = ""

    @property
    def where(self) -> str:
        """For people and the audit: `acme/stagelog#42 (github)`."""
        if not self.repository:
            return self.place
        number = f"#{self.number}" if self.number else ""
        return f"{self.repository}{number} ({self.place})"

    @property
    def by(self) -> str:
        """Who asked, for the audit: a GitHub login, and the account of the place where it has its own."""
        who = self.who or "somebody"
        return f"{who} ({self.place} {self.account})" if self.account else who


@dataclass(frozen=True, slots=True)
class PullHead:
    """The newest commit of an open pull request, and the branch that it wants to go to."""

    repository: str
    number: int
    base: str
    sha: str


class Mood(StrEnum):
    """How a request ended, as a reaction can say it."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    CONFUSED = "confused"


@dataclass(frozen=True, slots=True)
class Part:
    """A longer piece of an answer: Markdown, or (`is_log`) foreign text that is shown as it is in a block.

    `is_for_asker`: words of ours that only the asker may see and that look like a secret (a link that signs
    something): not redacted, and never written down."""

    title: str
    text: str
    is_log: bool = False
    is_for_asker: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: the result in two or three words, why, what to do next, and what may be folded away.

    `why` and `next` are Markdown in which foreign words are already harmless."""

    mood: Mood
    result: str
    why: str = ""
    next: str = ""
    parts: tuple[Part, ...] = ()
    incident_id: str | None = None


def spoken(command: Command) -> str:
    """The command as it would be typed, for the audit: `/rollback hold 2h --repo`."""
    words = [MENTION] if command.verb == "rollback" else [MENTION, command.verb]
    if command.duration_s is not None:
        words.append(short_duration(command.duration_s))
    if command.environment is not None:
        words += ["--env", _quoted(command.environment)]
    if command.reason:
        words += ["--reason", _quoted(command.reason)]
    words += ["--dry-run"] if command.dry_run else []
    words += ["--repo"] if command.whole_repository else []
    words += [command.word] if command.word in ("off", "yes", "no") else []
    return " ".join(words)


def short_duration(seconds: float) -> str:
    """`5400` → `1h30m`, as it is typed."""
    minutes = max(1, round(seconds / 60))
    parts = ((minutes // 1440, "d"), (minutes % 1440 // 60, "h"), (minutes % 60, "m"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)


def _quoted(text: str) -> str:
    if _PLAIN_WORD.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
