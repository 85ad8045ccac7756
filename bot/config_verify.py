"""Reads the `verify:` section in force for an environment into the verifications that a reland carries."""

from __future__ import annotations

import json
from typing import Any

from bot.config_model import VerifySection
from policies.verifications import BootLogCheck, ImageCheck, SmokeCheck, Verifications

PARTS = ("image", "boot_log", "smoke", "env")


def verifications_of(parts: dict[str, Any]) -> Verifications | None:
    """`parts`: the section's keys with their values as the layers left them; None where there are none."""
    if not parts:
        return None
    section = VerifySection.model_validate(parts)
    image, boot_log, smoke = section.image, section.boot_log, section.smoke
    return Verifications(
        image=ImageCheck(image.file, tuple(image.contains)) if image else None,
        boot_log=BootLogCheck(tuple(boot_log.contains), tuple(boot_log.never)) if boot_log else None,
        smoke=SmokeCheck(
            smoke.method,
            smoke.path,
            None if smoke.body is None else json.dumps(smoke.body, ensure_ascii=False),
            smoke.expect.status,
            smoke.expect.jmespath,
        )
        if smoke
        else None,
        env=tuple(section.env or ()),
    )
