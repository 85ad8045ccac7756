"""Locks between processes that end with their holders: flock on a file or folder, waited for with a limit."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

_LOOK_EVERY_S = 0.01


@contextlib.contextmanager
def file_lock(path: Path, shared: bool = False, wait_s: float = 0.0) -> Iterator[int]:
    """Hold an flock on `path` (a folder, or a file that is made if missing), yielding its descriptor.

    Whoever inherits the descriptor holds the lock too. Raises BlockingIOError when it is not free within `wait_s`
    seconds. Two holders in one process exclude each other as two processes do."""
    if path.is_dir():
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        attempts = Retrying(
            retry=retry_if_exception_type(BlockingIOError),
            wait=wait_fixed(_LOOK_EVERY_S),
            stop=stop_after_delay(wait_s),
            reraise=True,
        )
        attempts(fcntl.flock, descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)
