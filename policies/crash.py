"""Is there crash evidence? Two or more container exits, or a fatal boot signature in the log of a dead one."""

from __future__ import annotations

from policies.causes import UNKNOWN, WRAPPER, in_words
from policies.facts import Evidence, Verdict

EXITS = 2
"""One exit may be a deploy replacing its container; a second one of the same container is a crash loop."""
UNKNOWN_CAUSE = frozenset({UNKNOWN, WRAPPER})
"""Diagnoses that name no cause of their own: a line that merely looks like an error is no signature."""
SITE_MAY_BE_UP = frozenset({"host_check"})


def crash_evidence(evidence: Evidence) -> Verdict:
    """`crash` with what proves it, or `none`. A container that runs again after one exit is no proof."""
    exits = (evidence.restarts or 0) + (1 if evidence.exit_code is not None else 0)
    name = evidence.container or "the container"
    if exits >= EXITS:
        return Verdict("crash", f"{name} exited {exits} times", "crash", float(exits), float(EXITS))
    diagnosis = evidence.diagnosis
    died = evidence.exit_code not in (None, 0)
    if died and diagnosis is not None and diagnosis.kind not in UNKNOWN_CAUSE | SITE_MAY_BE_UP:
        reason = f"{name} exited with {evidence.exit_code} and its log says that {in_words(diagnosis.kind)}"
        return Verdict("crash", reason, "crash", float(exits), float(EXITS))
    return Verdict("none", f"{name} shows no crash", "crash", float(exits), float(EXITS))
