"""GitHub's official description as JSON Schemas, for tests that hold the stand-in's answers against it."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
_METHODS = ("get", "post", "put", "patch", "delete")


def shared_file(name: str) -> Path:
    """A file of the shared data, or a skip that says that it is missing."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"../shared/data/{name} is not here, so answers cannot be held against it")
    return path


def nullable_to_null(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable` in the words of JSON Schema."""
    if isinstance(schema, list):
        return [nullable_to_null(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: nullable_to_null(value) for key, value in schema.items() if key != "nullable"}
    if schema.get("nullable") is not True:
        return plain
    if "enum" in plain and None not in plain["enum"]:
        plain["enum"] = [*plain["enum"], None]
    if isinstance(plain.get("type"), str) and not {"allOf", "oneOf", "anyOf", "$ref"} & plain.keys():
        return {**plain, "type": [plain["type"], "null"]}
    return {"anyOf": [plain, {"type": "null"}]}


def shape_of(path: str) -> str:
    """A path without the names of its parameters: `/repos/{}/{}/pulls/{}`."""
    return re.sub(r"\{[^{}]*\}|<[^<>]*>", "{}", path).rstrip("/")


def _mend(document: dict[str, Any]) -> None:
    """The list of installations asks for an account that is a user *and* an enterprise; one alone says or."""
    answer = document["paths"]["/app/installations"]["get"]["responses"]["200"]["content"]
    account = answer["application/json"]["schema"]["items"]["properties"]["account"]
    if "allOf" in account:
        account["anyOf"] = account.pop("allOf")


class Description:
    """Checks answers by operation."""

    def __init__(self, document: dict[str, Any]) -> None:
        _mend(document)
        self.components = nullable_to_null(document["components"])
        self.operations = {
            (method, shape_of(path)): operation
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if method in _METHODS
        }
        self._validators: dict[tuple[str, str, str], Any] = {}

    def problems(self, method: str, rule: str, status: int, content: Any) -> list[str]:
        """What is wrong with an answer; empty when it is as described."""
        operation = self.operations.get((method, shape_of(rule)))
        if operation is None:
            return [f"{method} {rule} is not described"]
        described = operation["responses"].get(str(status))
        if described is None:
            return [f"{method} {rule} never answers {status}"]
        if "$ref" in described:
            described = self.components["responses"][described["$ref"].rpartition("/")[2]]
        media = described.get("content", {})
        if not media and status >= 400:
            return []
        if not media:
            return [] if content in (None, {}, "") else [f"{method} {rule} {status} has a body: {content!r}"]
        schema = media.get("application/json", {}).get("schema")
        if schema is None:
            return []
        key = (method, rule, str(status))
        if key not in self._validators:
            whole = {**nullable_to_null(schema), "components": self.components}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
        return [
            f"{method} {rule} {status} at {'/'.join(map(str, error.instance_path))}: {error.message[:300]}"
            for error in self._validators[key].iter_errors(content)
        ]


@lru_cache(maxsize=1)
def description() -> Description:
    return Description(json.loads(shared_file("github-openapi.json").read_text()))
