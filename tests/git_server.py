"""A git server on loopback for tests: the real `git http-backend` behind Basic authentication."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response


class GitServer:
    """Serves every bare repository below `root` as `<url>/<owner>/<name>.git`.

    With a `token`, everything else is answered 401. `before` sees each request first (to delay, break,
    watch)."""

    def __init__(self, root: Path, token: str | None = None) -> None:
        self.root = root
        self.token = token
        self.before: Callable[[Request], Response | None] | None = None
        self.requests: list[tuple[str, str]] = []
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[GitServer]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join(10)
            self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        self.requests.append((request.method, request.full_path))
        response = (self.before(request) if self.before else None) or self.serve(request)
        return response(environ, start_response)

    def serve(self, request: Request) -> Response:
        if self.token is not None and not self._is_signed_in(request):
            return Response("sign in\n", 401, {"WWW-Authenticate": 'Basic realm="git"'})
        body = request.get_data()
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string.decode(),
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "bot",
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environ, capture_output=True)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        status = next((int(value.split(" ")[0]) for name, value in headers if name == "Status"), 200)
        return Response(rest, status, [(name, value) for name, value in headers if name != "Status"])

    def _is_signed_in(self, request: Request) -> bool:
        kind, _, rest = request.headers.get("Authorization", "").partition(" ")
        with contextlib.suppress(ValueError):
            return kind == "Basic" and base64.b64decode(rest).decode().partition(":")[2] == self.token
        return False


if __name__ == "__main__":
    with GitServer(Path(sys.argv[1])).running() as alone:
        print(alone.url, flush=True)
        sys.stdin.read()
