"""The one git door: every git command of the bot passes here and nowhere else.

It fixes the environment (no prompts, no hooks, no user or system configuration, no replace objects, only the
protocols this installation allows), the time a command may take, and how credentials travel: in the
environment of that one command (`GIT_CONFIG_COUNT`), never in an argument, a file or a URL. What git says is
cleaned of control characters and secrets before anyone else sees it. Underneath is GitPython's `Git.execute`.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, cast

import structlog

from bot.failures import BotFailure
from bot.git_names import git_sentence, shown

# GitPython looks for git when it is imported, and fails there; a missing git shall be told by the door instead.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
from git.cmd import Git
from git.exc import GitCommandNotFound

log = structlog.get_logger(__name__)

LOCAL_S = 120.0
"""Seconds a command that touches only this disk may take."""
OLDEST_GIT = (2, 38)
"""`cat-file --batch-check -z`, protected configuration from the environment, sparse `git revert`."""
NETWORK_S = 180.0
"""Seconds a fetch or push may take; a connection that stalls is given up by git itself after 60 s."""
CLONE_S = 3600.0
_TERMINATE_S = 5.0
_NOWHERE = "/nonexistent"
NO_INDEX = f"{_NOWHERE}/index"
"""`GIT_INDEX_FILE` of commands that need none: in a sparse worktree they would unfold the whole index."""
_ENV_PROGRAM = "env"

ALWAYS: tuple[tuple[str, str], ...] = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.sshCommand", ""),
    ("core.askPass", ""),
    ("core.pager", "cat"),
    ("core.editor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("commit.gpgSign", "false"),
    ("push.gpgSign", "false"),
    ("log.showSignature", "false"),
    ("rerere.enabled", "false"),
    ("advice.detachedHead", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("push.recurseSubmodules", "no"),
    ("filter.lfs.clean", ""),
    ("filter.lfs.smudge", ""),
    ("filter.lfs.process", ""),
    ("filter.lfs.required", "false"),
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
    ("protocol.allow", "never"),
)
"""Configuration of every command; the highest precedence git knows, so that no repository can override it."""

_A_PERSONS_OWN = frozenset({"core.sshCommand", "core.askPass", "credential.helper", "http.followRedirects"})
_A_PERSONS_ENVIRONMENT = (
    *(
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_GLOBAL",
        "GIT_ASKPASS",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
    ),
    *("HOME", "XDG_CONFIG_HOME"),
)
"""What is left as the person at the terminal has it when we speak to their remote in their name."""

_CERTIFICATES = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
"""Where a company's own certificates lie; the one thing in the environment that git needs of its user."""

Moment = Literal["before", "started", "after"]
Observer = Callable[[Moment, tuple[str, ...]], None]


