"""Read the few Dockerfile instructions that matter when an image is a folder and the machine has Python."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from rehearsal.docker_store import DockerError, Json


def read_dockerfile(path: Path) -> Json:
    """Env, Cmd, WorkingDir and ExposedPorts; FROM, RUN and COPY are what this machine already has."""
    if not path.is_file():
        raise DockerError(
            "ERROR: failed to solve: failed to read dockerfile: open Dockerfile: no such file or directory"
        )
    config: Json = {"Env": [], "Cmd": [], "WorkingDir": "/", "ExposedPorts": {}, "Labels": {}}
    for line in path.read_text().replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "ENV":
            config["Env"] += shlex.split(rest)
        elif word.upper() == "WORKDIR":
            config["WorkingDir"] = rest.strip()
        elif word.upper() == "EXPOSE":
            config["ExposedPorts"] = {f"{port}/tcp": {} for port in rest.split()}
        elif word.upper() == "CMD":
            text = rest.strip()
            config["Cmd"] = json.loads(text) if text.startswith("[") else ["/bin/sh", "-c", text]
    if not config["Cmd"]:
        raise DockerError("ERROR: this machine needs a CMD in the Dockerfile")
    return config
