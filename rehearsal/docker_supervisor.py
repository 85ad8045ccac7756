"""Runs one container's process: keeps its log as docker's json-file driver does, and notes how it ended.

One such process stands behind each running container. It takes the container down with it when the world that
owns the machine is gone, which it learns from the lock that the world holds as long as it lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from rehearsal.docker_store import Json, Store, stamp
from rehearsal.janitor import adopt_orphans, reap_group

LONGEST_PAUSE_S = 60.0
GOOD_RUN_S = 10.0
END_WITHIN_S = 3.0


def inside(container: Json, place: Path, text: str) -> str:
    """Words that name a path of the container's own file system, such as /app/manage.py, made real."""
    work = container["Config"]["WorkingDir"].rstrip("/")
    if not work:
        return text
    found = re.compile(r"(?<![\w./-])" + re.escape(work) + r"(?![\w.-])")
    return str(found.sub(lambda _: str(place / "fs"), text))


def environment_of(container: Json, place: Path) -> dict[str, str]:
    """What the container's process sees: a bare system's variables and its own, nothing of the machine's."""
    base = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(place),
        "HOSTNAME": container["Config"]["Hostname"],
        "LANG": "C.UTF-8",
    }
    own = dict(pair.split("=", 1) for pair in container["Config"]["Env"])
    return base | own


class Supervisor:
    def __init__(self, store: Store, identity: str) -> None:
        self.store = store
        self.container = store.read(identity)
        self.place = store.place(self.container)
        self.process: subprocess.Popen[bytes] | None = None
        self._log_lock = threading.Lock()
        self._shown = (
            (str(self.place / "fs").encode(), self.container["Config"]["WorkingDir"].encode()),
            (str(Path(sys.executable).parent.parent).encode(), b"/usr/local"),
        )

    def run(self) -> None:
        """Run until the container is done; restart it as its policy says."""
        adopt_orphans()
        threading.Thread(target=self._follow_world, daemon=True).start()
        pause_s = 0.1
        while True:
            began = time.time()
            code = self._run_once()
            if not self._restart_wanted(code):
                return
            pause_s = 0.1 if time.time() - began > GOOD_RUN_S else min(pause_s * 2, LONGEST_PAUSE_S)
            self._note(Status="restarting", Restarting=True, Running=True)
            time.sleep(pause_s)
            self.container["RestartCount"] += 1

    def _run_once(self) -> int:
        command = self.container["Config"]["Cmd"]
        try:
            self.process = subprocess.Popen(
                [inside(self.container, self.place, word) for word in command],
                cwd=self.place / "fs",
                env=environment_of(self.container, self.place),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            why = f'exec: "{command[0]}": {error.strerror}: unknown'
            self._note(Status="exited", ExitCode=127, Error=why, SupervisorPid=os.getpid())
            return 127
        self._note(
            Status="running",
            Running=True,
            Restarting=False,
            Pid=self.process.pid,
            SupervisorPid=os.getpid(),
            StartedAt=stamp(time.time()),
            Error="",
        )
        readers = [
            threading.Thread(target=self._keep, args=(stream, name), daemon=True)
            for stream, name in ((self.process.stdout, "stdout"), (self.process.stderr, "stderr"))
        ]
        for reader in readers:
            reader.start()
        code = self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        reap_group(self.process.pid)
        for reader in readers:
            reader.join(timeout=2)
        code = 128 - code if code < 0 else code
        self._note(Status="exited", Running=False, Pid=0, ExitCode=code, FinishedAt=stamp(time.time()))
        return code

    def _keep(self, stream: IO[bytes], name: str) -> None:
        with (self.place / "json.log").open("a", encoding="utf-8") as log:
            for line in stream:
                for real, shown in self._shown:
                    line = line.replace(real, shown)
                entry = {"log": line.decode(errors="replace"), "stream": name, "time": stamp(time.time())}
                with self._log_lock:
                    log.write(json.dumps(entry) + "\n")
                    log.flush()

    def _note(self, **state: object) -> None:
        self.container["State"] |= state
        if self.place.exists():
            with contextlib.suppress(FileNotFoundError):
                self.store.write(self.container)

    def _restart_wanted(self, code: int) -> bool:
        policy = self.container["HostConfig"]["RestartPolicy"]
        if not self.place.exists() or (self.place / "stop-requested").exists():
            return False
        if policy["Name"] == "on-failure":
            most = policy["MaximumRetryCount"]
            return code != 0 and (most == 0 or self.container["RestartCount"] < most)
        return policy["Name"] in ("always", "unless-stopped")

    def _follow_world(self) -> None:
        """Wait for the lock that the living world holds; having it means that the world is gone."""
        with (self.store.folder / "world-alive.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
        (self.place / "stop-requested").touch()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        time.sleep(END_WITHIN_S)
        os._exit(1)


def main(folder: str, identity: str) -> None:
    Supervisor(Store(Path(folder)), identity).run()
