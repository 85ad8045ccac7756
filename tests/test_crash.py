"""Crash evidence: what a look at the container proves, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.crash import crash_evidence
from policies.facts import Diagnosis, RevertHelps
from tests.fakes import EVIDENCE

SETTING = EVIDENCE.diagnosis
UNKNOWN = Diagnosis("unknown", "Error: boom", "Look.", RevertHelps.MAYBE)
WRAPPER = Diagnosis("wrapper", "Worker failed to boot.", "Look above it.", RevertHelps.MAYBE)

ROWS = [
    (
        "a fatal signature in the log of a dead container",
        {},
        "crash",
        "stagelog-api exited with 1 and its log says that a Django setting is missing or wrong",
    ),
    (
        "two exits say it without a log",
        {"exit_code": 1, "restarts": 1, "diagnosis": None},
        "crash",
        "exited 2 times",
    ),
    (
        "restarts alone say it",
        {"exit_code": None, "restarts": 2, "diagnosis": None},
        "crash",
        "exited 2 times",
    ),
    ("one exit without a cause", {"restarts": 0, "diagnosis": None}, "none", "shows no crash"),
    ("a line that merely looks like an error", {"diagnosis": UNKNOWN}, "none", "shows no crash"),
    ("a wrapper names no cause", {"diagnosis": WRAPPER}, "none", "shows no crash"),
    ("an end in order", {"exit_code": 0}, "none", "shows no crash"),
    ("it still runs, whatever its log says", {"exit_code": None, "restarts": 0}, "none", "shows no crash"),
]


@pytest.mark.parametrize(("story", "changes", "status", "said"), ROWS, ids=[row[0] for row in ROWS])
def test_what_proves_a_crash(story: str, changes: dict[str, object], status: str, said: str) -> None:
    verdict = crash_evidence(replace(EVIDENCE, **changes))
    assert verdict.status == status and said in verdict.reason, story
    assert verdict.limit == 2.0
