"""The sparse way against a plain `git revert -m 1` in a full checkout: outcome, tree and conflicts must be
equal."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.random_histories import make_case
from tests.revert_comparison import compare

QUIET = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    print_blob=True,
)


def check(rng: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        compare(make_case(rng, root / "bare.git"), root)


@settings(QUIET, max_examples=50)
@given(st.randoms(use_true_random=False))
def test_fifty_random_histories_revert_as_in_a_full_checkout(rng: random.Random):
    check(rng)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(QUIET, max_examples=500)
@given(st.randoms(use_true_random=False))
def test_five_hundred_random_histories_revert_as_in_a_full_checkout(rng: random.Random):
    check(rng)
