"""May this person do that? Compares the role GitHub names with the least role that a verb needs.

Roles are the `role_name` of GitHub's collaborator permission API. Its older `permission` field folds
`maintain` into `write` and `triage` into `read`, so it cannot tell who may freeze.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from policies.facts import Verdict

ROLES: Final = ("none", "read", "triage", "write", "maintain", "admin")
"""From the least to the most."""
READING: Final = frozenset({"status", "why", "help"})
_KEY_OF_VERB: Final = {
    "rollback": "rollback",
    "reland": "rollback",
    "approve": "approve",
    "cancel": "approve",
    "hold": "hold",
    "resume": "hold",
    "freeze": "freeze",
    "unfreeze": "freeze",
}
_LEAST_BY_DEFAULT: Final = {"rollback": "write", "approve": "write", "hold": "write", "freeze": "maintain"}
_REFUSED: Final = {
    "rollback": "Not rolled back.",
    "reland": "Not relanded.",
    "approve": "Not approved.",
    "cancel": "Not cancelled.",
    "hold": "Not held.",
    "resume": "Not resumed.",
    "freeze": "Not frozen.",
    "unfreeze": "Not unfrozen.",
    "logs": "Not shown.",
}
_LOGIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?(?:_[A-Za-z0-9]{1,40})?")


class Permission(StrEnum):
    """The answer: a refusal is a value, never an exception."""

    ALLOWED = "allowed"
    REFUSED = "refused"


def needed(verb: str, permissions: tuple[tuple[str, str], ...], *, whole_repository: bool = False) -> str:
    """The least role for `verb` under a plan's `permissions`; `whole_repository` is `--repo`, a kill switch.

    The kill switch needs `maintain` at least, whatever is configured for holds. A verb that nobody knows
    needs `admin`."""
    if verb in READING:
        return "read"
    if verb == "logs":
        return "write"
    key = _KEY_OF_VERB.get(verb)
    if key is None:
        return "admin"
    role = dict(permissions).get(key, _LEAST_BY_DEFAULT[key])
    return max(role, "maintain", key=_rank) if whole_repository and role in ROLES else role


def may(verb: str, role: str | None, required: str, login: str | None = None) -> Verdict:
    """Whether somebody with `role` may do what needs `required`; `number` and `limit` are the roles' ranks.

    `role` is None where it could not be read, and that is refused, as is any name that is no role. The reason
    is the reply to write: the result, why, and what to do next."""
    who = f"@{login}" if login and _LOGIN.fullmatch(login) else "You"
    result = f"**{_REFUSED.get(verb, 'Not done.')}**"
    if required not in ROLES:
        return _refusal(
            f"{result} The configuration asks for a role that does not exist: correct `permissions`."
        )
    if role is None or role not in ROLES:
        whose = "your" if who == "You" else f"{who}'s"
        unread = f"I could not read {whose} role, and without it I refuse."
        return _refusal(f"{result} {unread} Try again, or ask a maintainer.")
    number, limit = float(_rank(role)), float(_rank(required))
    said = f"{_has(who, role)}; this needs `{required}`."
    if number >= limit:
        return Verdict(Permission.ALLOWED, said, "permission", number, limit)
    instead = ", or read the evidence with `/rollback why`" if number >= _rank("read") else ""
    reason = f"{result} {said} Ask a maintainer{instead}."
    return Verdict(Permission.REFUSED, reason, "permission", number, limit)


def _refusal(reason: str) -> Verdict:
    return Verdict(Permission.REFUSED, reason, "permission")


def _has(who: str, role: str) -> str:
    have = "have" if who == "You" else "has"
    return f"{who} {have} no role here" if role == "none" else f"{who} {have} `{role}`"


def _rank(role: str) -> int:
    return ROLES.index(role)
