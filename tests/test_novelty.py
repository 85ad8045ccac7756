"""Which lines of a log are new since the deploy."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from policies.novelty import new_lines, template

BEFORE = """2026-03-01T09:00:00Z INFO Starting gunicorn 23.0.0
2026-03-01T09:00:01Z INFO Booting worker with pid: 7
10.0.0.1 - - "GET /health/ HTTP/1.1" 200 2
request 6f1c2d3e-1a2b-4c3d-8e9f-0123456789ab took 12 ms"""


def test_the_lines_that_the_deploy_brought() -> None:
    after = """2026-03-01T10:00:00Z INFO Starting gunicorn 23.0.1
2026-03-01T10:00:01Z INFO Booting worker with pid: 4711
10.0.0.9 - - "GET /health/ HTTP/1.1" 200 2
request 11112222-3333-4444-5555-666677778888 took 9134 ms
WARNING uploads: bucket is not set
WARNING uploads: bucket is not set
KeyError: 'S3_UPLOAD_BUCKET'"""

    assert new_lines(BEFORE, after) == ("WARNING uploads: bucket is not set", "KeyError: 'S3_UPLOAD_BUCKET'")


def test_without_a_log_from_before_nothing_is_called_new() -> None:
    assert new_lines("", "KeyError: 'X'") == ()
    assert new_lines(BEFORE, "") == ()


def test_values_do_not_make_a_template() -> None:
    assert template("user 12 at 10.0.0.1:5432 in 0.12s") == template("user 7 at 192.168.0.1:80 in 13.5s")
    assert template("a /x/y.py b") == template("a /z/1.py b")
    assert template("commit 4f2a9c1d0b3e") == template("commit 9d8c7b6a5f4e")
    assert template("cannot read file") != template("cannot write file")


@given(st.lists(st.text(max_size=60), max_size=30), st.integers())
def test_the_same_lines_in_another_order_are_not_new(lines: list[str], seed: int) -> None:
    shuffled = list(lines)
    random.Random(seed).shuffle(shuffled)

    assert new_lines("\n".join(lines), "\n".join(shuffled)) == ()


@given(st.text(max_size=500), st.text(max_size=500), st.integers(min_value=1, max_value=5))
def test_no_more_than_asked_for(before: str, after: str, at_most: int) -> None:
    found = new_lines(before, after, at_most)

    assert len(found) <= at_most and all(line in after for line in found)
