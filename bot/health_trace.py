"""Reads recorded health traces (JSON lines), and refuses in one sentence what is not one.

The form of a line is docs/judgement.md's. Whoever hands us a trace may have cut, sorted or forged it:
everything is checked before it is believed, and nothing is guessed.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

from bot.failures import CannotReadHealth
from policies.facts import HealthSample, ProbeSample, TargetSample, TrafficSample

FILE_BYTES: Final = 64 * 1024 * 1024
LINE_BYTES: Final = 1024 * 1024
SAMPLES: Final = 100_000
TARGETS: Final = 5_000
MOST_PROBES: Final = 1_000_000
FARTHEST_S: Final = 10 * 365 * 86_400.0
STANDARD_INPUT: Final = "standard input"
GROUP: Final = "targets"
"""The group of targets that name none."""


class _Bad(Exception):
    """What is wrong with one line."""


def read_trace(path: str) -> tuple[HealthSample, ...]:
    """The samples of the trace in the file `path` (-: standard input), in the order of time. Raises CannotReadHealth
    with a sentence that names file and line. May be repeated for a file."""
    return parse_trace(_bytes(path), STANDARD_INPUT if path == "-" else path)


def parse_trace(data: bytes, name: str) -> tuple[HealthSample, ...]:
    """The samples of a trace. A line that repeats the one before it is dropped. Raises CannotReadHealth."""
    if len(data) > FILE_BYTES:
        _refuse(name, f"is larger than {FILE_BYTES // 1024 // 1024} MB, which no watch is; cut it")
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    samples: list[HealthSample] = []
    fleet = _Fleet()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            sample = _sample(line, fleet)
        except _Bad as bad:
            if number == len(lines) and not line.rstrip().endswith(b"}"):
                _refuse(name, f"is cut off in line {number}; record it again or remove that line")
            _refuse(name, f"line {number} {bad}")
        if samples and sample.t_s <= samples[-1].t_s:
            if sample == samples[-1]:
                continue
            if sample.t_s == samples[-1].t_s:
                _refuse(
                    name, f"line {number} tells something else of t={sample.t_s:g} than the line before it"
                )
            _refuse(
                name, f"line {number} has t={sample.t_s:g} after t={samples[-1].t_s:g}; sort the trace by t"
            )
        samples.append(sample)
        if len(samples) > SAMPLES:
            _refuse(name, f"has more than {SAMPLES} samples, which no watch has; cut it")
    if not samples:
        _refuse(name, "is empty; a trace has one JSON object a line")
    return tuple(samples)


def _bytes(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read(FILE_BYTES + 1)
    try:
        with Path(path).open("rb") as file:
            return file.read(FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        _refuse(path, f"cannot be read ({why})")


def _refuse(name: str, what: str) -> NoReturn:
    shown = name.encode("utf-8", "backslashreplace").decode()
    shown = "".join(char if char.isprintable() else "?" for char in shown)
    raise CannotReadHealth(f"{shown} {what}." if not what.startswith("line ") else f"{shown}, {what}.")


# --- one line ----------------------------------------------------------------------------------------


def _no_constant(name: str) -> NoReturn:
    raise _Bad(f"has the number {name}, which JSON does not know")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


def _sample(line: bytes, fleet: _Fleet) -> HealthSample:
    if len(line) > LINE_BYTES:
        raise _Bad(f"is longer than {LINE_BYTES // 1024} kB")
    try:
        data = _DECODER.decode(line.decode("utf-8").strip())
    except UnicodeDecodeError:
        raise _Bad("is not UTF-8") from None
    except RecursionError:
        raise _Bad("is nested too deeply") from None
    except ValueError:
        raise _Bad("is not JSON") from None
    if not isinstance(data, dict):
        raise _Bad("is not a JSON object")
    if "t" not in data:
        raise _Bad("has no t (seconds since the deploy completed)")
    error, crash, siblings = data.get("error"), data.get("crash"), data.get("siblings_bad")
    if error is not None and not isinstance(error, str):
        raise _Bad("has an error that is not text")
    if crash is not None and not isinstance(crash, bool):
        raise _Bad("has a crash that is neither true nor false")
    return HealthSample(
        t_s=_number(data["t"], "t", -FARTHEST_S, FARTHEST_S),
        probe=_probe(data.get("probe")),
        targets=fleet.read(data.get("targets")),
        traffic=_traffic(data.get("cloudwatch")),
        siblings_bad=None if siblings is None else _number(siblings, "siblings_bad", 0.0, 1.0),
        crash=crash is True,
        error=error or None,
    )


def _probe(part: Any) -> ProbeSample | None:
    if part is None:
        return None
    part = _object(part, "probe")
    ok = _count(part.get("ok", 0), "probe.ok")
    failed = _count(part.get("failed", 0), "probe.failed")
    status = part.get("status")
    if status is not None:
        status = int(_number(status, "probe.status", 0, 999))
    return ProbeSample(ok, failed, status)


class _Fleet:
    """Reads the targets of one poll after another; most polls find them as the poll before did."""

    def __init__(self) -> None:
        self._part: Any = None
        self._targets: tuple[TargetSample, ...] | None = None

    def read(self, part: Any) -> tuple[TargetSample, ...] | None:
        if part != self._part:
            self._targets, self._part = _targets(part), part
        return self._targets


def _targets(part: Any) -> tuple[TargetSample, ...] | None:
    if part is None:
        return None
    part = _object(part, "targets")
    if len(part) > TARGETS:
        raise _Bad(f"has more than {TARGETS} targets")
    found = []
    for target, facts in part.items():
        if facts is None:
            continue
        if not isinstance(facts, dict):
            raise _Bad("has a target that is not an object")
        state, reason, group = facts.get("state"), facts.get("reason"), facts.get("group")
        if not isinstance(state, str):
            raise _Bad("has a target without a state")
        if not isinstance(reason, str | None) or not isinstance(group, str | None):
            raise _Bad("has a target whose reason or group is not text")
        found.append(TargetSample(group or GROUP, target, state, reason))
    return tuple(found)


def _traffic(part: Any) -> TrafficSample | None:
    if part is None:
        return None
    part = _object(part, "cloudwatch")
    requests, rate = part.get("requests_per_min"), part.get("rate_5xx")
    if requests is None or rate is None:
        return None  # CloudWatch has no point for a minute without traffic
    return TrafficSample(
        _number(requests, "cloudwatch.requests_per_min", 0.0, 1e12),
        _number(rate, "cloudwatch.rate_5xx", 0.0, 1.0),
    )


def _object(part: Any, name: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise _Bad(f"has a {name} that is not an object")
    return part


def _count(value: Any, name: str) -> int:
    number = _number(value, name, 0, MOST_PROBES)
    if number != int(number):
        raise _Bad(f"has a {name} that is not a whole number")
    return int(number)


def _number(value: Any, name: str, least: float, most: float) -> float:
    if type(value) is not float and type(value) is not int:
        raise _Bad(f"has a {name} that is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not least <= number <= most:
        raise _Bad(f"has a {name} that is not between {least:g} and {most:g}")
    return number
