"""Git's smart HTTP protocol through the real `git http-backend`, behind GitHub's sign-in."""

from __future__ import annotations

import base64
import binascii
import io
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from werkzeug.wrappers import Request, Response

from rehearsal.github_git import git_environment
from rehearsal.github_state import Repository, Token, at_least

if TYPE_CHECKING:
    from rehearsal.github import GitHub

_CHUNK = 64 * 1024


def _basic_secret(request: Request) -> str | None:
    """The password of a Basic sign-in, or the token of a Bearer one."""
    kind, _, rest = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() in ("bearer", "token"):
        return rest.strip()
    if kind.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or name


def _plain(status: int, text: str) -> Response:
    headers = {"WWW-Authenticate": 'Basic realm="GitHub"'} if status == 401 else {}
    return Response(text + "\n", status=status, headers=headers, content_type="text/plain; charset=utf-8")


class GitOverHttp:
    """Answers `/<owner>/<name>.git/…`; `accepts` tells whether a path is one of these."""

    def __init__(self, github: GitHub, project_root: Path) -> None:
        self._github = github
        self._root = project_root

    @staticmethod
    def accepts(path: str) -> bool:
        return path.endswith(("/info/refs", "/git-upload-pack", "/git-receive-pack"))

    def __call__(self, request: Request) -> Response:
        owner, name, rest = self._split(request.path)
        repository = self._github.ledger.repository(owner, name)
        secret = _basic_secret(request)
        token = self._github.valid_token(secret) if secret else None
        if secret and token is None:
            return _plain(401, "Invalid username or token. Password authentication is not supported.")
        pushing = "git-receive-pack" in (request.args.get("service", ""), rest)
        if repository is None or not self._may_read(repository, token):
            return _plain(404 if token else 401, "Repository not found.")
        if pushing and token is None:
            return _plain(401, "No anonymous write access.")
        if pushing and token is not None and not self._may_write(repository, token):
            return _plain(403, f"Write access to repository not granted to {token.user.login}.")
        if request.method == "POST" and pushing and token is not None:
            with repository.lock:
                before = self._github.git(repository).refs("refs/")
                answer = self._backend(request, repository, rest, token)
                answer.get_data()
                self._github.refs_pushed(repository, before, token)
            return answer
        return self._backend(request, repository, rest, token)

    @staticmethod
    def _split(path: str) -> tuple[str, str, str]:
        parts = path.strip("/").split("/", 2)
        owner, name, rest = (*parts, "", "", "")[:3]
        return owner, name.removesuffix(".git"), rest

    def _may_read(self, repository: Repository, token: Token | None) -> bool:
        if not repository.private:
            return True
        return token is not None and self._github.token_role(token, repository) != "none"

    def _may_write(self, repository: Repository, token: Token) -> bool:
        if token.app is not None:
            return token.permissions.get("contents") == "write" and self._github.token_covers(
                token, repository
            )
        return at_least(repository.role_of(token.user.login), "write")

    def _backend(self, request: Request, repository: Repository, rest: str, token: Token | None) -> Response:
        environment = self._cgi_environment(request, repository, rest, token)
        process = subprocess.Popen(
            ["git", "http-backend"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        threading.Thread(target=_feed, args=(request, process), daemon=True).start()
        complaint: list[bytes] = []
        reader = threading.Thread(target=lambda: complaint.append(process.stderr.read()), daemon=True)  # type: ignore[union-attr]
        reader.start()
        output = cast("io.BufferedReader", process.stdout)
        status, headers = _read_cgi_headers(output)
        headers = [(key, value) for key, value in headers if key.lower() != "content-length"]
        return Response(_stream(process, output), status=status, headers=headers, direct_passthrough=False)

    def _cgi_environment(
        self, request: Request, repository: Repository, rest: str, token: Token | None
    ) -> dict[str, str]:
        environment = git_environment(
            {
                "GIT_PROJECT_ROOT": str(self._root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": "/" + str(repository.path.relative_to(self._root)) + "/" + rest,
                "QUERY_STRING": request.query_string.decode(),
                "REQUEST_METHOD": request.method,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "REMOTE_ADDR": request.remote_addr or "",
                "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
                "HTTP_GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            }
        )
        if request.content_length is not None:
            environment["CONTENT_LENGTH"] = str(request.content_length)
        if token is not None:
            environment["REMOTE_USER"] = token.user.login
            environment["GIT_COMMITTER_NAME"] = token.user.login
            environment["GIT_COMMITTER_EMAIL"] = token.user.commit_email
            environment |= self._protection(repository, token)
        return environment

    def _protection(self, repository: Repository, token: Token) -> dict[str, str]:
        """git's own configuration that hands this person's forbidden refs to the protecting hook."""
        forbidden = [
            (branch, rule)
            for branch, rule in repository.protected.items()
            if token.user.login not in rule.bypass
        ]
        if not forbidden:
            return {}
        pairs = {"GIT_CONFIG_COUNT": str(len(forbidden))}
        for number, (branch, _) in enumerate(forbidden):
            pairs[f"GIT_CONFIG_KEY_{number}"] = "receive.procReceiveRefs"
            pairs[f"GIT_CONFIG_VALUE_{number}"] = f"refs/heads/{branch}"
        lines = ["Changes must be made through a pull request."]
        checks = {check for _, rule in forbidden for check in rule.required_checks}
        lines += [f'Required status check "{check}" is expected.' for check in sorted(checks)]
        return pairs | {"REHEARSAL_PROTECTION_RULES": "\n".join(lines)}


def _feed(request: Request, process: subprocess.Popen[bytes]) -> None:
    """Hand the request body on as it comes, so that a push of any size needs no memory."""
    target = cast("IO[bytes]", process.stdin)
    try:
        while chunk := request.stream.read(_CHUNK):
            target.write(chunk)
        target.close()
    except (BrokenPipeError, OSError, ValueError):
        process.kill()


def _read_cgi_headers(output: io.BufferedReader) -> tuple[int, list[tuple[str, str]]]:
    status, headers = 200, []
    while (line := output.readline().rstrip(b"\r\n")) != b"":
        key, _, value = line.decode("latin-1").partition(":")
        if key.lower() == "status":
            status = int(value.split()[0])
        else:
            headers.append((key.strip(), value.strip()))
    return status, headers


def _stream(process: subprocess.Popen[bytes], output: io.BufferedReader) -> Iterator[bytes]:
    try:
        while chunk := output.read1(_CHUNK):
            yield chunk
    finally:
        output.close()
        process.wait(timeout=60)
