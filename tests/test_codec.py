"""Every fact comes back from JSON as it went in; whatever is no fact is refused in a sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.codec import NotThisFact, decode, encode
from policies import facts as every
from policies import limits
from policies.facts import Deploy, HealthSample, Incident, Moment, ProbeSample, Verdict
from tests.facts_strategies import facts

KINDS = [
    value
    for module in (every, limits)
    for value in vars(module).values()
    if dataclasses.is_dataclass(value) and isinstance(value, type)
]


@settings(deadline=None)
@given(st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), facts(kind))))
def test_every_fact_survives_the_way_through_text(pair: tuple[type, object]) -> None:
    kind, fact = pair
    assert decode(json.loads(json.dumps(encode(fact, kind))), kind) == fact


@given(facts(tuple[HealthSample, ...]), facts(ProbeSample | None))
def test_collections_and_optional_facts_do_too(
    samples: tuple[HealthSample, ...], probe: ProbeSample | None
) -> None:
    assert decode(encode(samples, tuple[HealthSample, ...]), tuple[HealthSample, ...]) == samples
    assert decode(encode(probe, ProbeSample | None), ProbeSample | None) == probe  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"at_s": "1.0", "what": "x"}, "at_s"),
        ({"at_s": True, "what": "x"}, "at_s"),
        ({"at_s": 1.0, "what": 7}, "what"),
        ({"at_s": 1.0}, "what"),
        ({"at_s": float("nan"), "what": "x"}, "JSON"),
        ({"at_s": json.loads("1e999"), "what": "x"}, "JSON"),
        ([1.0, "x"], "object"),
        (None, "object"),
        ({"at_s": 1.0, "what": object()}, "serializable"),
    ],
)
def test_what_is_no_moment_is_refused(data: object, says: str) -> None:
    with pytest.raises(NotThisFact, match=says):
        decode(data, Moment)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_no_data_whatsoever_does_anything_but_decode_or_be_refused(data: object) -> None:
    with contextlib.suppress(NotThisFact):
        assert isinstance(decode(data, Deploy), Deploy)


@pytest.mark.parametrize(
    "fact", [Moment(float("inf"), "x"), Moment(float("nan"), "x"), Moment("soon", "x"), Verdict("a", "b")]
)
def test_what_json_cannot_carry_is_refused_before_it_is_stored(fact: object) -> None:
    with pytest.raises(NotThisFact, match="Moment"):
        encode(fact, Moment)


def test_a_lone_surrogate_of_a_broken_log_becomes_a_replacement_character() -> None:
    back = decode(encode(Moment(1.0, "before \udcff after \x00"), Moment), Moment)
    assert back.what == "before � after \x00"


def test_a_worker_reads_what_the_next_release_wrote_with_one_key_more() -> None:
    assert decode({"at_s": 1.0, "what": "x", "invented_later": [1]}, Moment) == Moment(1.0, "x")


def test_a_worker_reads_what_an_older_release_wrote_with_one_key_less() -> None:
    old = encode(Deploy("1", "a/b", "dev", "c" * 40, "main", None, "webhook", None, 1.0), Deploy)
    del old["workflow"]
    assert decode(old, Deploy).workflow is None
    with pytest.raises(NotThisFact, match=r"Incident: id: Field required"):
        decode({}, Incident)
