"""The machine that carries the containers: its folder, its `docker`, and the shell that SSM speaks to.

Its `docker` is a small one over real processes, which every machine has, whether a container engine works
there or not. Containers end with the world, even when the world is killed.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import IO

from rehearsal.docker_store import DockerError, Json, Store
from rehearsal.janitor import adopt_orphans, reap_group

_SHIM = """#!/bin/sh
# docker of the rehearsal: containers are processes of this machine, images are folders below {folder}
export REHEARSAL_MACHINE='{folder}'
exec '{python}' -I -S -c 'import sys; sys.path.insert(0, "{root}")
from rehearsal.docker_cli import main
sys.exit(main(sys.argv[1:]))' "$@"
"""


class Machine:
    """One instance with containers; a context manager that leaves no process behind."""

    def __init__(self, folder: Path) -> None:
        adopt_orphans()
        self._supervisors: set[int] = set()
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True, exist_ok=True)
        self.store = Store(folder)
        shim = self.bin / "docker"
        root = Path(__file__).resolve().parent.parent
        shim.write_text(_SHIM.format(folder=folder, python=sys.executable, root=root))
        shim.chmod(0o755)
        self._alive: IO[str] | None = (folder / "world-alive.lock").open("w")
        fcntl.flock(self._alive, fcntl.LOCK_EX)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What a shell on this machine sees."""
        return {
            "PATH": f"{self.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
        }

    def docker(
        self, *arguments: str, check: bool = True, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run the machine's docker; DockerError with its complaint when `check` and it fails."""
        done = subprocess.run(
            [str(self.bin / "docker"), *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        self._reap()
        if check and done.returncode != 0:
            raise DockerError(done.stderr.strip(), done.returncode)
        return done

    def container(self, name: str) -> Json | None:
        """`docker inspect` of a container, None when there is none of that name."""
        try:
            return self.store.container(name)
        except DockerError:
            return None

    def stop(self) -> None:
        """Remove every container and wait until no process of theirs is left; may be called twice."""
        if self._alive is None:
            return
        self._reap()
        names = [one["Id"] for one in self.store.containers()]
        if names:
            self.docker("rm", "-f", *names, check=False)
        self._alive.close()
        self._alive = None
        for pid in self._supervisors:
            reap_group(pid, patience_s=5)

    def _reap(self) -> None:
        """Collect the supervisors of containers that are gone; they are our children once docker has ended."""
        known = {one["State"]["SupervisorPid"] for one in self.store.containers()}
        self._supervisors |= known - {0}
        for pid in self._supervisors:
            reap_group(pid, patience_s=0)
