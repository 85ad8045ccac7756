"""Measures the reverter beside other ways to take a merge back, over local git HTTP, in one run.

`make bench-revert`, or `python -m bench.revert [--path CLONE] [--write docs/bench-revert.md]`. Seconds are
medians from verdict to accepted push; memory is the largest RSS at one instant of the git processes of a way, for
ours also with this Python process, which holds the bench as well. The server's processes count for nobody.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from bench import revert_repositories as repositories
from bench.revert_repositories import Subject
from bench.revert_ways import FRESH, LIMIT, OURS, OURS_STALE, WAYS, Measured, Place, measure

HEADS = (
    "way",
    "median s",
    "slowest s",
    "× limit",
    "× faster than a fresh clone",
    "git RSS MB",
    "with Python MB",
)
SLOW = 3
LARGE = 100_000
ALLOWED_FACTOR, ALLOWED_MORE_S, ALLOWED_MB, WANTED_SPEEDUP = 1.5, 0.15, 100, 20


@contextmanager
def server(root: Path) -> Iterator[str]:
    """A git server in a process of its own, so that its work is not counted as anybody's."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.git_server", str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)


def measure_all(subject: Subject, server_url: str, root: Path, runs: int) -> dict[str, Measured]:
    """Every way on one repository. Few runs for what takes seconds, many for what takes milliseconds; the
    fast ways are measured in turn, so that a busy moment of the machine hits all of them."""
    place = Place(subject, server_url, root)
    found = {way: Measured() for way in WAYS}
    in_turn = (OURS_STALE, OURS, LIMIT)
    for way in WAYS:
        if way not in in_turn:
            found[way] = measure(way, place, list(subject.merges[-min(SLOW, runs) :]), weighed=True)
    for merge in subject.merges[-runs:]:
        for way in in_turn:
            found[way].seconds += measure(way, place, [merge]).seconds
    for way in in_turn:
        weighed = measure(way, place, list(subject.merges[-2:]), weighed=True)
        found[way].git_bytes, found[way].all_bytes = weighed.git_bytes, weighed.all_bytes
    return found


def rows(found: dict[str, Measured]) -> list[tuple[str, ...]]:
    median = {way: statistics.median(each.seconds) for way, each in found.items()}
    return [
        (way, f"{median[way]:.3f}", f"{max(each.seconds):.3f}", f"{median[way] / median[LIMIT]:.2f}",
         f"{median[FRESH] / median[way]:.1f}", f"{each.git_bytes / 1e6:.0f}",
         f"{each.all_bytes / 1e6:.0f}" if way in (OURS, OURS_STALE) else "")
        for way, each in found.items()
    ]  # fmt: skip


def verdict(found: dict[str, Measured], is_large: bool) -> str:
    """One line: are the targets met on this repository?"""
    median = {way: statistics.median(each.seconds) for way, each in found.items()}
    allowed = ALLOWED_FACTOR * median[LIMIT] + ALLOWED_MORE_S
    rss_mb = found[OURS].git_bytes / 1e6
    speedup = median[FRESH] / median[OURS]
    # A clone of a small repository takes no time worth comparing with: the factor is asked of the large one.
    wanted = WANTED_SPEEDUP if is_large else 1
    is_met = median[OURS] <= allowed and rss_mb <= ALLOWED_MB and speedup >= wanted
    return (
        f"{'met' if is_met else 'NOT met'}: {median[OURS]:.3f} s of at most {allowed:.3f} s (1.5 × limit + 150 ms), "
        f"{rss_mb:.0f} MB for git of at most {ALLOWED_MB}, {speedup:.0f} × faster than a fresh clone (wanted: {wanted})"
    )


def as_markdown(parts: list[tuple[Subject, dict[str, Measured]]], runs: int) -> str:
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    version = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    lines = [
        "# The reverter beside other ways",
        "",
        "Made by `make bench-revert`; do not edit by hand. Seconds from verdict to accepted push over local git HTTP,",
        f"medians of {runs} runs ({min(SLOW, runs)} for clones and the full worktree), all in one run; RSS is the",
        "largest sum at one instant over the git processes of a way, for ours also with the bench's Python process.",
        f"“Stale” is a mirror 15 merges behind. {machine}, {version}.",
    ]
    for subject, found in parts:
        lines += ["", f"## {subject.label} ({subject.files:,} files)", "", f"| {' | '.join(HEADS)} |"]
        lines += ["|---|" + "---:|" * (len(HEADS) - 1)]
        lines += [f"| {' | '.join(row)} |" for row in rows(found)]
        lines += ["", f"Target {verdict(found, subject.files >= LARGE)}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", type=Path, help="also measure on a real clone")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--commits", type=int, default=50_000)
    parser.add_argument("--write", type=Path, help="write the tables to this file, as Markdown")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    console = Console()
    parts = []
    with tempfile.TemporaryDirectory(prefix="bench-revert-") as folder:
        root = Path(folder)
        subjects = [
            repositories.wide(root / "server", given.files),
            repositories.long(root / "server", given.commits),
            repositories.deep(root / "server", min(given.files, 6000)),
        ]
        subjects += [repositories.real(root / "server", given.path)] if given.path else []
        with server(root / "server") as url:
            for number, subject in enumerate(subjects):
                (root / f"work{number}").mkdir()
                found = measure_all(subject, url, root / f"work{number}", given.runs)
                parts.append((subject, found))
                table = Table(*HEADS, title=f"{subject.label} ({subject.files:,} files)")
                for row in rows(found):
                    table.add_row(*row)
                console.print(table)
                console.print(f"Target {verdict(found, subject.files >= LARGE)}.\n", highlight=False)
    if given.write:
        given.write.write_text(as_markdown(parts, given.runs))


if __name__ == "__main__":
    main()
