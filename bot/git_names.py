"""Names that may reach a git command, and words of git that may reach a person: both are checked here."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bot.failures import BotFailure

_FULL_SHA = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9_])?/[A-Za-z0-9._-]{1,100}")
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://)[^/\s@]{1,500}@")
_QUERY_TOKEN = re.compile(r"(?i)([?&](?:access_token|private_token|token|key)=)[^&\s'\"]{1,500}")


class BadName(BotFailure):
    """A hash, branch or repository name that must not reach a git command."""


def full_sha(text: str) -> str:
    """`text` if it is a full commit hash, else BadName. Abbreviations and names are refused on purpose."""
    if not _FULL_SHA.fullmatch(text):
        raise BadName(
            f"{shown(text)!r} is not a full commit hash. "
            "Give all 40 characters, as `git rev-parse <commit>` prints them."
        )
    return text


def branch_name(text: str) -> str:
    """`text` if it is a plain branch name (the rules of `git check-ref-format --branch`, and stricter)."""
    bad = (
        not text
        or len(text) > 255
        or text[0] in "-+./"
        or text[-1] in "./"
        or text == "@"
        or text.startswith("refs/")
        or _BAD_IN_REF.search(text)
    )
    if bad:
        raise BadName(f"{shown(text)!r} is not a branch name. Give it as `git branch` lists it.")
    return text


def repository_name(text: str) -> str:
    """`text` if it is `owner/name`."""
    name = text.partition("/")[2]
    if not _REPOSITORY.fullmatch(text) or name in {".", ".."} or name.lower().endswith(".git"):
        raise BadName(f"{shown(text)!r} is not a repository. Give it as owner/name.")
    return text


def shown(text: str, secrets: Iterable[str] = (), limit: int = 2000) -> str:
    """`text` fit to be shown: no control characters, no credentials, not endless."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _QUERY_TOKEN.sub(r"\1***", _USERINFO.sub(r"\1***@", text))
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[:limit] + "…"


def git_sentence(err: str) -> str:
    """The lines of git's standard error that say what went wrong, as one line; never empty."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    telling = [
        line for line in lines if line.startswith(("fatal:", "error:", "remote: error", "remote: fatal"))
    ]
    chosen = [re.sub(r"^(?:fatal|error): ", "", line) for line in (telling or lines[-3:])]
    return shown(" ".join(chosen[:3]), limit=400) or "git said nothing"


def shown_path(path: bytes) -> str:
    """A path of any bytes as text fit for sentences and storage: what is no UTF-8 appears escaped."""
    return path.decode("utf-8", "backslashreplace")
