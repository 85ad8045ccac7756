"""Scratch worktrees of several bots in one data directory: nobody takes down what another is making."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

from bot.git_door import GitDoor
from bot.revert_worktree import scratch, sweep
from tests.patience import PATIENCE_S

ROUNDS = 60


def _make_many(root: Path, objects: Path) -> None:
    for _ in range(ROUNDS):
        with scratch(root, objects, GitDoor()) as place:
            assert (place.git_dir / "config").is_file() and place.tree.is_dir()


def _sweep_many(root: Path) -> None:
    """Each by a bot that has just been started."""
    for _ in range(4 * ROUNDS):
        bot = os.fork()
        if bot == 0:
            sweep(root)
            os._exit(0)
        os.waitpid(bot, 0)


def test_worktrees_that_are_being_made_are_not_swept(tmp_path: Path):
    objects = tmp_path / "objects"
    objects.mkdir()
    root = tmp_path / "worktrees"
    context = multiprocessing.get_context("fork")
    bots = [context.Process(target=_make_many, args=(root, objects)) for _ in range(3)]
    bots += [context.Process(target=_sweep_many, args=(root,)) for _ in range(3)]
    for bot in bots:
        bot.start()
    for bot in bots:
        bot.join(PATIENCE_S)
    assert [bot.exitcode for bot in bots] == [0] * 6
    assert list(root.iterdir()) == []


def test_what_a_dead_bot_left_is_swept_with_a_lock_and_without(tmp_path: Path):
    for name, locked in (("revert-with", True), ("revert-without", False)):
        (tmp_path / name / "tree").mkdir(parents=True)
        if locked:
            (tmp_path / name / "lock").touch()
    assert sweep(tmp_path) == 2 and list(tmp_path.iterdir()) == []
    assert sweep(tmp_path / "nowhere") == 0
