"""Images and containers of the machine as folders and JSON files, in the form `docker inspect` prints.

Standard library only: the `docker` command of the rehearsal starts in a fresh, isolated interpreter.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Json = dict[str, Any]
NEVER = "0001-01-01T00:00:00Z"


class DockerError(Exception):
    """What the daemon would answer; `code` is the exit code of the command."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.message, self.code = message, code


def stamp(at_s: float) -> str:
    """A moment as docker writes it: RFC 3339 with nanoseconds, UTC."""
    whole = datetime.fromtimestamp(at_s, UTC)
    return whole.strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(at_s % 1 * 1e9):09d}Z"


def seconds_of(text: str) -> float:
    """The epoch seconds of a moment written by `stamp` (or any RFC 3339 time)."""
    trimmed = text.rstrip("Z")
    head, _, fraction = trimmed.partition(".")
    at = datetime.fromisoformat(head).replace(tzinfo=UTC).timestamp()
    return at + (float("0." + fraction) if fraction else 0.0)


def write_json(path: Path, content: Json) -> None:
    """Replace a file in one step, so that a reader never sees half of it."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    beside.write_text(json.dumps(content))
    beside.replace(path)


class Store:
    """The machine's folder: `images/`, `containers/`, and the lock that every change holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images_folder = folder / "images"
        self.containers_folder = folder / "containers"
        for one in (self.images_folder, self.containers_folder):
            one.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with (self.folder / "daemon.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    # Images

    @staticmethod
    def full_tag(name: str) -> str:
        return name if ":" in name.rpartition("/")[2] else f"{name}:latest"

    def images(self) -> list[Json]:
        found = [json.loads(path.read_text()) for path in self.images_folder.glob("*/image.json")]
        return sorted(found, key=lambda image: image["Created"], reverse=True)

    def image(self, name: str) -> Json:
        for image in self.images():
            if self.full_tag(name) in image["RepoTags"] or image["Id"].startswith(name):
                return image
            if len(name) >= 4 and image["Id"].removeprefix("sha256:").startswith(name):
                return image
        raise DockerError(
            f"Unable to find image '{self.full_tag(name)}' locally\n"
            f"docker: Error response from daemon: pull access denied for {name.partition(':')[0]}, "
            "repository does not exist or may require 'docker login'",
            125,
        )

    def add_image(self, tag: str, source: Path, config: Json) -> Json:
        """Keep a copy of `source` as the image's file system; an older image of that tag loses the tag."""
        identity = secrets.token_hex(32)
        place = self.images_folder / identity[:12]
        shutil.copytree(source, place / "fs", symlinks=True, ignore=shutil.ignore_patterns(".git"))
        for image in self.images():
            if self.full_tag(tag) in image["RepoTags"]:
                image["RepoTags"].remove(self.full_tag(tag))
                write_json(self.images_folder / image["Id"][7:19] / "image.json", image)
        size = sum(path.stat().st_size for path in (place / "fs").rglob("*") if path.is_file())
        image = {
            "Id": f"sha256:{identity}",
            "RepoTags": [self.full_tag(tag)],
            "RepoDigests": [],
            "Created": stamp(time.time()),
            "Size": size,
            "Config": config,
        }
        write_json(place / "image.json", image)
        return image

    # Containers

    def containers(self) -> list[Json]:
        """Every container, newest first."""
        found = []
        for path in self.containers_folder.glob("*/container.json"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                found.append(self._alive(json.loads(path.read_text())))
        return sorted(found, key=lambda container: container["Created"], reverse=True)

    def container(self, name: str) -> Json:
        known = self.containers()
        for container in known:
            if name in (container["Name"].lstrip("/"), container["Name"], container["Id"]):
                return container
        for container in known:
            if name and container["Id"].startswith(name):
                return container
        raise DockerError(f"Error response from daemon: No such container: {name}")

    def place(self, container: Json) -> Path:
        return self.containers_folder / str(container["Id"])[:12]

    def _alive(self, container: Json) -> Json:
        """A container whose supervisor is gone without a word counts as killed."""
        state = container["State"]
        if state["Running"] and not _exists(state["SupervisorPid"]):
            state |= {"Status": "exited", "Running": False, "Restarting": False, "ExitCode": 137, "Pid": 0}
        return container

    def read(self, identity: str) -> Json:
        text = (self.containers_folder / identity[:12] / "container.json").read_text()
        return dict(json.loads(text))

    def write(self, container: Json) -> None:
        write_json(self.place(container) / "container.json", container)

    def create(
        self,
        image: Json,
        name: str,
        command: list[str],
        env: dict[str, str],
        host: Json,
        labels: dict[str, str],
    ) -> Json:
        """Lay out a new container; DockerError when the name is taken."""
        for other in self.containers():
            if other["Name"] == f"/{name}":
                raise DockerError(
                    f'docker: Error response from daemon: Conflict. The container name "/{name}" is already'
                    f' in use by container "{other["Id"]}". You have to remove (or rename) that container to '
                    "be able to reuse that name.",
                    125,
                )
        identity = secrets.token_hex(32)
        place = self.containers_folder / identity[:12]
        shutil.copytree(self.images_folder / image["Id"][7:19] / "fs", place / "fs", symlinks=True)
        (place / "json.log").touch()
        container = {
            "Id": identity,
            "Created": stamp(time.time()),
            "Path": command[0],
            "Args": command[1:],
            "Name": f"/{name}",
            "Image": image["Id"],
            "RestartCount": 0,
            "Platform": "linux",
            "Driver": "folder",
            "LogPath": str(place / "json.log"),
            "State": new_state(),
            "HostConfig": host,
            "Config": {
                "Hostname": identity[:12],
                "Image": image["RepoTags"][0] if image["RepoTags"] else image["Id"],
                "Env": [f"{key}={value}" for key, value in env.items()],
                "Cmd": command,
                "WorkingDir": image["Config"]["WorkingDir"],
                "ExposedPorts": image["Config"]["ExposedPorts"],
                "Labels": labels,
            },
            "NetworkSettings": {"Ports": host["PortBindings"]},
        }
        self.write(container)
        return container


def new_state() -> Json:
    return {
        "Status": "created",
        "Running": False,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": 0,
        "SupervisorPid": 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": NEVER,
        "FinishedAt": NEVER,
    }


def _exists(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return bool(pid) and status[0] != "Z"
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return pid > 0 and not Path("/proc/self").exists()
