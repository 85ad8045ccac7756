"""How long judging takes: `rollback-bot judge` on 1,000 traces in one call, and one decision by itself."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from bench.health_simulator import SCENARIOS, Trace, as_json, play_all
from policies.facts import HealthSample
from policies.health import judge_health
from tests.eligibility_facts import Facts

TRACES, POLLS, SEED = 1_000, 120, 987
DECISIONS = 2_000


def write_traces(folder: Path) -> list[str]:
    """`TRACES` recorded watches of `POLLS` polls, of all scenarios; their paths."""
    paths = []
    played = play_all(-(-TRACES // len(SCENARIOS)), SEED)
    for number, trace in enumerate(islice(played, TRACES)):
        path = folder / f"{number:04}.jsonl"
        path.write_text("".join(f"{json.dumps(as_json(sample))}\n" for sample in _cut(trace)))
        paths.append(str(path))
    return paths


def _cut(trace: Trace) -> list[HealthSample]:
    """Exactly `POLLS` polls, going on as it ended where a watch was shorter."""
    samples = list(trace.samples[:POLLS])
    step_s = samples[-1].t_s - samples[-2].t_s
    while len(samples) < POLLS:
        last = samples[-1]
        samples.append(HealthSample(last.t_s + step_s, last.probe, last.targets, last.traffic))
    return samples


def judged_in_one_call(paths: list[str]) -> tuple[float, float, dict[str, int]]:
    """Seconds of wall time and of CPU, and how many of each decision."""
    command = [str(Path(sys.executable).with_name("rollback-bot")), "judge", "--", *paths]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.perf_counter()
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    wall_s = time.perf_counter() - began_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    decisions = [json.loads(line)["decision"] for line in answer.splitlines()]
    if len(decisions) != len(paths):
        raise RuntimeError(f"{len(decisions)} answers to {len(paths)} traces.")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, {name: decisions.count(name) for name in sorted(set(decisions))}


def milliseconds(decide: Callable[[], object]) -> tuple[float, float]:
    """Median and 99th percentile of one call, in ms."""
    took = []
    for _ in range(DECISIONS):
        began_s = time.perf_counter()
        decide()
        took.append(1000 * (time.perf_counter() - began_s))
    took.sort()
    return statistics.median(took), took[int(0.99 * len(took))]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="rollback-bot-judge-") as name:
        paths = write_traces(Path(name))
        wall_s, cpu_s, decisions = judged_in_one_call(paths)
    print(f"judge: {len(paths)} traces of {POLLS} polls in one call: {wall_s:.2f} s, {cpu_s:.2f} s of CPU")
    print(f"       {decisions}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores (wanted: under 5 s)")
    facts = Facts()
    samples = (facts.watched.samples * POLLS)[:POLLS] if facts.watched else ()
    samples = tuple(HealthSample(10.0 * n, s.probe, s.targets) for n, s in enumerate(samples))
    limits, baseline = facts.plan.health, facts.baseline.samples
    median_ms, late_ms = milliseconds(facts.decide)
    print(f"one decision, all gates: median {median_ms:.3f} ms, p99 {late_ms:.3f} ms (wanted: under 1 ms)")
    median_ms, late_ms = milliseconds(lambda: judge_health(baseline, samples, limits))
    print(f"the budget over all {POLLS} polls at once: median {median_ms:.3f} ms, p99 {late_ms:.3f} ms")


if __name__ == "__main__":
    main()
