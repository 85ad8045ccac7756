"""The progress of a first clone: one small JSON file beside the mirror, for the log and for `status`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

SUFFIX = ".progress.json"
_PROGRESS = re.compile(r"^(?:remote: )?([A-Z][A-Za-z ]{2,40}):\s+(\d{1,3})% \((\d+)/(\d+)\)")
_LOG_EVERY_PERCENT = 10
_LOG_EVERY_S = 1.0
_WRITE_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class CloneProgress:
    """How far a first clone is: git's own phase (`Receiving objects`), percent of it, and since when."""

    repository: str
    phase: str
    percent: int
    started_at_s: float
    updated_at_s: float
    pid: int


class ProgressFile:
    """Takes git's progress lines; writes the file at most twice a second and logs ten percents, once a second."""

    def __init__(self, path: Path, repository: str) -> None:
        self._path = path
        self._repository = repository
        self._started_at_s = time.time()
        self._logged: tuple[str, int] = ("", -1)
        self._logged_at = time.monotonic()
        self._written_at = 0.0

    def __enter__(self) -> ProgressFile:
        log.info("clone_started", repository=self._repository)
        self._write("Starting", 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)

    def take(self, line: str) -> None:
        """One line of `git fetch --progress`."""
        match = _PROGRESS.match(line)
        if not match:
            return
        phase, percent = match[1], min(int(match[2]), 100)
        step = (phase, percent // _LOG_EVERY_PERCENT)
        if step != self._logged and time.monotonic() - self._logged_at >= _LOG_EVERY_S:
            self._logged, self._logged_at = step, time.monotonic()
            log.info("clone_progress", repository=self._repository, phase=phase, percent=percent)
        if time.monotonic() - self._written_at >= _WRITE_EVERY_S or percent == 100:
            self._write(phase, percent)

    def _write(self, phase: str, percent: int) -> None:
        self._written_at = time.monotonic()
        now = CloneProgress(self._repository, phase, percent, self._started_at_s, time.time(), os.getpid())
        fresh = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk must not stop the clone for the sake of its progress
            fresh.write_text(json.dumps(asdict(now)))
            fresh.replace(self._path)


def clones_in_progress(data_dir: Path) -> tuple[CloneProgress, ...]:
    """Every first clone running now under `data_dir`, oldest first. Cheap; safe to call at any time."""
    found = []
    for path in (data_dir / "mirrors").glob(f"*/*/*{SUFFIX}"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            progress = CloneProgress(**json.loads(path.read_text()))
            if Path(f"/proc/{progress.pid}").exists() or not Path("/proc").is_dir():
                found.append(progress)
    return tuple(sorted(found, key=lambda each: each.started_at_s))
