"""Runs something in a process of its own that is killed with SIGKILL at the n-th git command it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bot.git_door import Moment, Observer

When = Literal["before", "started", "with git", "after"]
WHENS: tuple[When, ...] = ("before", "started", "with git", "after")
_FINISHED, _FAILED = 0, 3


@dataclass
class Killer:
    """Observes the git door and kills its own process: before the n-th command, when it has started (git goes
    on as an orphan), together with git, or after it."""

    at: int
    when: When
    seen: int = 0

    def __call__(self, moment: Moment, args: tuple[str, ...]) -> None:
        if moment == "before":
            self.seen += 1
        if self.seen != self.at or moment != ("started" if self.when == "with git" else self.when):
            return
        if self.when == "with git":
            for child in _children():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def commands_of(run: Callable[[Observer], object]) -> list[str]:
    """The git commands a run makes, in order, by their first two words."""
    heard: list[str] = []

    def hear(moment: Moment, args: tuple[str, ...]) -> None:
        if moment == "before":
            heard.append(" ".join(args[:2]))

    run(hear)
    return heard


def _children() -> list[int]:
    me = os.getpid()
    found: list[int] = []
    for thread in Path(f"/proc/{me}/task").iterdir():
        found += [int(pid) for pid in (thread / "children").read_text().split()]
    return found


def killed_at(at: int, when: When, run: Callable[[Observer], object]) -> bool:
    """Fork, do `run` with a Killer; whether it was killed (False: it finished before the n-th command)."""
    pid = os.fork()
    if pid == 0:
        code = _FAILED
        try:
            run(Killer(at, when))
            code = _FINISHED
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == _FINISHED, "the run failed by itself"
    return False
