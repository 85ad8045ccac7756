"""The facts of who may act and who ordered it: switches and rails, and the orders of people and of the policies.

`policies.facts` hands them on, with the other words everyone speaks.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Switch:
    """A hold, freeze or kill switch. One that could not be read is on, and says so."""

    name: str
    on: bool
    reason: str = ""
    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rails:
    """Facts that bound automatic action, read again right before acting."""

    read_at_s: float = 0.0
    switches: tuple[Switch, ...] = ()
    rollbacks_last_hour: int = 0
    rollbacks_last_day: int = 0
    deployed_sha_now: str | None = None
    overlapping_deploys: tuple[str, ...] = ()
    last_rollback_failed: str | None = None


@dataclass(frozen=True, slots=True)
class PersonOrder:
    """Something a person (already checked for permission) asked a running guard to do."""

    verb: str
    actor: str
    at_s: float
    reason: str = ""
    where: str = ""
    id: str = ""
    """The request this came with, so that whoever asked can be told what became of it."""
    pull_request: int | None = None
    """Revert this one only, where a deploy brought several; None: the deploy as a whole."""


@dataclass(frozen=True, slots=True)
class RollbackOrder:
    """The right to push one rollback. Made by `policies.eligibility` alone; everyone else only carries it."""

    incident_id: str
    deploy_id: str
    repository: str
    environment: str
    branch: str
    commits: tuple[str, ...]
    expected_head: str
    ordered_by: str
    reason: str
    good_tree_of: str | None = None
    method: str = "push"
    """`push`, or `pull_request` where the configuration wants a person to merge it."""
