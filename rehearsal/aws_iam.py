"""Decides calls as IAM does: an explicit deny, else an allow for everything that the call touches, else denied.

Knows what the policies of docs/ are written with and refuses to guess about the rest, so that a policy which reads
differently in AWS cannot pass here. Order and matching: "Policy evaluation logic" and "IAM JSON policy elements"
in IAM's user guide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

Json = dict[str, Any]

ELEMENTS: Final = frozenset({"Sid", "Effect", "Action", "Resource", "Condition", "Principal"})
_OPERATORS: Final = {
    "StringEquals": lambda wanted, seen: wanted == seen,
    "StringLike": lambda wanted, seen: matches(wanted, seen),
    "ArnEquals": lambda wanted, seen: matches(wanted, seen),
    "ArnLike": lambda wanted, seen: matches(wanted, seen),
}


class UnknownElement(ValueError):
    """The policy is written with something that is not evaluated here."""


@dataclass(frozen=True)
class Touched:
    """A resource of a call by its ARN (`*`: the action has none), with what conditions may ask about it."""

    arn: str
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One call: its IAM action (`ssm:SendCommand`), what it touches, and the keys of the request."""

    action: str
    touched: tuple[Touched, ...]
    keys: Mapping[str, str] = field(default_factory=dict)


def is_allowed(documents: Iterable[Json], call: Call) -> bool:
    """Whether the policies together let `call` through. Raises UnknownElement."""
    statements = [one for document in documents for one in _statements(document)]
    return all(_decide(statements, call, touched) for touched in call.touched)


def is_trusted(document: Json, principal: str, keys: Mapping[str, str]) -> bool:
    """Whether a role's trust policy lets `principal` (ARN) take it on. Raises UnknownElement."""
    call = Call("sts:AssumeRole", (Touched("*"),), keys)
    statements = [
        {**one, "Resource": "*"}
        for one in _statements(document)
        if any(_is_named(each, principal) for each in _listed(one.get("Principal", {}).get("AWS", [])))
    ]
    return _decide(statements, call, call.touched[0])


def _is_named(name: str, principal: str) -> bool:
    """An account's root stands for everyone in it whose own policies allow the call; there are no wildcards."""
    account = principal.split(":")[4]
    return name in ("*", principal, account, f"arn:aws:iam::{account}:root")


def matches(pattern: str, text: str) -> bool:
    """IAM's wildcards: `*` is any run of characters, `?` is any one."""
    return bool(_compiled(pattern).fullmatch(text))


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.compile("".join(parts), re.DOTALL)


def _statements(document: Json) -> list[Json]:
    if document.get("Version") != "2012-10-17" or set(document) - {"Version", "Id", "Statement"}:
        raise UnknownElement(f"not a policy document of version 2012-10-17: {sorted(document)}")
    found = document["Statement"]
    statements = found if isinstance(found, list) else [found]
    for one in statements:
        if unknown := set(one) - ELEMENTS:
            raise UnknownElement(f"{', '.join(sorted(unknown))} is not evaluated here")
        if one.get("Effect") not in ("Allow", "Deny") or "Action" not in one:
            raise UnknownElement(f"a statement needs Effect and Action: {one}")
    return statements


def _decide(statements: list[Json], call: Call, touched: Touched) -> bool:
    speaking = [one["Effect"] for one in statements if _speaks_of(one, call, touched)]
    return "Allow" in speaking and "Deny" not in speaking


def _speaks_of(statement: Json, call: Call, touched: Touched) -> bool:
    action = call.action.lower()
    if not any(matches(one.lower(), action) for one in _listed(statement["Action"])):
        return False
    if not any(matches(one, touched.arn) for one in _listed(statement.get("Resource", []))):
        return False
    keys = {key.lower(): value for key, value in (*call.keys.items(), *touched.keys.items())}
    return all(_holds(operator, asked, keys) for operator, asked in statement.get("Condition", {}).items())


def _holds(operator: str, asked: Json, keys: Mapping[str, str]) -> bool:
    """All keys of one operator must hold; a key that the request does not have holds for nothing."""
    compare = _OPERATORS.get(operator)
    if compare is None:
        raise UnknownElement(f"the condition {operator} is not evaluated here")
    return all(
        key.lower() in keys and any(compare(one, keys[key.lower()]) for one in _listed(wanted))
        for key, wanted in asked.items()
    )


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
