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
from rehearsal.docker_build import read_dockerfile
from rehearsal.docker_store import DockerError, Json, Store, seconds_of
from rehearsal.docker_supervisor import environment_of, inside

START_WITHIN_S = 10.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="docker", description="Containers of the rehearsal's machine.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    run = verbs.add_parser("run", help="create and start a container")
    run.add_argument("-d", "--detach", action="store_true")
    run.add_argument("--name")
    run.add_argument("-e", "--env", action="append", default=[])
    run.add_argument("--env-file", action="append", default=[])
    run.add_argument("-p", "--publish", action="append", default=[])
    run.add_argument("-l", "--label", action="append", default=[])
    run.add_argument("--restart", default="no")
    run.add_argument("--rm", action="store_true")
    run.add_argument("image")
    run.add_argument("command", nargs=argparse.REMAINDER)

    build = verbs.add_parser("build", help="make an image from a folder with a Dockerfile")
    build.add_argument("-t", "--tag", required=True)
    build.add_argument("-q", "--quiet", action="store_true")
    build.add_argument("folder")

    ps = verbs.add_parser("ps", help="list containers")
    ps.add_argument("-a", "--all", action="store_true")
    ps.add_argument("-q", "--quiet", action="store_true")
    ps.add_argument("-n", "--last", type=int, default=0)
    ps.add_argument("-l", "--latest", action="store_true")
    ps.add_argument("-f", "--filter", action="append", default=[])
    ps.add_argument("--format")
    ps.add_argument("--no-trunc", action="store_true")

    logs = verbs.add_parser("logs", help="what a container wrote")
    logs.add_argument("-n", "--tail", default="all")
    logs.add_argument("-t", "--timestamps", action="store_true")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("--since")
    logs.add_argument("--until")
    logs.add_argument("--details", action="store_true")
    logs.add_argument("name")

    inspect = verbs.add_parser("inspect", help="facts about containers or images")
    inspect.add_argument("-f", "--format")
    inspect.add_argument("--type")
    inspect.add_argument("-s", "--size", action="store_true")
    inspect.add_argument("names", nargs="+")

    for verb in ("stop", "restart"):
        one = verbs.add_parser(verb)
        one.add_argument("-t", "--time", "--timeout", type=float, default=10.0)
        one.add_argument("names", nargs="+")
    kill = verbs.add_parser("kill")
    kill.add_argument("-s", "--signal", default="KILL")
    kill.add_argument("names", nargs="+")
    verbs.add_parser("start").add_argument("names", nargs="+")
    remove = verbs.add_parser("rm")
    remove.add_argument("-f", "--force", action="store_true")
    remove.add_argument("-v", "--volumes", action="store_true")
    remove.add_argument("names", nargs="+")
    execute = verbs.add_parser("exec", help="run a command in a running container")
    execute.add_argument("-i", "--interactive", action="store_true")
    execute.add_argument("-t", "--tty", action="store_true")
    execute.add_argument("-w", "--workdir")
    execute.add_argument("-e", "--env", action="append", default=[])
    execute.add_argument("-u", "--user")
    execute.add_argument("name")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    images = verbs.add_parser("images")
    images.add_argument("-q", "--quiet", action="store_true")
    images.add_argument("-a", "--all", action="store_true")
    images.add_argument("--format")
    images.add_argument("--no-trunc", action="store_true")
    images.add_argument("repository", nargs="?")
    verbs.add_parser("info").add_argument("-f", "--format")
    verbs.add_parser("version").add_argument("-f", "--format")
    return parser


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
            env |= _env_file(Path(path))
        env |= dict(
            pair.split("=", 1) if "=" in pair else (pair, os.environ.get(pair, "")) for pair in asked.env
        )
        bindings, published = _published(asked.publish)
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
                since, until = _moment(asked.since), _moment(asked.until)
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


def _env_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise DockerError(f"docker: open {path}: no such file or directory.", 125)
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _published(given: list[str]) -> tuple[Json, dict[str, str]]:
    """-p [address:]outer:inner as docker's bindings, and as what the process is told."""
    bindings: Json = {}
    told: dict[str, str] = {}
    for mapping in given:
        parts = mapping.removesuffix("/tcp").split(":")
        address, outer, inner = (["", *parts] if len(parts) == 2 else parts)[:3]
        bindings[f"{inner}/tcp"] = [{"HostIp": address, "HostPort": outer}]
        told = {"HOST": address or "0.0.0.0", "PORT": outer}
    return bindings, told


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


def _moment(text: str | None) -> float | None:
    """docker's --since and --until: a duration ago, epoch seconds or RFC 3339."""
    if text is None:
        return None
    if re.fullmatch(r"(\d+h)?(\d+m)?(\d+(\.\d+)?s)?", text) and text:
        units = {"h": 3600.0, "m": 60.0, "s": 1.0}
        return time.time() - sum(float(n) * units[u] for n, u in re.findall(r"([\d.]+)([hms])", text))
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    return seconds_of(text.replace("+00:00", "Z"))


def main(arguments: list[str]) -> int:
    asked = _parser().parse_args(arguments)
    store = Store(Path(os.environ["REHEARSAL_MACHINE"]))
    try:
        return int(getattr(Docker(store), asked.verb)(asked))
    except DockerError as error:
        sys.stderr.write(error.message + "\n")
        return error.code
    except BrokenPipeError:
        return 141
