"""Kills what the world started when the world itself is killed, so that nothing ever outlives it.

The janitor is a tiny process at the end of a pipe. Its owner names process groups; when the pipe closes
without a goodbye, the owner died, and the named groups are taken down.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


class Janitor:
    """Owner's end: `watch` a process group, `forget` one that ended, `dismiss` when all is put away."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        self._say(f"+{group}")

    def forget(self, group: int) -> None:
        self._say(f"-{group}")

    def dismiss(self) -> None:
        self._say("bye")
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait(timeout=5)

    def _say(self, line: str) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()


def adopt_orphans() -> None:
    """Become the parent of whatever our children leave behind, so that it can be reaped (on Linux).

    On some machines nobody else reaps orphans soon, and an ended container would stay in the list.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_group(group: int, patience_s: float = 2.0) -> None:
    """Collect the ended processes of a group that have become our children; wait for the living a moment."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            pid, _ = os.waitpid(-group, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)


def end_group(group: int, patience_s: float = 3.0) -> None:
    """Ask a process group to end, then make it; returns when nobody of it is left."""
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 2.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            try:
                os.killpg(group, 0)
            except (ProcessLookupError, PermissionError):
                return
            time.sleep(0.05)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: list[int] = []
    for line in sys.stdin:
        word = line.strip()
        if word == "bye":
            return
        if word.startswith("+"):
            groups.append(int(word[1:]))
        elif int(word[1:]) in groups:
            groups.remove(int(word[1:]))
    for group in groups:
        end_group(group, patience_s=0.5)


if __name__ == "__main__":
    main()
