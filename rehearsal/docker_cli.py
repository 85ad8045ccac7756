"""The `docker` command of the rehearsal's machine: containers are real processes, images are folders.

What differs from docker: no namespaces. A container's port mapping is given to its process as HOST and PORT,
and paths below its working folder are translated. Everything a person or a bot reads is in docker's own form.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from rehearsal import docker_formats as formats
from rehearsal.docker_arguments import env_file, moment, parser, published_ports
from rehearsal.docker_build import read_dockerfile
from rehearsal.docker_store import DockerError, Json, Store, seconds_of
from rehearsal.docker_supervisor import environment_of, inside

START_WITHIN_S = 60.0


class Docker:
    """One method a verb; what it returns is the exit code."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def run(self, asked: argparse.Namespace) -> int:
        if not asked.detach:
            raise DockerError("docker: this machine runs containers in the background only (add -d)", 125)
        image = self.store.image(asked.image)
        env = dict(pair.split("=", 1) for pair in image["Config"]["Env"])
        for path in asked.env_file:
            env |= env_file(Path(path))
        env |= dict(
            pair.split("=", 1) if "=" in pair else (pair, os.environ.get(pair, "")) for pair in asked.env
        )
        bindings, published = published_ports(asked.publish)
        command = asked.command or image["Config"]["Cmd"]
        policy, _, most = asked.restart.partition(":")
        host = {
            "PortBindings": bindings,
            "RestartPolicy": {"Name": policy, "MaximumRetryCount": int(most or 0)},
            "AutoRemove": asked.rm,
        }
        labels = dict(pair.partition("=")[::2] for pair in asked.label)
        name = asked.name or f"rehearsal_{os.getpid()}"
        with self.store.locked():
            container = self.store.create(image, name, list(command), env | published, host, labels)
        self._start(container)
        print(container["Id"])
        return 0

    def _start(self, container: Json) -> None:
        """Put a supervisor behind the container and wait until its process runs."""
        (self.store.place(container) / "stop-requested").unlink(missing_ok=True)
        before = container["State"]["StartedAt"]
        root = str(Path(__file__).resolve().parent.parent)
        program = (
            f"import sys; sys.path.insert(0, {root!r}); from rehearsal.docker_supervisor import main; "
            "main(sys.argv[1], sys.argv[2])"
        )
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", program, str(self.store.folder), container["Id"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.store.place(container) / "supervisor.log").open("wb"),
            start_new_session=True,
        )
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            state = self.store.read(container["Id"])["State"]
            if state["Error"]:
                raise DockerError(
                    "docker: Error response from daemon: failed to create task for container: failed to "
                    "create shim task: OCI runtime create failed: unable to start container process: "
                    f"{state['Error']}",
                    127,
                )
            if state["StartedAt"] != before:
                return
            time.sleep(0.02)
        raise DockerError("docker: Error response from daemon: the container's supervisor did not start", 125)

    def build(self, asked: argparse.Namespace) -> int:
        folder = Path(asked.folder)
        config = read_dockerfile(folder / "Dockerfile")
        with self.store.locked():
            image = self.store.add_image(asked.tag, folder, config)
        print(image["Id"])
        return 0

    def ps(self, asked: argparse.Namespace) -> int:
        found = [one for one in self.store.containers() if _matches(one, asked.filter)]
        by_status = any(one.startswith("status=") for one in asked.filter)
        count = 1 if asked.latest else asked.last
        if not (asked.all or by_status or count):
            found = [one for one in found if one["State"]["Running"]]
        rows = [
            formats.container_row(one, whole=asked.no_trunc) for one in (found[:count] if count else found)
        ]
        _print(formats.listing(rows, formats.CONTAINER_COLUMNS, asked.format, asked.quiet))
        return 0

    def images(self, asked: argparse.Namespace) -> int:
        rows = [formats.image_row(one, whole=asked.no_trunc) for one in self.store.images()]
        if asked.repository:
            wanted, _, tag = asked.repository.partition(":")
            rows = [row for row in rows if row["Repository"] == wanted and tag in ("", row["Tag"])]
        _print(formats.listing(rows, formats.IMAGE_COLUMNS, asked.format, asked.quiet))
        return 0

    def logs(self, asked: argparse.Namespace) -> int:
        container = self.store.container(asked.name)
        path = self.store.place(container) / "json.log"
        shown = 0
        while True:
            running = asked.follow and self.store.container(asked.name)["State"]["Running"]
            entries = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
            if not shown:
                since, until = moment(asked.since), moment(asked.until)
                chosen = [
                    one
                    for one in entries
                    if (since is None or seconds_of(one["time"]) >= since)
                    and (until is None or seconds_of(one["time"]) < until)
                ]
                if asked.tail != "all" and asked.tail.lstrip("-").isdigit() and int(asked.tail) >= 0:
                    chosen = chosen[len(chosen) - min(int(asked.tail), len(chosen)) :]
            else:
                chosen = entries[shown:]
            shown = max(len(entries), 1)
            for entry in chosen:
                stream = sys.stdout if entry["stream"] == "stdout" else sys.stderr
                stream.write((entry["time"] + " " if asked.timestamps else "") + entry["log"])
                stream.flush()
            if not running:
                return 0
            time.sleep(0.1)

    def inspect(self, asked: argparse.Namespace) -> int:
        found, missing = [], []
        for name in asked.names:
            try:
                found.append(self.store.container(name))
            except DockerError:
                try:
                    found.append(self.store.image(name))
                except DockerError:
                    missing.append(name)
        for one in found:
            one.get("State", {}).pop("SupervisorPid", None)
        if asked.format:
            for one in found:
                print(formats.render("{{json .}}" if asked.format == "json" else asked.format, one))
        else:
            print(json.dumps(found, indent=4))
        for name in missing:
            sys.stderr.write(f"Error: No such object: {name}\n")
        return 1 if missing else 0

    def stop(self, asked: argparse.Namespace) -> int:
        for name in asked.names:
            self._signal(self.store.container(name), signal.SIGTERM, asked.time)
            print(name)
        return 0

    def kill(self, asked: argparse.Namespace) -> int:
        for name in asked.names:
            container = self.store.container(name)
            if not container["State"]["Running"]:
                raise DockerError(
                    f"Error response from daemon: cannot kill container: {name}: container "
                    f"{container['Id']} is not running"
                )
            number = signal.Signals["SIG" + asked.signal.removeprefix("SIG")]
            self._signal(container, number, 5.0)
            print(name)
        return 0

    def _signal(self, container: Json, number: signal.Signals, patience_s: float) -> None:
        """Ask the container's processes to end, then make them; wait until its end is noted."""
        (self.store.place(container) / "stop-requested").touch()
        deadline = time.monotonic() + patience_s
        pid = container["State"]["Pid"]
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while (now := self.store.container(container["Id"]))["State"]["Running"]:
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(now["State"]["Pid"] or now["State"]["SupervisorPid"], signal.SIGKILL)
                deadline += 5
            time.sleep(0.02)

    def start(self, asked: argparse.Namespace) -> int:
        for name in asked.names:
            container = self.store.container(name)
            if not container["State"]["Running"]:
                self._start(container)
            print(name)
        return 0

    def restart(self, asked: argparse.Namespace) -> int:
        for name in asked.names:
            self._signal(self.store.container(name), signal.SIGTERM, asked.time)
            self._start(self.store.container(name))
            print(name)
        return 0

    def rm(self, asked: argparse.Namespace) -> int:
        for name in asked.names:
            container = self.store.container(name)
            if container["State"]["Running"]:
                if not asked.force:
                    raise DockerError(
                        f'Error response from daemon: cannot remove container "{container["Name"]}": '
                        "container is running: stop the container before removing or force remove"
                    )
                self._signal(container, signal.SIGKILL, 5.0)
            with self.store.locked():
                shutil.rmtree(self.store.place(container), ignore_errors=True)
            print(name)
        return 0

    def exec(self, asked: argparse.Namespace) -> int:
        container = self.store.container(asked.name)
        if not container["State"]["Running"]:
            raise DockerError(f"Error response from daemon: container {container['Id']} is not running")
        if not asked.command:
            raise DockerError('"docker exec" requires at least 2 arguments.', 1)
        place = self.store.place(container)
        env = environment_of(container, place) | dict(pair.partition("=")[::2] for pair in asked.env)
        words = [inside(container, place, word) for word in asked.command]
        where = Path(inside(container, place, asked.workdir)) if asked.workdir else place / "fs"
        source = None if asked.interactive else subprocess.DEVNULL
        try:
            return subprocess.run(words, cwd=where, env=env, stdin=source, check=False).returncode
        except FileNotFoundError:
            sys.stderr.write(
                "OCI runtime exec failed: exec failed: unable to start container process: exec: "
                f'"{asked.command[0]}": executable file not found in $PATH: unknown\n'
            )
            return 127

    def info(self, asked: argparse.Namespace) -> int:
        known = self.store.containers()
        running = sum(1 for one in known if one["State"]["Running"])
        facts = {
            "Containers": len(known),
            "ContainersRunning": running,
            "Images": len(self.store.images()),
            "ServerVersion": "28.0.0-rehearsal",
        }
        if asked.format:
            print(formats.render("{{json .}}" if asked.format == "json" else asked.format, facts))
        else:
            print("\n".join(f" {key}: {value}" for key, value in facts.items()))
        return 0

    def version(self, asked: argparse.Namespace) -> int:
        facts = {"Client": {"Version": "28.0.0-rehearsal"}, "Server": {"Version": "28.0.0-rehearsal"}}
        print(formats.render(asked.format, facts) if asked.format else "Docker version 28.0.0-rehearsal")
        return 0