class GitFailed(BotFailure):
    """A git command ended in a way its caller cannot use. Adapters translate it; it never leaves `bot/`."""

    def __init__(self, reason: str, code: int | None = None, err: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.err = err


class GitTimedOut(GitFailed):
    """It took longer than it may; it was asked to stop, then made to."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What one command may show to one server. The token is in no `repr`."""

    server_url: str
    user: str
    token: str = field(repr=False)

    def _basic(self) -> str:
        return base64.b64encode(f"{self.user}:{self.token}".encode()).decode()

    def config(self) -> tuple[tuple[str, str], ...]:
        """As git configuration, bound to the server."""
        key = f"http.{self.server_url.rstrip('/')}/.extraHeader"
        return ((key, f"Authorization: Basic {self._basic()}"),)

    def secrets(self) -> tuple[str, ...]:
        return tuple(text for text in (self.token, self._basic()) if text)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a git command ended: exit code, raw standard output, cleaned standard error."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text without its last newline; bytes that are no UTF-8 survive as surrogates."""
        return self.out.decode("utf-8", "surrogateescape").rstrip("\n")

    def fields(self) -> list[bytes]:
        """Standard output of a `-z` command, split."""
        return self.out.split(b"\0")[:-1] if self.out else []


class GitDoor:
    """Runs git. `protocols` are the transports this installation allows (`https`, and `http`, `file`, `ssh`
    where configured); `observe` is told of every command (for timings and for the crash tests)."""

    def __init__(self, protocols: Iterable[str] = ("https",), observe: Observer | None = None) -> None:
        self.protocols = tuple(dict.fromkeys(protocols))
        self._observe = observe

    def run(
        self,
        *args: str,
        git_dir: Path | None,
        work_tree: Path | None = None,
        start_in: Path | None = None,
        stdin: bytes = b"",
        timeout_s: float = LOCAL_S,
        ok: tuple[int, ...] = (0,),
        env: Mapping[str, str] | None = None,
        config: Iterable[tuple[str, str]] = (),
        credential: Credential | None = None,
        on_progress: Callable[[str], None] | None = None,
        keep_open: tuple[int, ...] = (),
        as_person: bool = False,
    ) -> Answer:
        """Run `git <args>` on `git_dir` and wait for it; without one, git looks for it from `start_in` up.

        `as_person` leaves the user's own git configuration and credential helpers in force: only for
        speaking to the remote of somebody's checkout, from a repository that is ours.
        `ok` are the exit codes the caller understands; any other raises GitFailed, `()` accepts all.
        `keep_open` are descriptors git inherits: a lock held through one outlives us until git has ended too,
        so that a successor never meets a git of ours that is still running. Whether a call may be repeated
        depends on the git command."""
        where = [f"--git-dir={git_dir}"] if git_dir else []
        where += [f"--work-tree={work_tree}"] if work_tree else []
        secrets = credential.secrets() if credential else ()
        if any(secret in arg for secret in secrets for arg in args):
            raise GitFailed("A credential was about to become a git argument; nothing was run.")
        settings = (*config, *(credential.config() if credential else ()))
        environment = self._environment(settings, env or {}, as_person)
        command = [*_unset(environment), "git", *where, *args]
        self._tell("before", args)
        began = time.monotonic()
        answer = self._execute(
            command,
            start_in or work_tree or git_dir or Path.cwd(),
            environment,
            stdin,
            timeout_s,
            secrets,
            on_progress,
            keep_open,
            args,
        )
        took_s = round(time.monotonic() - began, 4)
        log.debug("git", command=args[:1], code=answer.code, took_s=took_s)
        self._tell("after", args)
        if ok and answer.code not in ok:
            reason = f"git {args[0]} failed: {git_sentence(answer.err)}"
            raise GitFailed(reason, answer.code, answer.err)
        return answer

    def require_git(self) -> None:
        """Raises GitFailed with a sentence where git is missing or too old."""
        said = self.run("version", git_dir=None, start_in=Path("/")).text
        found = re.search(r"(\d+)\.(\d+)", said)
        if not found or (int(found[1]), int(found[2])) < OLDEST_GIT:
            wanted = ".".join(map(str, OLDEST_GIT))
            raise GitFailed(f"This machine has {shown(said, limit=60)}; git {wanted} or later is needed.")

    def _tell(self, moment: Moment, args: tuple[str, ...]) -> None:
        if self._observe:
            self._observe(moment, args)

    def _environment(
        self, config: Iterable[tuple[str, str]], extra: Mapping[str, str], as_person: bool
    ) -> dict[str, str]:
        allowed = tuple((f"protocol.{name}.allow", "always") for name in self.protocols)
        always = [pair for pair in ALWAYS if not (as_person and pair[0] in _A_PERSONS_OWN)]
        pairs = [*always, *allowed, *config]
        environment = {
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": "/dev/null",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "GIT_EDITOR": "false",
            "GIT_SEQUENCE_EDITOR": "false",
            "GIT_PAGER": "cat",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_ALLOW_PROTOCOL": ":".join(self.protocols),
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
            "HOME": _NOWHERE,
            "XDG_CONFIG_HOME": _NOWHERE,
            "GIT_CONFIG_COUNT": str(len(pairs)),
        }
        for number, (key, value) in enumerate(pairs):
            environment[f"GIT_CONFIG_KEY_{number}"] = key
            environment[f"GIT_CONFIG_VALUE_{number}"] = value
        if as_person:
            for name in _A_PERSONS_ENVIRONMENT:
                environment.pop(name, None)
                environment |= {name: os.environ[name]} if name in os.environ else {}
        environment.update(extra)
        return environment

    def _execute(
        self,
        command: list[str],
        cwd: Path,
        environment: dict[str, str],
        stdin: bytes,
        timeout_s: float,
        secrets: tuple[str, ...],
        on_progress: Callable[[str], None] | None,
        keep_open: tuple[int, ...],
        args: tuple[str, ...],
    ) -> Answer:
        try:
            # Its own session: a timeout must reach git's own children (git-remote-https, pack-objects) too.
            wrapped = Git(str(cwd)).execute(
                command,
                istream=subprocess.PIPE,
                as_process=True,
                env=environment,
                start_new_session=True,
                pass_fds=keep_open,
            )
        except (GitCommandNotFound, FileNotFoundError) as missing:
            raise GitFailed("git was not found on this machine. Install git 2.38 or later.") from missing
        process = cast("subprocess.Popen[bytes]", wrapped.proc)
        self._tell("started", args)
        try:
            if on_progress:
                out, err = _talk(process, on_progress, timeout_s)
            else:
                out, err = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired as slow:
            _stop(process)
            raise GitTimedOut(f"git {args[0]} took longer than {timeout_s:g} s and was stopped.") from slow
        except BaseException:
            _stop(process)
            raise
        return Answer(process.returncode, out, shown(err.decode("utf-8", "replace"), secrets, limit=20000))


def _unset(environment: Mapping[str, str]) -> list[str]:
    """GitPython hands our whole environment on; a stray GIT_DIR or GIT_TRACE in it must not reach git."""
    stray = sorted(
        name
        for name in os.environ
        if name.startswith("GIT_")
        and not name.startswith("GIT_PYTHON_")
        and name not in environment
        and name not in _CERTIFICATES
    )
    return [_ENV_PROGRAM, *(part for name in stray for part in ("-u", name))] if stray else []


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM first, on which git removes its lock files; SIGKILL only for one that does not listen."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_TERMINATE_S)
            break
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()


def _talk(
    process: subprocess.Popen[bytes], on_progress: Callable[[str], None], timeout_s: float
) -> tuple[bytes, bytes]:
    """Like `communicate`, handing every progress line on as it comes."""
    kept: list[bytes] = []
    out: list[bytes] = []

    def read_errors(stream: IO[bytes]) -> None:
        rest = b""
        while chunk := os.read(stream.fileno(), 65536):
            *lines, rest = re.split(rb"[\r\n]", rest + chunk)
            for line in filter(None, lines):
                if re.search(rb"\d+% \(\d+/\d+\)", line):
                    on_progress(line.decode("utf-8", "replace"))
                else:
                    kept.append(line)
        kept.append(rest)

    def read_output(stream: IO[bytes]) -> None:
        out.append(stream.read())

    if process.stdin:
        process.stdin.close()
    readers = [
        threading.Thread(target=read_errors, args=(process.stderr,), daemon=True),
        threading.Thread(target=read_output, args=(process.stdout,), daemon=True),
    ]
    for reader in readers:
        reader.start()
    process.wait(timeout_s)
    for reader in readers:
        reader.join(_TERMINATE_S)
    return b"".join(out), b"\n".join(kept)
