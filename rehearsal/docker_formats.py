"""What the `docker` command prints: tables, ages, and the Go templates people use with --format."""

from __future__ import annotations

import json
import re
import shlex
import time
from typing import Any

from rehearsal.docker_store import NEVER, DockerError, Json, seconds_of

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)


def age(seconds: float) -> str:
    """docker's rough way to say how long: `12 seconds`, `About a minute`, `3 hours`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if whole < 120:
        return "About a minute"
    if whole < 3600:
        return f"{whole // 60} minutes"
    if whole < 7200:
        return "About an hour"
    if whole < 172_800:
        return f"{whole // 3600} hours"
    return f"{whole // 86_400} days"


def status_line(container: Json) -> str:
    state, now = container["State"], time.time()
    if state["Status"] == "restarting":
        since = now - seconds_of(state["FinishedAt"])
        return f"Restarting ({state['ExitCode']}) {age(since)} ago"
    if state["Running"]:
        return f"Up {age(now - seconds_of(state['StartedAt']))}"
    if state["StartedAt"] == NEVER:
        return "Created"
    return f"Exited ({state['ExitCode']}) {age(now - seconds_of(state['FinishedAt']))} ago"


def ports_line(container: Json) -> str:
    if not container["State"]["Running"]:
        return ""
    parts = []
    for inner, bindings in container["HostConfig"]["PortBindings"].items():
        parts += [f"{one['HostIp'] or '0.0.0.0'}:{one['HostPort']}->{inner}" for one in bindings]
    return ", ".join(parts)


def container_row(container: Json, *, whole: bool) -> dict[str, str]:
    """The fields that `docker ps --format` knows."""
    command = shlex.join(container["Config"]["Cmd"])
    shown = command if whole or len(command) <= 19 else command[:19] + "…"
    created = seconds_of(container["Created"])
    return {
        "Command": f'"{shown}"',
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(created)),
        "ID": container["Id"] if whole else container["Id"][:12],
        "Image": container["Config"]["Image"],
        "Labels": ",".join(f"{key}={value}" for key, value in container["Config"]["Labels"].items()),
        "LocalVolumes": "0",
        "Mounts": "",
        "Names": container["Name"].lstrip("/"),
        "Networks": "bridge",
        "Ports": ports_line(container),
        "RunningFor": f"{age(time.time() - created)} ago",
        "Size": "0B",
        "State": container["State"]["Status"],
        "Status": status_line(container),
    }


def image_row(image: Json, *, whole: bool) -> dict[str, str]:
    repository, _, tag = (image["RepoTags"] or ["<none>:<none>"])[0].rpartition(":")
    identity = image["Id"].removeprefix("sha256:")
    created = seconds_of(image["Created"])
    return {
        "Repository": repository,
        "Tag": tag,
        "ID": image["Id"] if whole else identity[:12],
        "Digest": "<none>",
        "CreatedSince": f"{age(time.time() - created)} ago",
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(created)),
        "Size": f"{image['Size'] / 1000:.3g}kB",
    }


CONTAINER_COLUMNS = {
    "CONTAINER ID": "ID",
    "IMAGE": "Image",
    "COMMAND": "Command",
    "CREATED": "RunningFor",
    "STATUS": "Status",
    "PORTS": "Ports",
    "NAMES": "Names",
}
IMAGE_COLUMNS = {
    "REPOSITORY": "Repository",
    "TAG": "Tag",
    "IMAGE ID": "ID",
    "CREATED": "CreatedSince",
    "SIZE": "Size",
}
_HEADINGS = {field: heading for heading, field in (CONTAINER_COLUMNS | IMAGE_COLUMNS).items()}


def table(rows: list[dict[str, str]], columns: dict[str, str]) -> str:
    lines = [list(columns), *[[row[field] for field in columns.values()] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def listing(rows: list[dict[str, str]], columns: dict[str, str], template: str | None, quiet: bool) -> str:
    """The output of a list command for its --format and --quiet."""
    if quiet:
        return "\n".join(row["ID"] for row in rows)
    if not template or template == "table":
        return table(rows, columns)
    if template == "json":
        template = "{{json .}}"
    template = template.replace(r"\t", "\t").replace(r"\n", "\n")
    if template.startswith("table "):
        fields = re.findall(r"\{\{-?\s*\.(\w+)\s*-?\}\}", template)
        if all(field in rows[0] if rows else True for field in fields):
            return table(rows, {_HEADINGS.get(field, field.upper()): field for field in fields})
    return "\n".join(render(template, row) for row in rows)


def render(template: str, subject: Any) -> str:
    """Fill in a Go template: fields, json, index, len, println, range, if/else. DockerError for more."""
    tokens: list[tuple[str, str]] = []
    position = 0
    for match in _ACTION.finditer(template):
        if match.start() > position:
            tokens.append(("text", template[position : match.start()]))
        tokens.append(("action", match.group(1)))
        position = match.end()
    tokens.append(("text", template[position:]))
    output, rest = _render_until(tokens, 0, subject, subject, emit=True)
    if rest < len(tokens):
        raise DockerError(f"template parsing error: template: :1: unexpected {{{{{tokens[rest][1]}}}}}", 64)
    return output


def _render_until(
    tokens: list[tuple[str, str]], at: int, subject: Any, root: Any, *, emit: bool
) -> tuple[str, int]:
    """Render up to the `else` or `end` that belongs to the block around; its position comes back."""
    parts: list[str] = []
    while at < len(tokens):
        kind, text = tokens[at]
        if kind == "text":
            parts.append(text)
            at += 1
        elif text in ("end", "else"):
            break
        elif text.startswith(("range ", "if ")):
            word, expression = text.split(" ", 1)
            value = _value(expression, subject, root) if emit else None
            output, at = _block(tokens, at + 1, word, value, subject, root, emit)
            parts.append(output)
        else:
            parts.append(_text(_value(text, subject, root)) if emit else "")
            at += 1
    return ("".join(parts) if emit else ""), at


def _block(
    tokens: list[tuple[str, str]], start: int, word: str, value: Any, subject: Any, root: Any, emit: bool
) -> tuple[str, int]:
    _, middle = _render_until(tokens, start, subject, root, emit=False)
    has_else = middle < len(tokens) and tokens[middle][1] == "else"
    end = _render_until(tokens, middle + 1, subject, root, emit=False)[1] if has_else else middle
    if end >= len(tokens):
        raise DockerError("template parsing error: template: :1: unexpected EOF", 64)
    output = ""
    if emit and value:
        items = (value.values() if isinstance(value, dict) else value) if word == "range" else [subject]
        output = "".join(_render_until(tokens, start, item, root, emit=True)[0] for item in items)
    elif emit and has_else:
        output = _render_until(tokens, middle + 1, subject, root, emit=True)[0]
    return output, end + 1


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_text(item) for item in value) + "]"
    return "<no value>" if value is None else str(value)


def _value(expression: str, subject: Any, root: Any) -> Any:
    words = re.findall(r'"[^"]*"|\([^()]*\)|\S+', expression)
    if not words:
        raise DockerError("template parsing error: template: :1: missing value for command", 64)
    function, arguments = words[0], [_operand(word, subject, root) for word in words[1:]]
    if not arguments:
        return _operand(function, subject, root)
    if function == "json":
        return json.dumps(arguments[0], separators=(",", ":"))
    if function == "println":
        return " ".join(_text(one) for one in arguments) + "\n"
    if function == "len":
        return len(arguments[0])
    if function == "index":
        found = arguments[0]
        for key in arguments[1:]:
            found = found[key] if isinstance(found, list) else (found or {}).get(key, "")
        return found
    raise DockerError(f'template parsing error: template: :1: function "{function}" not defined', 64)


def _operand(word: str, subject: Any, root: Any) -> Any:
    if word.startswith("("):
        return _value(word[1:-1], subject, root)
    if word.startswith('"'):
        return word[1:-1]
    if word.lstrip("-").isdigit():
        return int(word)
    start = subject
    if word.startswith("$"):
        start, word = root, word[1:]
    if not word.startswith(".") and word:
        raise DockerError(f'template parsing error: template: :1: function "{word}" not defined', 64)
    for name in word.split("."):
        if name:
            if not isinstance(start, dict) or name not in start:
                raise DockerError(
                    f'template: :1:2: executing "" at <{word}>: map has no entry for key "{name}"', 64
                )
            start = start[name]
    return start