def _print(text: str) -> None:
    if text:
        print(text)


def _matches(container: Json, filters: list[str]) -> bool:
    for one in filters:
        key, _, value = one.partition("=")
        if key == "name":
            ok = re.search(value, container["Name"]) is not None or value == container["Name"].lstrip("/")
            ok = ok or re.search(value, container["Name"].lstrip("/")) is not None
        elif key == "status":
            ok = container["State"]["Status"] == value
        elif key == "id":
            ok = container["Id"].startswith(value)
        elif key == "ancestor":
            ok = (
                container["Config"]["Image"].partition(":")[0] == value
                or container["Config"]["Image"] == value
            )
        elif key == "exited":
            ok = container["State"]["Status"] == "exited" and str(container["State"]["ExitCode"]) == value
        elif key == "label":
            name, _, wanted = value.partition("=")
            labels = container["Config"]["Labels"]
            ok = name in labels and wanted in ("", labels[name])
        else:
            raise DockerError(f"Error response from daemon: invalid filter '{key}'")
        if not ok:
            return False
    return True


def main(arguments: list[str]) -> int:
    asked = parser().parse_args(arguments)
    store = Store(Path(os.environ["REHEARSAL_MACHINE"]))
    try:
        return int(getattr(Docker(store), asked.verb)(asked))
    except DockerError as error:
        sys.stderr.write(error.message + "\n")
        return error.code
    except BrokenPipeError:
        return 141
