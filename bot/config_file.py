"""Reads one configuration file: YAML as data, every mistake named with its line and the nearest right key."""

from __future__ import annotations

import difflib
import typing
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent

from bot.config_model import RepositoryFile
from bot.failures import BadConfiguration

MAX_BYTES = 65_536
MAX_DEPTH = 32
"""Of brackets and of indentation. The deepest key of the models lies at 6; the parser's time grows with the square
of the depth (5,000 open brackets took half a minute), and the file is not ours."""
Model = typing.TypeVar("Model", bound=RepositoryFile)


def read_config(data: bytes, model: type[Model], name: str) -> Model:
    """The file's content as a validated model. `name` stands in front of each problem.

    Raises BadConfiguration whose reason lists every problem, one a line: `name:line: what is wrong`.
    """
    if len(data) > MAX_BYTES:
        raise BadConfiguration(f"{name} has {len(data):,} bytes; at most {MAX_BYTES:,} are read.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadConfiguration(f"{name} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    tree = _parse(text, name)
    if tree is None:
        tree = CommentedMap()
    if not isinstance(tree, CommentedMap):
        raise BadConfiguration(f"{name}:1: must be a map of keys such as `version: 1`, not a list or a text.")
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        problems = [_sentence(problem, tree, model, name) for problem in error.errors(include_url=False)]
        raise BadConfiguration("\n".join(dict.fromkeys(problems))) from None
    except RecursionError:
        raise BadConfiguration(f"{name} is nested too deeply.") from None


def _parse(text: str, name: str) -> Any:
    _refuse_depth(text, name)
    try:
        for event in YAML(typ="rt", pure=True).parse(text):
            if isinstance(event, AliasEvent):
                line = event.start_mark.line + 1
                raise BadConfiguration(
                    f"{name}:{line}: YAML aliases (*name) are not read; write the value out."
                )
        return YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        what = " ".join(str(error.problem or error.context or "cannot be read").split())
        hint = ' Put quotation marks around it: "@org/team".' if "'@'" in what else ""
        raise BadConfiguration(f"{where}: not valid YAML: {what}.{hint}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise BadConfiguration(f"{name}: not valid YAML ({type(error).__name__}).") from None


def _refuse_depth(text: str, name: str) -> None:
    """Before the parser sees it. Brackets in texts and comments count too: nobody has 32 unclosed ones there."""
    depth = 0
    for number, line in enumerate(text.splitlines(), start=1):
        steps = len(line) - len(line.lstrip(" -?"))
        for char in line:
            if char in "[{":
                depth += 1
            elif char in "]}":
                depth = max(0, depth - 1)
            if depth > MAX_DEPTH:
                break
        if depth > MAX_DEPTH or line[:steps].count("-") + line[:steps].count("?") > MAX_DEPTH:
            raise BadConfiguration(
                f"{name}:{number}: is nested more than {MAX_DEPTH} deep. Write it flatter."
            )


def _sentence(problem: Any, tree: Any, model: type[BaseModel], name: str) -> str:
    loc = tuple(problem["loc"])
    line, path = _place(tree, loc)
    where = f"{name}:{line}"
    if problem["type"] == "extra_forbidden":
        key = str(loc[-1])
        near = difflib.get_close_matches(key, sorted(_known_keys(model, loc[:-1])), n=1, cutoff=0.5)
        hint = f"; did you mean `{near[0]}`?" if near else "."
        return f"{where}: unknown key `{_short(path)}`{hint}"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    shown = f" (found {_short(repr(given))})" if isinstance(given, str | int | float | bool) else ""
    return f"{where}: `{_short(path)}` {_lower(message)}{shown}."


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:] if message[1:2].islower() else message


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _place(tree: Any, loc: tuple[Any, ...]) -> tuple[int, str]:
    """The line (from 1) nearest to `loc`, and the dotted path of its parts that stand in the file."""
    node, line, path = tree, 1, []
    for part in loc:
        if isinstance(node, CommentedMap) and part in node:
            line = node.lc.key(part)[0] + 1
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            line = node.lc.item(part)[0] + 1
        else:
            continue  # pydantic adds the names of union members, which stand in no file
        path.append(str(part))
        node = node[part]
    return line, ".".join(path) or ".".join(str(part) for part in loc)


def _known_keys(model: type[BaseModel], loc: tuple[Any, ...]) -> set[str]:
    models = {model}
    for part in loc:
        inner: set[type[BaseModel]] = set()
        for candidate in models:
            field = candidate.model_fields.get(str(part))
            if field is not None:
                inner |= set(_models_in(field.annotation))
        models = inner or models
    return {field.alias or key for candidate in models for key, field in candidate.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in typing.get_args(annotation) for found in _models_in(part)]
