"""Reads what was sent: at most 25 MB, JSON or form, and a refusal with its status for everything else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from flask import Request, Response
from pydantic_core import SchemaValidator, ValidationError, core_schema, from_json
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

LIMIT_BYTES = 25 * 1024 * 1024
"""GitHub sends no more than 25 MB."""

READ_AT_MOST_BYTES = LIMIT_BYTES + 1
"""One byte more than may come: a stream of unknown length that reaches it is too large."""

NOT_WHOLE = "The body did not arrive whole."
TOO_LARGE = "The payload is larger than 25 MB."
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


class Refused(Exception):
    """The request cannot be used: the status and the sentence to answer with, and headers that help."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.headers = headers or {}


def read_body(request: Request) -> bytes:
    """The raw body, as it was signed. Raises Refused (413, 400) without reading more than the limit."""
    announced = request.content_length
    try:
        if announced is not None and announced > LIMIT_BYTES:
            raise RequestEntityTooLarge
        body = request.get_data(cache=False, parse_form_data=False)
        if len(body) > LIMIT_BYTES:
            raise RequestEntityTooLarge
    except RequestEntityTooLarge:
        raise Refused(413, TOO_LARGE) from None
    except (ClientDisconnected, OSError, ValueError):
        raise Refused(400, NOT_WHOLE) from None
    if announced is not None and len(body) < announced:
        raise Refused(400, NOT_WHOLE)
    return body


def read_object(body: bytes, content_type: str) -> dict[str, Any]:
    """The JSON object in `body`. `content_type` without parameters. Raises Refused (400)."""
    if content_type == FORM:
        body = _payload_of_form(body)
    elif content_type != JSON:
        raise Refused(400, f"Content-Type must be {JSON} or {FORM}.")
    try:
        data = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise Refused(400, f"The body is not valid JSON: {str(error)[:120]}.") from None
    if not isinstance(data, dict):
        raise Refused(400, "The payload must be a JSON object.")
    return data


def is_object(body: bytes) -> bool:
    """Whether `read_object` would take `body` as JSON; told without building what is in it."""
    if b"NaN" in body or b"Infinity" in body:
        # Perhaps words in a text, perhaps numbers that JSON does not know: the validator lets both pass.
        with contextlib.suppress(Refused):
            read_object(body, JSON)
            return True
        return False
    with contextlib.suppress(ValidationError):
        _OBJECT.validate_json(body)
        return True
    return False


_OBJECT = SchemaValidator(core_schema.typed_dict_schema({}, extra_behavior="ignore"))


def _payload_of_form(body: bytes) -> bytes:
    try:
        fields = parse_qs(body.decode("utf-8"), strict_parsing=True, errors="strict", max_num_fields=10)
    except ValueError:
        raise Refused(400, "The form cannot be read; it must be UTF-8 and have the field payload.") from None
    if len(fields.get("payload", ())) != 1:
        raise Refused(400, "The form must have the field payload once.")
    return fields["payload"][0].encode("utf-8")


def answer(status: int, **said: object) -> Response:
    """A JSON answer."""
    return Response(json.dumps(said), status, content_type=JSON)


def refusal(request: Request, refused: Refused) -> Response:
    """The answer to a request that cannot be used."""
    response = answer(refused.status, error=refused.why)
    response.headers.update(refused.headers)
    return response
