"""How long after a comment its 👀 is there, over real HTTP and the bot's real processes; the first command apart.

`python -m bench.chatops` prints, of 40 commands given one after the other, of 10 given at once, and of the first
command after each of 5 starts of the bot: the median, the worst, and how many took longer than a second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from rehearsal.github_state import Comment
from rehearsal.world import World

PROMISED_S = 1.0
PATIENCE_S = 60.0
SEEN, STARTED = "eyes", "worker.started"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--commands", type=int, default=40, help="one after the other")
    parser.add_argument("--at-once", type=int, default=10, help="in one instant")
    parser.add_argument(
        "--starts", type=int, default=5, help="starts of the bot, with one command after each"
    )
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="rollback-chatops-") as folder,
        World(Path(folder) / "world", watch_for_s=10, traffic=False) as world,
    ):
        _deploy(world)
        first = [_after_a_start(world) for _ in range(given.starts)]
        single = [_acknowledged(world, [_say(world)])[0] for _ in range(given.commands)]
        burst = _acknowledged(world, [_say(world) for _ in range(given.at_once)])
    print(f"from the comment to its reaction, in ms; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    _print("first after a start", first)
    _print("one after the other", single)
    _print(f"{given.at_once} at once", burst)
    return 0


def _deploy(world: World) -> None:
    """Merge a pull request, so that the bot knows the repository as any that it guards."""
    sha = world.github.pulls.merge(world.repository, 43, world.github.user("lee"), admin=True).sha
    deadline = time.monotonic() + PATIENCE_S
    while not any(deploy.sha == sha and deploy.completed_s for deploy in world.runner.deploys):
        if time.monotonic() > deadline:
            raise SystemExit(f"the deploy did not end within {PATIENCE_S:.0f} s")
        time.sleep(0.05)


def _say(world: World) -> Comment:
    github, repository = world.github, world.repository
    return github.activity.comment(repository, repository.pulls[43], github.user("lee"), "/rollback hold 2h")


def _acknowledged(world: World, comments: list[Comment]) -> list[float]:
    """Seconds from each comment to its acknowledgement; then waits until all are answered to the end."""
    deadline = time.monotonic() + PATIENCE_S
    while any(len(comment.reactions) < 2 for comment in comments):
        if time.monotonic() > deadline:
            raise SystemExit(f"a command was not answered within {PATIENCE_S:.0f} s:\n{_log(world)}")
        time.sleep(0.005)
    return [
        next(reaction.created_s for reaction in comment.reactions if reaction.content == SEEN)
        - comment.created_s
        for comment in comments
    ]


def _after_a_start(world: World) -> float:
    """Stop web and worker, start them, and ask as soon as they say that they are ready."""
    bot = world.bot
    assert bot is not None
    before = bot.logs().count(STARTED)
    for name in ("worker", "web"):
        bot.kill(name)
        bot.restart(name)
    deadline = time.monotonic() + PATIENCE_S
    # Right after a start the page still knows the heartbeat of the worker that was killed.
    while bot.logs().count(STARTED) == before or not world.bot_ready():
        if time.monotonic() > deadline:
            raise SystemExit(f"the bot was not ready within {PATIENCE_S:.0f} s:\n{_log(world)}")
        time.sleep(0.02)
    return _acknowledged(world, [_say(world)])[0]


def _log(world: World) -> str:
    return world.bot.tail("worker", 30) if world.bot else ""


def _print(what: str, seconds: Iterable[float]) -> None:
    took = sorted(seconds)
    late = sum(1 for one in took if one > PROMISED_S)
    print(
        f"{what:22} n {len(took):3}   p50 {1000 * statistics.median(took):5.0f}   max {1000 * took[-1]:5.0f}"
        f"   over {PROMISED_S:.0f} s: {late}"
    )


if __name__ == "__main__":
    sys.exit(main())
