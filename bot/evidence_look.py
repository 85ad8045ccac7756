"""What one look at one place (a host, an ECS service, a log group) brought, raw and not yet cleaned."""

from __future__ import annotations

from dataclasses import dataclass

from policies.facts import LayerStatus


@dataclass(frozen=True, slots=True)
class Look:
    """`where` was looked at; `host` and `container` are what the runbook's second and third layer say of it.

    `says` are lines beside the log that can tell the cause (a stop reason, docker's own error)."""

    where: str
    host: LayerStatus
    host_says: str
    container: LayerStatus = LayerStatus.UNKNOWN
    container_says: str = ""
    details: tuple[str, ...] = ()
    name: str | None = None
    status: str | None = None
    exit_code: int | None = None
    restarts: int | None = None
    image: str | None = None
    log: str = ""
    says: tuple[str, ...] = ()


def blind(where: str, reason: str) -> Look:
    """A look that saw nothing, and why."""
    return Look(where, LayerStatus.UNKNOWN, reason, LayerStatus.UNKNOWN, "It could not be looked at.")
