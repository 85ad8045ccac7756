"""Pushing one revert: the branch moves from the head we built on to our commit, or not at all.

The push carries a lease on that head, a compare-and-swap on the server: our commit is a child of it, so the
lease can never rewind anything, and a branch that was reset meanwhile is not fast-forwarded back over the
reset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bot.git_door import NETWORK_S, NO_INDEX, Answer, Credential, GitDoor, GitTimedOut
from bot.git_names import git_sentence, shown

_RESULT = re.compile(r"^([ +\-*=!])\t([^\t]*)\t(.*)$")
_RACE = re.compile(
    r"\[rejected\]|cannot lock ref|failed to update ref|incorrect old value|reference already exists|"
    r"remote ref updated since checkout|but expected",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"returned error: (?:401|403|404)|Authentication failed|could not read Username|Permission (?:to|denied)|"
    r"Repository not found|repository '.*' not found|transport '.*' not allowed|does not appear to be a git",
    re.IGNORECASE,
)


class PushEnd(StrEnum):
    """How a push ended. BROKEN: nobody knows whether it arrived, look for the trace."""

    ACCEPTED = "accepted"
    RACED = "raced"
    REJECTED = "rejected"
    DENIED = "denied"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Pushed:
    """The end of a push and what the server (or git) said about it, cleaned, as one line."""

    end: PushEnd
    sentence: str = ""


def push(
    door: GitDoor,
    git_dir: Path,
    url: str,
    sha: str,
    branch: str,
    expected: str | None,
    credential: Credential | None,
    keep_open: tuple[int, ...] = (),
    as_person: bool = False,
) -> Pushed:
    """Push `sha` to `branch`, which must stand at `expected` (None: must not exist). Never rewinds.

    Repeating it is safe: the second time the lease no longer matches, or everything is up to date."""
    ref = f"refs/heads/{branch}"
    try:
        answer = door.run(
            "push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-recurse-submodules",
            "--no-signed", f"--force-with-lease={ref}:{expected or ''}",
            "--end-of-options", url, f"{sha}:{ref}",
            git_dir=git_dir, ok=(), timeout_s=NETWORK_S, credential=credential, keep_open=keep_open,
            env={"GIT_INDEX_FILE": NO_INDEX}, as_person=as_person,
        )  # fmt: skip
    except GitTimedOut as slow:
        return Pushed(PushEnd.BROKEN, slow.reason)
    return read_push(answer, ref)


def read_push(answer: Answer, ref: str) -> Pushed:
    """The end of a push from git's `--porcelain` output, its exit code, and the server's lines on stderr."""
    for line in answer.text.splitlines():
        match = _RESULT.match(line)
        if not match or match[2].rpartition(":")[2] != ref:
            continue
        flag, summary = match[1], match[3]
        if flag != "!":
            return Pushed(PushEnd.ACCEPTED)
        if "remote failure" in summary:
            return Pushed(PushEnd.BROKEN, shown(summary, limit=300))
        said = server_sentence(answer.err)
        if _RACE.search(summary) or (said and re.search(r"cannot lock ref .* but expected", said)):
            return Pushed(PushEnd.RACED, shown(summary, limit=300))
        return Pushed(PushEnd.REJECTED, said or shown(summary, limit=300))
    sentence = server_sentence(answer.err) or git_sentence(answer.err)
    if _DENIED.search(answer.err):
        return Pushed(PushEnd.DENIED, sentence)
    return Pushed(PushEnd.BROKEN, sentence)


def server_sentence(err: str) -> str:
    """What the server said (`remote: …` lines), without git's own, at most 500 characters on one line."""
    lines = [line.partition("remote:")[2].strip() for line in err.splitlines() if line.startswith("remote:")]
    lines = [re.sub(r"^(?:error|fatal): ", "", line) for line in lines if line.strip(" -=*#")]
    return shown(" ".join(lines), limit=500)
