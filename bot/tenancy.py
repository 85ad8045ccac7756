"""Holds a repository to what carries its name, where one AWS account serves several teams (`tenancy: tagged`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from policies.limits import Plan

TAG: Final = "rollback-bot"
"""The tag of a target group, an ECS service or a log group whose value names the repository that may read it."""
TRUSTING: Final = "single"


def tenant_of(plan: Plan) -> str | None:
    """The repository that everything read for `plan` must belong to; None where all are trusted.

    Only the word `single` trusts: a plan that names no repository, or a tenancy not known here, reads nothing."""
    return None if plan.tenancy == TRUSTING else plan.repository


def belongs_to(tenant: str | None, tags: Mapping[str, str]) -> bool:
    """Whether what carries `tags` may be read for `tenant`. GitHub's names have no case."""
    if tenant is None:
        return True
    return bool(tenant) and tags.get(TAG, "").strip().casefold() == tenant.casefold()


def not_tagged(tenant: str | None, what: str) -> str:
    """The sentence on `what` ("the target group web") that is not read."""
    return (
        f"{what[0].upper()}{what[1:]} is not read, because it does not carry the tag `{TAG}` = `{tenant}` "
        "(`tenancy: tagged`): have it tagged by whoever runs the AWS account."
    )
