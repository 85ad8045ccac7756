"""An SSM on loopback that misbehaves as it is told to, over real HTTP; what it runs it runs in a real shell."""

# ruff: noqa: E501 - docker's lines stay whole

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.patience import PATIENCE_S

Json = dict[str, Any]
Reply = Callable[[Json, int], "Json | Fault"]


class Fault(Exception):
    """An AWS error, by code."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(code)
        self.code, self.message, self.status = code, message, status


def always(answer: Json | Fault) -> Reply:
    return lambda body, count: answer


def after(times: int, first: Json | Fault, then: Reply) -> Reply:
    return lambda body, count: first if count <= times else then(body, count)


def invocation(status: str, stdout: str = "", stderr: str = "", *, details: str = "", code: int = 0) -> Json:
    return {
        "CommandId": "c" * 36,
        "InstanceId": "i-0abc12345678",
        "Status": status,
        "StatusDetails": details or status,
        "ResponseCode": code,
        "StandardOutputContent": stdout[:24_000],
        "StandardErrorContent": stderr[:8_000],
    }


class SsmStandIn:
    """Answers SendCommand, GetCommandInvocation and DescribeInstanceInformation; `replies` overrides any of them."""

    replies: dict[str, Reply]
    delay_s: dict[str, float]
    calls: Counter[str]
    sent: list[Json]

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.reset()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                action = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = stand_in.answer(action, body)
                data, status = answer, 200
                if isinstance(answer, Fault):
                    data, status = {"__type": answer.code, "message": answer.message}, answer.status
                raw = json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(raw)))
                with contextlib.suppress(OSError):  # whoever asked may have given up
                    self.end_headers()
                    self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def reset(self) -> None:
        """Behave well again, with nothing remembered and the docker of DOCKER."""
        self.replies, self.delay_s = {}, {}
        self.calls, self.sent = Counter(), []
        self.docker(DOCKER)

    def __enter__(self) -> SsmStandIn:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def docker(self, script: str) -> None:
        """Put a `docker` on the host that is this shell script."""
        path = self.bin / "docker"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def answer(self, action: str, body: Json) -> Json | Fault:
        self.calls[action] += 1
        time.sleep(self.delay_s.get(action, 0.0))
        if action in self.replies:
            return self.replies[action](body, self.calls[action])
        return getattr(self, f"_{action}")(body, self.calls[action])

    def _SendCommand(self, body: Json, count: int) -> Json:
        self.sent.append(body)
        return {"Command": {"CommandId": "c" * 36, "Status": "Pending", "InstanceIds": body["InstanceIds"]}}

    def _GetCommandInvocation(self, body: Json, count: int) -> Json:
        asked = next(one for one in reversed(self.sent) if body["InstanceId"] in one["InstanceIds"])
        done = subprocess.run(
            ["/bin/sh", "-c", "\n".join(asked["Parameters"]["commands"])],
            env={"PATH": f"{self.bin}:/usr/bin:/bin"},
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        status = "Success" if done.returncode == 0 else "Failed"
        return invocation(
            status,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
            code=done.returncode,
        )

    def _DescribeInstanceInformation(self, body: Json, count: int) -> Json:
        return {"InstanceInformationList": []}


# A docker that knows one container, as the real one prints it.
DOCKER = """case "$1" in
ps) case "$*" in *-aq*) ;; *) cat <<'END'
CONTAINER ID   IMAGE                 COMMAND                  CREATED         STATUS                     PORTS     NAMES
4f2a9c1d0b3e   stagelog-api:9f2c1a   "/bin/sh -c ./start.…"   2 minutes ago   Exited (1) 3 seconds ago             stagelog-api
9d8c7b6a5f4e   redis:7               "docker-entrypoint.s…"   3 weeks ago     Up 3 weeks                 6379/tcp  cache
END
esac;;
inspect) eval "name=\\${$#}"; [ "$name" = stagelog-api ] || { echo "Error: No such object: $name" >&2; exit 1; }
  case "$3" in *RestartCount*) echo "/stagelog-api|exited|1|4|false|2026-03-01T10:00:00Z|2026-03-01T10:00:03Z|stagelog-api:9f2c1a|sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08|";; *) echo 4f2a9c1d0b3e;; esac;;
logs) eval "name=\\${$#}"; [ "$name" = stagelog-api ] || { echo "Error response from daemon: No such container: $name" >&2; exit 1; }
  cat "$(dirname "$0")/log";;
esac"""
