"""`rollback-bot judge`: a decision for every trace that is one, a sentence for everything else."""

from __future__ import annotations

import json
import math
import random

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench.health_simulator import as_json, play
from bot.cli_judge import register
from bot.failures import CannotReadHealth
from bot.health_trace import parse_trace, read_trace
from policies.facts import HealthSample, ProbeSample, TargetSample, TrafficSample

app = typer.Typer()
register(app)


@app.command()
def other() -> None:
    """A second command, so that `judge` is one of several as in the real command line."""


def judge(*arguments: object):
    return CliRunner().invoke(app, ["judge", *(str(argument) for argument in arguments)])


def line(t: float, ok: int = 3, failed: int = 0, **parts: object) -> str:
    return json.dumps({"t": t, "probe": {"ok": ok, "failed": failed}, **parts})


def crash_trace() -> str:
    before = [line(t * 10.0) for t in range(-30, 0)]
    return "\n".join(before + [line(t * 10.0, 0, 3, crash=t > 1) for t in range(30)]) + "\n"


# --- traces that are traces ---------------------------------------------------------------------------


def test_one_object_a_file_in_their_order(tmp_path):
    well, crash = tmp_path / "well.jsonl", tmp_path / "crash.jsonl"
    well.write_text("\n".join(line(t * 10.0) for t in range(-30, 90)))
    crash.write_text(crash_trace())
    result = judge(well, crash, well)
    assert result.exit_code == 0
    assert result.stderr == ""
    said = [json.loads(row) for row in result.stdout.splitlines()]
    assert [(row["decision"], row["at_s"]) for row in said] == [
        ("healthy", 890.0),
        ("roll_back", 50.0),
        ("healthy", 890.0),
    ]
    assert all(set(row) == {"decision", "at_s", "reason"} for row in said)
    assert said[1]["reason"] == (
        "Since this deploy the service used 60 s of its 60 s failure budget (its container crashed; "
        "100 % bad at present); it was healthy before (0 % bad; 30 polls, recorded before the deploy), "
        "and nothing is known of its siblings: roll back."
    )


def test_the_line_of_the_contract():
    text = (
        '{"t": -30.0, "probe": {"ok": 3, "failed": 0}, "targets": {"i-1": {"state": "healthy", '
        '"reason": null}}, "cloudwatch": {"requests_per_min": 40, "rate_5xx": 0.0}, "siblings_bad": 0.0, '
        '"crash": false, "error": null}'
    )
    assert parse_trace(text.encode(), "x") == (
        HealthSample(
            t_s=-30.0,
            probe=ProbeSample(3, 0),
            targets=(TargetSample("targets", "i-1", "healthy", None),),
            traffic=TrafficSample(40.0, 0.0),
            siblings_bad=0.0,
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"t": 0}',
        '{"t": 0, "probe": null, "targets": null, "cloudwatch": null, "siblings_bad": null, "crash": null}',
        '{"t": 0, "error": ""}',
        '{"t": 0, "cloudwatch": {"requests_per_min": null, "rate_5xx": null}}',
        '{"t": 0, "cloudwatch": {}}',
        '{"t": 0, "targets": {"i-1": null}}',
        '{"t": 0, "future": {"part": [1, 2]}}',
        '\ufeff{"t": 0}',
        '\n\n  {"t": 0}  \n\n',
        '{"t": 0}\r\n',
    ],
)
def test_parts_may_be_null_or_missing(text):
    (sample,) = parse_trace(text.encode(), "x")
    assert (sample.t_s, sample.probe, sample.traffic, sample.error) == (0.0, None, None, None)
    assert not sample.targets


def test_a_simulated_trace_reads_back_as_it_was():
    trace = play("leak after 8 min", random.Random(4))
    assert parse_trace("\n".join(trace.lines()).encode(), "x") == tuple(trace.samples)


def test_a_repeated_line_is_dropped():
    text = "\n".join([line(0.0), line(0.0), line(10.0), line(10.0)])
    assert [s.t_s for s in parse_trace(text.encode(), "x")] == [0.0, 10.0]


def test_targets_may_name_their_groups():
    text = '{"t": 0, "targets": {"i-1": {"state": "healthy", "group": "api"}, "i-2": {"state": "initial"}}}'
    (sample,) = parse_trace(text.encode(), "x")
    assert [(t.group, t.target) for t in sample.targets] == [("api", "i-1"), ("targets", "i-2")]


@pytest.mark.parametrize("place", [0, 1])
def test_a_dash_reads_standard_input(tmp_path, place):
    well = tmp_path / "well.jsonl"
    well.write_text("\n".join(line(t * 10.0) for t in range(-30, 90)))
    traces = [str(well)]
    traces.insert(place, "-")
    result = CliRunner().invoke(app, ["judge", *traces], input=crash_trace())
    said = [json.loads(row)["decision"] for row in result.stdout.splitlines()]
    assert (result.exit_code, said[place], said[1 - place]) == (0, "roll_back", "healthy")


