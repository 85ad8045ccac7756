"""What can be said to the rehearsal's `docker`: its verbs, their options, and the forms of their values."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from rehearsal.docker_store import DockerError, Json, seconds_of


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="docker", description="Containers of the rehearsal's machine.")
    verbs = whole.add_subparsers(dest="verb", required=True, metavar="COMMAND")

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
    return whole


def env_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise DockerError(f"docker: open {path}: no such file or directory.", 125)
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines if "=" in line)


def published_ports(given: list[str]) -> tuple[Json, dict[str, str]]:
    """-p [address:]outer:inner as docker's bindings, and as what the process is told."""
    bindings: Json = {}
    told: dict[str, str] = {}
    for mapping in given:
        parts = mapping.removesuffix("/tcp").split(":")
        address, outer, inner = (["", *parts] if len(parts) == 2 else parts)[:3]
        bindings[f"{inner}/tcp"] = [{"HostIp": address, "HostPort": outer}]
        told = {"HOST": address or "0.0.0.0", "PORT": outer}
    return bindings, told


def moment(text: str | None) -> float | None:
    """docker's --since and --until: a duration ago, epoch seconds or RFC 3339."""
    if text is None:
        return None
    if re.fullmatch(r"(\d+h)?(\d+m)?(\d+(\.\d+)?s)?", text) and text:
        units = {"h": 3600.0, "m": 60.0, "s": 1.0}
        return time.time() - sum(float(n) * units[u] for n, u in re.findall(r"([\d.]+)([hms])", text))
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    return seconds_of(text.replace("+00:00", "Z"))
