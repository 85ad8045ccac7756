"""Turns frozen facts into JSON and back: for the database, and for what the engine records between steps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

T = TypeVar("T")

LONE_SURROGATE = re.compile("[\ud800-\udfff]")

Json = Any
"""None, bool, int, finite float, str, list and dict of the same: what `json.loads` returns."""


class NotThisFact(ValueError):
    """The value is not of the type that was named, or holds what JSON cannot carry (NaN, infinity)."""


def encode(value: T, kind: type[T]) -> Json:
    """`value`, a fact (or tuple, mapping, … of facts) of type `kind`, as plain JSON data.

    A lone surrogate, which no database stores, becomes the replacement character; everything else comes
    back unchanged from `decode`. Raises NotThisFact. May be repeated.
    """
    plain, text = _dumped(value, kind)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.loads(LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text))
    return plain


def encode_text(value: T, kind: type[T]) -> str:
    """The same as JSON text, for whoever stores thousands of facts a second. Raises NotThisFact. May be repeated."""
    return LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _dumped(value, kind)[1])


def _dumped(value: T, kind: type[T]) -> tuple[Json, str]:
    try:
        plain = _adapter(kind).dump_python(value, mode="json", warnings="error")
        return plain, json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (PydanticSerializationError, AttributeError, ValueError, TypeError, RecursionError) as error:
        raise NotThisFact(f"{_name(kind)} cannot be written as JSON: {error}") from None


def decode(data: Json, kind: type[T]) -> T:
    """The fact of type `kind` that `encode` wrote.

    Strict: a number is no text and a text no number; a missing key takes the fact's default, an unknown
    one is left out (a worker of the next release may have written it). Raises NotThisFact. May be repeated.
    """
    try:
        text = json.dumps(data, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise NotThisFact(f"This is no {_name(kind)}: {error}.") from None
    return decode_text(text, kind)


def decode_text(text: str, kind: type[T]) -> T:
    """The same from the text that `encode_text` wrote. Raises NotThisFact. May be repeated."""
    try:
        return cast(T, _adapter(kind).validate_json(text, strict=True))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the value"
        raise NotThisFact(f"This is no {_name(kind)}: {where}: {first['msg']}.") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise NotThisFact(f"This is no {_name(kind)}: {error}.") from None


def prepare(kinds: Iterable[Any]) -> None:
    """Build now what `encode` and `decode` need for these kinds of facts: some tens of milliseconds each, which
    the first person to ask would wait for. May be repeated."""
    for kind in kinds:
        _adapter(kind)


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", None) or str(kind)