def test_standard_input_that_is_no_trace():
    result = CliRunner().invoke(app, ["judge", "-"], input="hello\n")
    assert (result.exit_code, result.stderr) == (
        2,
        "rollback-bot judge: standard input, line 1 is not JSON.\n",
    )


# --- traces that are none -----------------------------------------------------------------------------

BAD_TRACES = {
    "empty": ("", "is empty; a trace has one JSON object a line."),
    "blank": ("\n \n\t\n", "is empty; a trace has one JSON object a line."),
    "cut off": (crash_trace()[:-40], "is cut off in line 60; record it again or remove that line."),
    "unordered": (
        f"{line(0.0)}\n{line(20.0)}\n{line(10.0)}\n",
        "line 3 has t=10 after t=20; sort the trace by t.",
    ),
    "two truths about one moment": (
        f"{line(0.0)}\n{line(0.0, 0, 3)}\n",
        "line 2 tells something else of t=0 than the line before it.",
    ),
    "no JSON": ("hello\n", "line 1 is not JSON."),
    "two objects a line": ('{"t": 0} {"t": 1}\n', "line 1 is not JSON."),
    "an array": ("[1, 2]\n", "line 1 is not a JSON object."),
    "no t": ('{"probe": null}\n', "line 1 has no t (seconds since the deploy completed)."),
    "t is text": ('{"t": "0"}\n', "line 1 has a t that is not a number."),
    "t is true": ('{"t": true}\n', "line 1 has a t that is not a number."),
    "t is NaN": ('{"t": NaN}\n', "line 1 has the number NaN, which JSON does not know."),
    "t is infinite": ('{"t": -Infinity}\n', "line 1 has the number -Infinity, which JSON does not know."),
    "t is too large for a float": (
        '{"t": 1e999}\n',
        "line 1 has a t that is not between -3.1536e+08 and 3.1536e+08.",
    ),
    "t is a huge integer": (
        '{"t": ' + "9" * 4000 + "}\n",
        "line 1 has a t that is not between -3.1536e+08 and 3.1536e+08.",
    ),
    "t has too many digits": ('{"t": ' + "9" * 5000 + "}\n", "line 1 is not JSON."),
    "nested": ('{"t": ' + "[" * 100_000 + "\n", "line 1 is nested too deeply."),
    "negative counts": (
        '{"t": 0, "probe": {"ok": -1}}\n',
        "line 1 has a probe.ok that is not between 0 and 1e+06.",
    ),
    "half a probe": (
        '{"t": 0, "probe": {"failed": 0.5}}\n',
        "line 1 has a probe.failed that is not a whole number.",
    ),
    "a probe that is a list": ('{"t": 0, "probe": [3, 0]}\n', "line 1 has a probe that is not an object."),
    "targets that are a list": ('{"t": 0, "targets": []}\n', "line 1 has a targets that is not an object."),
    "a target without state": ('{"t": 0, "targets": {"i": {}}}\n', "line 1 has a target without a state."),
    "a target that is text": (
        '{"t": 0, "targets": {"i": "healthy"}}\n',
        "line 1 has a target that is not an object.",
    ),
    "a reason that is a number": (
        '{"t": 0, "targets": {"i": {"state": "healthy", "reason": 7}}}\n',
        "line 1 has a target whose reason or group is not text.",
    ),
    "a rate over one": (
        '{"t": 0, "cloudwatch": {"requests_per_min": 9, "rate_5xx": 5}}\n',
        "line 1 has a cloudwatch.rate_5xx that is not between 0 and 1.",
    ),
    "siblings in per cent": (
        '{"t": 0, "siblings_bad": 50}\n',
        "line 1 has a siblings_bad that is not between 0 and 1.",
    ),
    "crash is a number": ('{"t": 0, "crash": 1}\n', "line 1 has a crash that is neither true nor false."),
    "error is an object": ('{"t": 0, "error": {}}\n', "line 1 has an error that is not text."),
    "a long line": (
        '{"t": 0, "error": "' + "x" * 2_000_000 + '"}\n',
        "line 1 is longer than 1024 kB.",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), BAD_TRACES.values(), ids=BAD_TRACES.keys())
def test_what_is_no_trace_is_refused_in_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "trace.jsonl"
    path.write_text(text)
    result = judge(path)
    assert result.exit_code == 2
    separator = ", " if sentence.startswith("line ") else " "
    assert result.stderr == f"rollback-bot judge: {path}{separator}{sentence}\n"
    assert json.loads(result.stdout) == {
        "decision": None,
        "at_s": None,
        "reason": f"{path}{separator}{sentence}",
    }


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b'{"t": 0, "error": "\xff\xfe"}\n')
    assert judge(path).stderr == f"rollback-bot judge: {path}, line 1 is not UTF-8.\n"
    path.write_bytes(b"\x00" * 100 + b"\n")
    assert judge(path).stderr == f"rollback-bot judge: {path}, line 1 is not JSON.\n"


