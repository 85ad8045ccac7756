"""The four verifications that a repository asks for before a change goes in again: image, boot log, smoke, environment.

They are the runbook's: does the image hold the setting, does the container start cleanly, does the changed path
answer, and is every variable there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """A file of the built image (absolute path) and the texts that must stand in it."""

    file: str
    contains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BootLogCheck:
    """Texts that the container's first log lines must have, and those that none may have."""

    contains: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SmokeCheck:
    """One request and what it must answer; `body` is JSON text, `jmespath` must find something in the answer."""

    method: str
    path: str
    body: str | None = None
    status: int = 200
    jmespath: str | None = None


@dataclass(frozen=True, slots=True)
class Verifications:
    """An environment's `verify:` section; what it does not name is None or empty."""

    image: ImageCheck | None = None
    boot_log: BootLogCheck | None = None
    smoke: SmokeCheck | None = None
    env: tuple[str, ...] = ()
