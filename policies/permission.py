"""May this person do that? Compares the role GitHub names, and teams, with who a verb is for.

Roles are the `role_name` of GitHub's collaborator permission API. Its older `permission` field folds
`maintain` into `write` and `triage` into `read`, so it cannot tell who may freeze. An organization's custom role
has a name of its own there, which no ranking knows: it counts only where the configuration names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from policies.facts import Verdict

ROLES: Final = ("none", "read", "triage", "write", "maintain", "admin")
"""From the least to the most."""
READING: Final = frozenset({"status", "why", "help"})
TEAM: Final = re.compile(r"@([A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})")
"""`@org/team-slug`, as in CODEOWNERS."""
CUSTOM_ROLE: Final = re.compile(r"role:(\S(?:[^\x00-\x1f]{0,98}\S)?)")
"""`role:Release captain`: a custom role by its name."""
KEYS: Final = ("rollback", "approve", "hold", "freeze", "reland", "cancel", "resume", "unfreeze", "logs")
"""What `permissions:` may name; the last five follow another key, or are for `write`, where they are not named."""
_FOLLOWS: Final = {"reland": "rollback", "cancel": "approve", "resume": "hold", "unfreeze": "freeze"}
_LEAST_BY_DEFAULT: Final = {
    "rollback": "write",
    "approve": "write",
    "hold": "write",
    "freeze": "maintain",
    "logs": "write",
}
NOT_DONE: Final = {
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
LOGIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?(?:_[A-Za-z0-9]{1,40})?")


class Permission(StrEnum):
    """The answer: a refusal is a value, never an exception."""

    ALLOWED = "allowed"
    REFUSED = "refused"


def needed(
    verb: str, permissions: tuple[tuple[str, str], ...], *, whole_repository: bool = False
) -> tuple[str, ...]:
    """Who may say `verb` under a plan's `permissions` (pairs of key and allowance; a key may stand there several
    times): roles, teams, custom roles, of which one is enough. `whole_repository` is `--repo`, a kill switch.

    The kill switch needs `maintain` at least, whatever is configured for holds. A verb that nobody knows
    needs `admin`."""
    if verb in READING:
        return ("read",)
    if verb not in KEYS:
        return ("admin",)
    allowed: tuple[str, ...] = ()
    key: str | None = verb
    while key is not None and not allowed:
        allowed = tuple(allowance for named, allowance in permissions if named == key)
        allowed = allowed or ((_LEAST_BY_DEFAULT[key],) if key in _LEAST_BY_DEFAULT else ())
        key = _FOLLOWS.get(key)
    if not whole_repository or not all(_is_allowance(one) for one in allowed):
        return allowed
    return (
        max(
            min((one for one in allowed if one in ROLES), key=_rank, default="maintain"),
            "maintain",
            key=_rank,
        ),
    )


def teams_in(required: Iterable[str]) -> tuple[str, ...]:
    """The teams that `required` names, as `org/slug`."""
    found = (TEAM.fullmatch(one) for one in required)
    return tuple(team[1] for team in found if team)


def may(
    verb: str,
    role: str | None,
    required: tuple[str, ...],
    login: str | None = None,
    teams: tuple[tuple[str, bool | None], ...] = (),
) -> Verdict:
    """Whether somebody with `role` may do what `required` (from `needed`) is for; `number` and `limit` are ranks.

    `role` is None where it could not be read, and that is refused, whatever else is known. `teams`: of each team
    asked about, whether they are in it, None where that could not be read. The reason is the reply to write: the
    result, why, and what to do next."""
    who = f"@{login}" if login and LOGIN.fullmatch(login) else "You"
    result = f"**{NOT_DONE.get(verb, 'Not done.')}**"
    if not required or not all(_is_allowance(one) for one in required):
        return _refusal(
            f"{result} The configuration asks for a role that does not exist: correct `permissions`."
        )
    if role is None or (role not in ROLES and not _is_custom(role)):
        whose = "your" if who == "You" else f"{who}'s"
        why = f"I could not read {whose} role, and without it I refuse."
        return _refusal(f"{result} {why} Try again, or ask a maintainer.")
    least = min((one for one in required if one in ROLES), key=_rank, default=None)
    limit = None if least is None else float(_rank(least))
    if role not in ROLES:
        number = None
        is_enough = _is_named(role, required) or (verb in READING and "read" in required)
    else:
        number = float(_rank(role))
        is_enough = limit is not None and number >= limit
    can_see = role not in ROLES or _rank(role) >= _rank("read")
    is_enough = is_enough or (can_see and any(is_in for _, is_in in teams))
    said = f"{_has(who, role)}; this needs {_needs(required)}."
    if is_enough:
        return Verdict(Permission.ALLOWED, said, "permission", number, limit)
    unread = tuple(team for team, is_in in teams if is_in is None)
    instead = ", or read the evidence with `/rollback why`" if can_see else ""
    reason = f"{result} {said}{_unread(who, unread)}{_of_custom(role)} Ask a maintainer{instead}."
    return Verdict(Permission.REFUSED, reason, "permission", number, limit)


def _refusal(reason: str) -> Verdict:
    return Verdict(Permission.REFUSED, reason, "permission")


def _is_allowance(text: str) -> bool:
    return text in ROLES or TEAM.fullmatch(text) is not None or CUSTOM_ROLE.fullmatch(text) is not None


def _is_custom(role: str) -> bool:
    """Whether that can be a custom role's name: a name, and not one of GitHub's own in another spelling."""
    return CUSTOM_ROLE.fullmatch(f"role:{role}") is not None and role.strip().casefold() not in ROLES


def _is_named(role: str, required: tuple[str, ...]) -> bool:
    named = (CUSTOM_ROLE.fullmatch(one) for one in required)
    return any(found[1].casefold() == role.casefold() for found in named if found)


def _needs(required: tuple[str, ...]) -> str:
    """`maintain`, the team `acme/oncall` or the role `Release captain`; a mention would call the whole team."""
    named = []
    for one in required:
        team, custom = TEAM.fullmatch(one), CUSTOM_ROLE.fullmatch(one)
        if team:
            named.append(f"the team `{team[1]}`")
        else:
            named.append(f"the custom role {_shown(custom[1])}" if custom else f"`{one}`")
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} or {named[-1]}"


def _unread(who: str, teams: tuple[str, ...]) -> str:
    if not teams:
        return ""
    listed = ", ".join(f"`{team}`" for team in teams)
    are = "you are" if who == "You" else f"{who} is"
    return (
        f" I could not read whether {are} in {listed}, and without that I refuse (an App needs the "
        "organization permission *Members: read*)."
    )


def _of_custom(role: str) -> str:
    if role in ROLES:
        return ""
    return (
        f" {_shown(role)} is a custom role, which I cannot compare; "
        '`permissions` in `.github/rollback.yml` can name it as "role:…".'
    )


def _has(who: str, role: str) -> str:
    have = "have" if who == "You" else "has"
    return f"{who} {have} no role here" if role == "none" else f"{who} {have} {_shown(role)}"


def _shown(name: str) -> str:
    """A role's name in a code span; what would end the span is left out."""
    return f"`{name.replace('`', '')}`"


def _rank(role: str) -> int:
    return ROLES.index(role)
