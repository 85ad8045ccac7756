"""Starts the bot as its users do, from the lines of the Procfile, and keeps processes and logs in hand."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from rehearsal.janitor import Janitor, end_group, reap_group
from rehearsal.surroundings import RehearsalFailed

PROCFILE = Path(__file__).resolve().parent.parent / "Procfile"
RELEASE_WITHIN_S = 120.0


class BotFailed(RehearsalFailed):
    """A process of the bot ended when it should not have; the message carries the end of its log."""


def read_procfile(path: Path = PROCFILE) -> dict[str, list[str]]:
    """Process name → argument list; BotFailed says what is missing."""
    if not path.is_file():
        raise BotFailed(f"There is no {path.name} beside rehearsal/, so nobody says how the bot is started.")
    lines = [line.partition(":") for line in path.read_text().splitlines() if ":" in line and line[:1] != "#"]
    return {name.strip(): shlex.split(command) for name, _, command in lines}


def executable(name: str) -> str:
    """The command that was installed beside this Python."""
    found = Path(sys.executable).parent / name
    if not found.exists():
        raise BotFailed(f"The command {name} is not installed beside {sys.executable}; run `make setup`.")
    return str(found)


class BotProcesses:
    """web and worker, each in a process group of its own, with one log file each."""

    def __init__(self, folder: Path, environment: dict[str, str], janitor: Janitor) -> None:
        self.folder, self.environment, self._janitor = folder, environment, janitor
        self.commands = read_procfile()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts: list[tuple[float, str]] = []

    def log_path(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def release(self) -> None:
        """Run the release command to its end."""
        process = self._start("release")
        try:
            code = process.wait(timeout=RELEASE_WITHIN_S)
        except subprocess.TimeoutExpired as error:
            raise BotFailed(f"`release` did not end within {RELEASE_WITHIN_S:.0f} s.") from error
        finally:
            end_group(process.pid, patience_s=0.5)
            self._janitor.forget(process.pid)
            self._running.pop("release", None)
        if code != 0:
            raise BotFailed(f"`release` ended with {code}:\n{self.tail('release')}")

    def start(self, *names: str) -> None:
        for name in names or ("web", "worker"):
            self._start(name)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        if name not in self.commands:
            raise BotFailed(f"The Procfile has no line `{name}:`.")
        command, *arguments = self.commands[name]
        program = [executable(command), *arguments]
        with self.log_path(name).open("ab") as log:
            process = subprocess.Popen(
                program,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._janitor.watch(process.pid)
        self._running[name] = process
        return process

    def kill(self, name: str) -> None:
        """SIGKILL a process with everything it started, as a lost machine would."""
        # Not running any more before it is dead: `check`, in another thread, must not meet it in between.
        process = self._running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=5)
        reap_group(process.pid)
        self._janitor.forget(process.pid)

    def restart(self, name: str) -> None:
        """Start a process that was killed, as a platform does."""
        self.restarts.append((time.time(), name))
        self._start(name)

    def check(self) -> None:
        """BotFailed when a process ended by itself."""
        for name, process in tuple(self._running.items()):
            code = process.poll()
            if code is not None:
                raise BotFailed(f"The bot's {name} ended with {code}:\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 25) -> str:
        path = self.log_path(name)
        if not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def logs(self) -> str:
        """Everything the bot wrote to its logs."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._running.values():
            end_group_of(process)
            self._janitor.forget(process.pid)
        self._running.clear()


def end_group_of(process: subprocess.Popen[bytes], patience_s: float = 8.0) -> None:
    """Wait for a terminated process, then make sure of it and of everything in its group."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=patience_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=5)
    reap_group(process.pid)
