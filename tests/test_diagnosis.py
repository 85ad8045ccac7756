"""The cause read from logs: what real programs printed, other ways to say it, and logs of services that are well."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cleaning import clean
from policies.diagnosis import diagnose
from policies.facts import RevertHelps
from tests.diagnosis_variants import VARIANTS
from tests.healthy_logs import HEALTHY

LOGS = Path(__file__).resolve().parent / "logs"
RECORDED = sorted(LOGS.glob("*/*.log"))
FAILING = [file for file in RECORDED if file.parent.name != "healthy"]
WELL = [file.read_text() for file in RECORDED if file.parent.name == "healthy"] + list(HEALTHY)
HELPS = {
    "django_setting": "yes",
    "missing_env": "yes",
    "missing_module": "yes",
    "syntax": "yes",
    "wrapper": "maybe",
    "migration": "yes",
    "db_tls": "maybe",
    "db_login": "no",
    "db_down": "no",
    "port_in_use": "no",
    "out_of_memory": "maybe",
    "architecture": "yes",
    "disk_full": "no",
    "host_check": "maybe",
    "unknown": "maybe",
}


@pytest.mark.parametrize("file", FAILING, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_what_real_programs_printed(file: Path) -> None:
    found = diagnose(clean(file.read_bytes()).text)

    assert found is not None
    assert found.kind == file.parent.name
    assert found.line.strip() and found.advice.endswith(".")
    if file.parent.name != "permission":
        assert found.revert_helps.value == HELPS[file.parent.name]


def test_every_class_has_three_recordings_with_their_commands() -> None:
    by_class = {kind: [file for file in FAILING if file.parent.name == kind] for kind in HELPS}

    assert {kind: len(files) for kind, files in by_class.items() if len(files) < 3} == {}
    assert [file.name for file in RECORDED if not file.with_suffix(".cmd").is_file()] == []


@pytest.mark.parametrize(
    ("kind", "helps", "log"), VARIANTS, ids=[f"{v[0]}-{n}" for n, v in enumerate(VARIANTS)]
)
def test_other_ways_to_say_it(kind: str, helps: str, log: str) -> None:
    found = diagnose(log)

    assert found is not None
    assert (found.kind, found.revert_helps.value) == (kind, helps)


@pytest.mark.parametrize("log", WELL, ids=range(len(WELL)))
def test_nothing_is_invented_on_a_healthy_log(log: str) -> None:
    assert diagnose(clean(log).text) is None


def test_there_are_fifty_healthy_logs() -> None:
    assert len(WELL) >= 50


def _compose(log: str) -> str:
    return "\n".join(f"stagelog-api-1  | {line}" for line in log.split("\n"))


def _stamped(log: str) -> str:
    return "\n".join(f"2026-03-01T10:00:00.123456789Z {line}" for line in log.split("\n"))


def _kubernetes(log: str) -> str:
    return "\n".join(f"2026-03-01T10:00:00.123456789Z stderr F {line}" for line in log.split("\n"))


def _docker_json(log: str) -> str:
    return "\n".join(json.dumps({"log": line + "\n", "stream": "stderr"}) for line in log.split("\n"))


@pytest.mark.parametrize("around", [_compose, _stamped, _kubernetes, _docker_json])
def test_what_stands_before_the_lines_changes_no_class(around: object) -> None:
    assert callable(around)
    wrong = []
    for file in FAILING:
        found = diagnose(clean(around(file.read_text())).text)
        if found is None or found.kind != file.parent.name:
            wrong.append(f"{file.parent.name}/{file.stem}: {found and found.kind}")

    assert len(wrong) <= 0.02 * len(FAILING), wrong


def test_an_older_failure_that_was_got_over_is_not_the_cause() -> None:
    log = "KeyError: 'AWS_REGION'\nServer started on port 8080\nValueError: bad colour"

    found = diagnose(log)

    assert found is not None and (found.kind, found.line) == ("unknown", "ValueError: bad colour")


def test_a_dead_program_is_diagnosed_whatever_it_said_before() -> None:
    log = "Error: connect ECONNREFUSED 10.0.0.5:5432\nconnected to the cache"

    assert diagnose(log) is None
    found = diagnose(log, exited=True)
    assert found is not None and found.kind == "db_down"


def test_one_bad_request_among_good_ones_is_no_failure_and_many_are() -> None:
    bad = 'django.db.utils.OperationalError: no such table: a\n"GET /a HTTP/1.1" 500 10'
    good = '"GET / HTTP/1.1" 200 10'

    assert diagnose("\n".join([bad, good, good, good])) is None
    found = diagnose("\n".join([bad, good] * 5))
    assert found is not None and found.kind == "migration"


def test_a_single_warning_is_a_retry_and_three_are_not() -> None:
    warning = "WARNING could not connect: ECONNREFUSED 10.0.0.5:5432"

    assert diagnose(f"INFO starting\n{warning}\nINFO waiting") is None
    found = diagnose("\n".join([warning] * 3))
    assert found is not None and found.revert_helps is RevertHelps.NO


def test_the_line_shown_is_the_sentence_and_not_a_property_of_it() -> None:
    found = diagnose((LOGS / "disk_full" / "node.log").read_text())

    assert found is not None and found.line == "Error: ENOSPC: no space left on device, write"


@given(st.text(max_size=2000))
def test_no_text_makes_it_fail(text: str) -> None:
    found = diagnose(text)

    assert found is None or (found.line.strip() and len(found.line) <= 400)


@given(st.integers(), st.lists(st.sampled_from([file.read_text() for file in FAILING] + WELL), max_size=3))
def test_cut_and_shuffled_logs_make_nothing_fail(seed: int, logs: list[str]) -> None:
    rng = random.Random(seed)
    lines = "\n".join(logs).split("\n")
    rng.shuffle(lines)

    diagnose("\n".join(line[: rng.randrange(1, 120)] for line in lines))