def test_files_that_cannot_be_read(tmp_path):
    missing = tmp_path / "no\nsuch.jsonl"
    assert (
        judge(missing).stderr
        == f"rollback-bot judge: {tmp_path}/no?such.jsonl cannot be read (No such file or directory).\n"
    )
    assert judge(tmp_path).stderr == f"rollback-bot judge: {tmp_path} cannot be read (Is a directory).\n"
    assert judge("/dev/zero").stderr == (
        "rollback-bot judge: /dev/zero is larger than 64 MB, which no watch is; cut it.\n"
    )


def test_one_bad_file_does_not_hide_the_others(tmp_path):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text(crash_trace())
    bad.write_text("")
    result = judge(good, bad, good)
    assert result.exit_code == 2
    said = [json.loads(row)["decision"] for row in result.stdout.splitlines()]
    assert said == ["roll_back", None, "roll_back"]


def test_no_file_is_bad_usage():
    assert judge().exit_code == 2


@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_read_or_refused(data):
    try:
        samples = parse_trace(data, "x")
    except CannotReadHealth as refused:
        assert "\n" not in refused.reason
    else:
        assert samples


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
parts = st.fixed_dictionaries(
    {"t": st.floats(-400, 900) | values},
    optional={
        "probe": st.fixed_dictionaries({}, optional={"ok": values, "failed": st.integers(0, 3) | values})
        | values,
        "targets": st.dictionaries(st.text(max_size=3), values, max_size=3) | values,
        "cloudwatch": values,
        "siblings_bad": values,
        "crash": values,
        "error": values,
    },
)


@given(st.lists(parts, max_size=8))
def test_any_json_is_read_or_refused(rows):
    text = "\n".join(json.dumps(row) for row in rows)
    try:
        samples = parse_trace(text.encode(), "x")
    except CannotReadHealth as refused:
        assert refused.reason.startswith("x")
        return
    assert all(math.isfinite(sample.t_s) for sample in samples)
    again = "\n".join(json.dumps(as_json(sample)) for sample in samples)
    assert [s.probe for s in parse_trace(again.encode(), "x")] == [
        None if s.probe is None else ProbeSample(s.probe.ok, s.probe.failed) for s in samples
    ]


# --- limits -------------------------------------------------------------------------------------------


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "crash.jsonl"
    path.write_text("\n".join(line(t * 10.0, *((3, 0) if t < 0 else (0, 3))) for t in range(-30, 90)))
    return path


def test_the_limits_of_a_configuration(tmp_path, trace):
    config = tmp_path / "rollback.yml"
    config.write_text("version: 1\nhealth: {budget_before_first_good: 60s}\n")
    assert json.loads(judge(trace).stdout)["at_s"] == 180.0
    assert json.loads(judge(trace, "--config", config).stdout)["at_s"] == 60.0


def test_the_limits_of_one_of_its_environments(tmp_path, trace):
    config = tmp_path / "rollback.yml"
    config.write_text(
        "version: 1\n"
        "health: {budget_before_first_good: 60s}\n"
        "environments:\n"
        "  develop: {health: {budget_before_first_good: 30s}}\n"
        "  prod: {health: {budget_before_first_good: 90s}}\n"
    )
    at_s = {
        name: json.loads(judge(trace, "--config", config, *option).stdout)["at_s"]
        for name, option in {
            "none": (),
            "develop": ("--environment", "develop"),
            "prod": ("--environment", "prod"),
        }.items()
    }
    assert at_s == {"none": 60.0, "develop": 30.0, "prod": 90.0}
    result = judge(trace, "--config", config, "--environment", "staging")
    assert result.exit_code == 2
    assert result.stderr == (
        f"rollback-bot judge: {config} has no environment staging, only develop, prod: correct it.\n"
    )


def test_a_configuration_that_cannot_be_used(tmp_path, trace):
    missing = judge(trace, "--config", tmp_path / "none.yml")
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert missing.stderr == (
        f"rollback-bot judge: {tmp_path}/none.yml cannot be read (No such file or directory): "
        "correct --config.\n"
    )
    config = tmp_path / "rollback.yml"
    config.write_text("version: 1\nhealth: {budgte: 60s}\n")
    wrong = judge(trace, "--config", config)
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "budgte" in wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_reading_a_trace_twice_gives_the_same(trace):
    assert read_trace(str(trace)) == read_trace(str(trace))
