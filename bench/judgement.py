"""Prints how our rule and those of others judge simulated deploys, at the same rate of false rollbacks.

Every peer is tuned on one seed (the fewest misses among its parameters whose false rate is at most `--false`)
and reported, like ours, on another. False and missed are averages over scenarios, not rates of the field;
seconds are from the moment a deploy begins to be bad, over "crash at boot", "500 everywhere" and "leak".
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from rich.console import Console
from rich.table import Table

from bench.health_simulator import SCENARIOS, Trace, play_all
from bench.peers import Badness, Rule, consecutive, ecs_breaker, peers
from policies.attribution import Gate, attribution
from policies.badness import balancer_badness, is_blind, probe_badness
from policies.facts import Baseline, Health
from policies.health import HealthJudge
from policies.judgement import Outcome, judge_watch
from policies.limits import HealthLimits

LIMITS = HealthLimits()
TIMED = ("crash at boot", "500 everywhere", "leak after 8 min")
Fires = Callable[[Trace], float | None]


@dataclass
class Score:
    """How one rule did: by scenario, the share rolled back and the seconds it took."""

    name: str
    setting: str
    rolled_back: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @property
    def false(self) -> float:
        return statistics.fmean(self.rolled_back[name] for name, (_, bad) in SCENARIOS.items() if not bad)

    @property
    def missed(self) -> float:
        return statistics.fmean(1 - self.rolled_back[name] for name, (_, bad) in SCENARIOS.items() if bad)


def score(name: str, setting: str, fires: Fires, traces: Iterable[Trace]) -> Score:
    found, counts = Score(name, setting), dict.fromkeys(SCENARIOS, 0)
    hits = dict.fromkeys(SCENARIOS, 0)
    for trace in traces:
        at_s = fires(trace)
        counts[trace.scenario] += 1
        # A rollback before a deploy begins to be bad did not see that it was.
        if at_s is not None and (not trace.bad or at_s >= trace.begins_s):
            hits[trace.scenario] += 1
            found.seconds.setdefault(trace.scenario, []).append(at_s - trace.begins_s)
    found.rolled_back = {name: hits[name] / counts[name] for name in SCENARIOS}
    return found


# --- ours ---------------------------------------------------------------------------------------------


def ours(
    trace: Trace, limits: HealthLimits = LIMITS, *, gates: bool = True, crash: bool = True
) -> float | None:
    samples = trace.samples if crash else [replace(sample, crash=False) for sample in trace.samples]
    if gates:
        judged = judge_watch(samples, limits)
        return judged.at_s if judged.outcome is Outcome.ROLL_BACK else None
    judge = HealthJudge(tuple(s for s in samples if s.t_s < 0), limits)
    for sample in samples:
        if sample.t_s >= 0 and judge.see(sample).status == Health.UNHEALTHY:
            return sample.t_s
    return None


# --- peers --------------------------------------------------------------------------------------------


def polls_of(trace: Trace) -> Badness:
    """What a peer measures: the site where it was probed, else the load balancer."""
    found: list[tuple[float, float | None]] = []
    for sample in trace.samples:
        if sample.t_s >= 0:
            bad = None if is_blind(sample) else probe_badness(sample.probe)
            found.append((sample.t_s, balancer_badness(sample.targets) if bad is None else bad))
    return found


def peer_fires(rule: Rule, polls: dict[int, Badness], *, gates: bool) -> Fires:
    def fires(trace: Trace) -> float | None:
        at_s = rule(polls[id(trace)])
        return at_s if at_s is None or not gates or past_the_gates(trace, at_s) else None

    return fires


def past_the_gates(trace: Trace, at_s: float) -> bool:
    baseline = Baseline(tuple(s for s in trace.samples if s.t_s < 0), "simulated")
    after = tuple(s for s in trace.samples if 0 <= s.t_s <= at_s)
    return all(gate.status == Gate.PASS for gate in attribution(baseline, after, LIMITS))


def tuned(most_false: float, tuning: list[Trace], fresh: list[Trace]) -> list[Score]:
    polls = {id(trace): polls_of(trace) for trace in (*tuning, *fresh)}
    found = []
    for peer in peers():
        best: tuple[tuple[bool, float], str, Rule] | None = None
        for setting, rule in peer.rules:
            ungated = score("", "", peer_fires(rule, polls, gates=False), tuning)
            # The gates only ever take rollbacks away, so a rule that misses more without them is not better.
            if best is not None and not best[0][0] and ungated.missed >= best[0][1]:
                continue
            tried = score("", "", peer_fires(rule, polls, gates=True), tuning)
            over = tried.false > most_false
            rank = (over, tried.false if over else tried.missed)
            if best is None or rank < best[0]:
                best = (rank, setting, rule)
        if best is not None:
            fires = peer_fires(best[2], polls, gates=True)
            note = f"{best[1]}; its least false" if best[0][0] else best[1]
            found.append(score(f"{peer.name}, with our gates", note, fires, fresh))
    naive = consecutive(6, missing_is_bad=True)
    found.insert(0, score("naive, no gates", "6 in a row", peer_fires(naive, polls, gates=False), fresh))
    found.append(score("ECS circuit breaker", "as defined", ecs_breaker, fresh))
    return found


# --- the table ----------------------------------------------------------------------------------------


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def seconds(score_: Score, names: Iterable[str]) -> str:
    found = sorted(s for name in names for s in score_.seconds.get(name, []))
    if not found:
        return "–"
    return f"{statistics.median(found):.0f} / {found[min(len(found) - 1, int(0.95 * len(found)))]:.0f}"


def show(console: Console, scores: list[Score]) -> None:
    table = Table(title="Rules, tuned on one seed and played on another")
    for heading in ("rule", "parameters", "false", "missed", "median / p95 s", "crash at boot"):
        table.add_column(heading, justify="left" if heading in ("rule", "parameters") else "right")
    for one in scores:
        row = (percent(one.false), percent(one.missed), seconds(one, TIMED), seconds(one, TIMED[:1]))
        table.add_row(one.name, one.setting, *row)
    console.print(table)
    detail = Table(title="Rolled back, by scenario (the last six are bad deploys; median / p95 seconds)")
    detail.add_column("scenario")
    for number, one in enumerate(scores, start=1):
        detail.add_column(f"({number}) {one.name.split(',')[0]}", justify="right")
    for name, (_, bad) in SCENARIOS.items():
        cells = [
            percent(one.rolled_back[name]) + (f"\n{seconds(one, [name])}" if bad else "") for one in scores
        ]
        detail.add_row(name, *cells)
    console.print(detail)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=200, help="of every scenario (default 200)")
    parser.add_argument("--tune-seed", type=int, default=1)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--false", type=float, default=0.025, help="most false rollbacks of a tuned rule")
    given = parser.parse_args()
    console = Console(width=170)
    tuning = list(play_all(max(1, given.traces // 2), given.tune_seed))
    fresh = list(play_all(given.traces, given.seed))
    scores = tuned(given.false, tuning, fresh)
    scores.append(score("budget, no gates", "defaults", lambda t: ours(t, gates=False), fresh))
    scores.append(score("budget, gates", "no crash evidence", lambda t: ours(t, crash=False), fresh))
    began_s = time.perf_counter()
    scores.append(score("budget + crash, gates", "defaults", ours, fresh))
    took_s = time.perf_counter() - began_s
    show(console, scores)
    polls = sum(len(trace.samples) for trace in fresh)
    console.print(
        f"{len(fresh)} traces of {len(SCENARIOS)} scenarios. A whole watch of {polls // len(fresh)} polls is "
        f"judged in {1000 * took_s / len(fresh):.2f} ms, one poll in {1e6 * took_s / polls:.1f} µs."
    )


if __name__ == "__main__":
    main()
