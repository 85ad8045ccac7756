"""Hypothesis strategies for any fact of policies.facts, drawn from its type annotations."""

from __future__ import annotations

import dataclasses
import types
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

FINITE = st.floats(allow_nan=False, allow_infinity=False)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    float: FINITE,
    int: st.integers(-(2**53), 2**53),
    bool: st.booleans(),
    str: st.text(max_size=20),
    type(None): st.none(),
}


@cache
def facts(kind: Any) -> st.SearchStrategy[Any]:
    """Values of `kind`: a fact, an enumeration, a plain type, a union or a tuple of these."""
    if kind in PLAIN:
        return PLAIN[kind]
    if get_origin(kind) in (Union, types.UnionType):
        return st.one_of([facts(part) for part in reversed(get_args(kind))])
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if parts[-1] is Ellipsis:
            return st.lists(st.deferred(lambda: facts(parts[0])), max_size=2).map(tuple)
        return st.tuples(*map(facts, parts))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(
            kind, **{f.name: st.deferred(lambda t=hints[f.name]: facts(t)) for f in dataclasses.fields(kind)}
        )
    raise TypeError(f"no strategy for {kind}")
