"""The grammar of `/rollback …`: a comment's first line, or Slack's text, into a command, or why it is none.

One grammar for GitHub and Slack. Nothing here raises, whatever is typed, and nothing that is not understood
to the last word becomes a command. What each command does and who may give it is decided elsewhere.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from dataclasses import dataclass
from typing import Final

MENTION: Final = "/rollback"
MOST_CHARS: Final = 1_000
"""A command is one line that a person types; a longer one is not read any further."""
MOST_REASON_CHARS: Final = 300
MOST_ENVIRONMENT_CHARS: Final = 255
SHORTEST_S: Final = 60.0
LONGEST_S: Final = 30 * 86_400.0

USAGE: Final = """\
/rollback [--env E] [--reason "…"] [--dry-run]   revert this merged pull request
/rollback approve · cancel                       decide a pending question
/rollback hold [2h] [--repo] · resume [--repo]   watch and report, never act
/rollback freeze [2h] --reason "…" · unfreeze    stop merges to the branch
/rollback reland                                 bring the change back as a draft pull request
/rollback logs · status · why · help             read"""
SLACK_USAGE: Final = """\
/rollback owner/name#42 [--env E] [--reason "…"] [--dry-run]   revert this merged pull request
/rollback owner/name#42 approve · cancel                       decide a pending question
/rollback owner/name#42 hold [2h] [--repo] · resume [--repo]   watch and report, never act
/rollback owner/name#42 freeze [2h] --reason "…" · unfreeze    stop merges to the branch
/rollback owner/name#42 reland                                 bring the change back
/rollback owner/name#42 logs · status · why                    read
/rollback status · help                                        everything that is open; this
/rollback connect [off]                                        say who you are on GitHub"""


@dataclass(frozen=True, slots=True)
class Target:
    """A pull request named in the text (Slack), as `owner/name#42`."""

    repository: str
    number: int


@dataclass(frozen=True, slots=True)
class Command:
    """What was asked. `duration_s` is None where none was given; `whole_repository` is `--repo`; `word` is what
    follows `connect`: the code from Slack in capitals, `off`, or (a button's) `yes` and `no`."""

    verb: str
    environment: str | None = None
    reason: str = ""
    dry_run: bool = False
    duration_s: float | None = None
    whole_repository: bool = False
    target: Target | None = None
    word: str = ""


@dataclass(frozen=True, slots=True)
class Misunderstood:
    """Meant for the bot but not understood. `why` is a sentence that repeats nothing of what was typed; the
    answer is that and the usage."""

    why: str


@dataclass(frozen=True, slots=True)
class _Verb:
    options: frozenset[str]
    takes_duration: bool = False
    needs_reason: bool = False
    word: re.Pattern[str] | None = None
    needs_word: bool = False


_CODE: Final = re.compile(r"OFF|[A-Z2-7]{5}-[A-Z2-7]{5}", re.ASCII)
_OFF: Final = re.compile(r"OFF", re.ASCII)
_E, _R = "--env", "--reason"
VERBS: Final = {
    "rollback": _Verb(frozenset({_E, _R, "--dry-run"})),
    "approve": _Verb(frozenset({_E, _R})),
    "cancel": _Verb(frozenset({_E, _R})),
    "hold": _Verb(frozenset({_E, _R, "--repo"}), takes_duration=True),
    "resume": _Verb(frozenset({_E, _R, "--repo"})),
    "freeze": _Verb(frozenset({_E, _R}), takes_duration=True, needs_reason=True),
    "unfreeze": _Verb(frozenset({_E, _R})),
    "reland": _Verb(frozenset({_E, _R})),
    "logs": _Verb(frozenset({_E})),
    "status": _Verb(frozenset({_E})),
    "why": _Verb(frozenset({_E})),
    "help": _Verb(frozenset()),
}
COMMENT_VERBS: Final = VERBS | {"connect": _Verb(frozenset(), word=_CODE, needs_word=True)}
SLACK_VERBS: Final = VERBS | {"connect": _Verb(frozenset(), word=_OFF)}
"""`connect` begins in Slack, which gives a code; the comment with the code proves who is who on GitHub."""
_FLAGS: Final = frozenset({"--dry-run", "--repo"})
_DURATION: Final = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?", re.ASCII)
_ENVIRONMENT: Final = re.compile(r'[^\s`$<>"\\-][^`$<>"\\]*')
"""GitHub takes nearly any name (`Production – shop`, `eu/west [blue]`); it is only ever compared with those that
were deployed. Left out is what no quotation could carry, or what looks like an option, a shell or HTML."""
_TARGET: Final = re.compile(r"([A-Za-z0-9][\w-]{0,99}/[\w.-]{1,100})#([1-9]\d{0,9})", re.ASCII)
# What keyboards and chat programs make of straight quotation marks and of two hyphens.
_QUOTATION_MARKS: Final = str.maketrans(dict.fromkeys("“”„‟", '"'))
_JOINER: Final = "\u200d"
"""Stands inside many emoji, which a reason may have."""
_LONG_DASH: Final = re.compile(r"(?<=\s)[—–](?=[a-z])")


class _Wrong(Exception):
    """Carries the sentence out of the parsing; never leaves this module."""


def parse_comment(body: str) -> Command | Misunderstood | None:
    """The command in a GitHub comment; None where the comment does not speak to the bot.

    Only the first line counts, and only if the comment begins with `/rollback`: what stands in a quotation,
    in code or further down is somebody talking about a command."""
    if not body.startswith(MENTION):
        return None
    line = re.split(r"[\r\n]", body[: MOST_CHARS + 1], maxsplit=1)[0]
    rest = line[len(MENTION) :]
    if rest and not _is_space(rest[0]):
        return None
    return _understood(rest, COMMENT_VERBS, with_target=False)


def parse_slack(text: str) -> Command | Misunderstood:
    """The command in what was typed behind Slack's `/rollback`, which may begin with `owner/name#42`."""
    return _understood(text, SLACK_VERBS, with_target=True)


def _is_space(char: str) -> bool:
    return char == "\t" or unicodedata.category(char) == "Zs"


def _said(verb: str) -> str:
    return MENTION if verb == "rollback" else f"{MENTION} {verb}"


def _understood(text: str, verbs: dict[str, _Verb], *, with_target: bool) -> Command | Misunderstood:
    if len(text) + len(MENTION) > MOST_CHARS:
        return Misunderstood(f"A command is at most {MOST_CHARS:,} characters long.")
    text = "".join(" " if _is_space(char) else char for char in text.translate(_QUOTATION_MARKS))
    text = _LONG_DASH.sub("--", text)
    if any(unicodedata.category(char)[0] == "C" and char != _JOINER for char in text):
        return Misunderstood("There are invisible characters in the command. Type it instead of pasting it.")
    try:
        words = shlex.split(text)
    except ValueError:
        return Misunderstood(
            'A quotation mark is not closed. Write a reason like this: --reason "it is slow".'
        )
    try:
        target = _take_target(words) if with_target else None
        return _command(words, verbs, target)
    except _Wrong as wrong:
        return Misunderstood(str(wrong))


def _take_target(words: list[str]) -> Target | None:
    found = _TARGET.fullmatch(words[0]) if words else None
    if found is None:
        return None
    del words[0]
    return Target(found[1], int(found[2]))


def _command(words: list[str], verbs: dict[str, _Verb], target: Target | None) -> Command:
    verb = "rollback"
    if words and not words[0].startswith("-"):
        verb = words.pop(0)
        if verb == "rollback" or verb not in verbs:
            raise _Wrong("I do not know that command.")
    grammar = verbs[verb]
    word = _word(words, grammar)
    options, durations = _options(words, verb, grammar)
    if len(durations) > 1:
        raise _Wrong("There are two durations; give one.")
    if grammar.needs_reason and not options.get(_R):
        raise _Wrong(f'`{_said(verb)}` needs a reason: --reason "why".')
    return Command(
        verb,
        environment=options.get(_E),
        reason=options.get(_R, ""),
        dry_run="--dry-run" in options,
        duration_s=durations[0] if durations else None,
        whole_repository="--repo" in options,
        target=target,
        word=word,
    )


def _word(words: list[str], grammar: _Verb) -> str:
    """The one word that `connect` takes, as it is meant: `OFF` → `off`, a code in capitals."""
    if grammar.word is None or (not words and not grammar.needs_word):
        return ""
    given = words.pop(0).upper() if words else ""
    if grammar.word.fullmatch(given) is None:
        raise _Wrong(
            "`/rollback connect` in Slack gives you the code to write here."
            if grammar.needs_word
            else "The only word after `connect` is `off`."
        )
    return "off" if given == "OFF" else given


def _options(words: list[str], verb: str, grammar: _Verb) -> tuple[dict[str, str], list[float]]:
    """Options by name and the durations among the other words; every word must be one of them."""
    options: dict[str, str] = {}
    durations: list[float] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-"):
            durations.append(_duration(word, verb, grammar))
            continue
        name, given, value = word.partition("=")
        if name not in grammar.options:
            known = ", ".join(f"`{option}`" for option in sorted(grammar.options)) or "no option"
            raise _Wrong(f"`{_said(verb)}` takes {known}, and nothing else that begins with a hyphen.")
        if name in options:
            raise _Wrong(f"`{name}` is there twice.")
        if name in _FLAGS:
            if given:
                raise _Wrong(f"`{name}` takes no value.")
        elif not given:
            value = waiting.pop(0) if waiting and not waiting[0].startswith("-") else ""
        options[name] = _checked(name, value)
    return options, durations


def _checked(name: str, value: str) -> str:
    value = " ".join(value.split())
    if name in _FLAGS:
        return value
    if not value:
        raise _Wrong(f"`{name}` needs a value.")
    if name == _R and len(value) > MOST_REASON_CHARS:
        raise _Wrong(f"A reason is at most {MOST_REASON_CHARS} characters long.")
    if name == _E and not (len(value) <= MOST_ENVIRONMENT_CHARS and _ENVIRONMENT.fullmatch(value)):
        raise _Wrong("That is no name of an environment.")
    return value


def _duration(word: str, verb: str, grammar: _Verb) -> float:
    """`2h`, `30m`, `1d` or `1d12h` in seconds, from a minute to thirty days."""
    if not grammar.takes_duration:
        hint = ' A reason stands in quotation marks: --reason "it is slow".' if _R in grammar.options else ""
        raise _Wrong(f"There is a word too many after `{_said(verb)}`.{hint}")
    found = _DURATION.fullmatch(word)
    if found is None or not any(found.groups()):
        raise _Wrong("I do not know that word; a duration is like `30m`, `2h` or `1d`.")
    days, hours, minutes = (int(part or 0) for part in found.groups())
    seconds = days * 86_400.0 + hours * 3_600.0 + minutes * 60.0
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise _Wrong("A duration is from 1m to 30d.")
    return seconds
