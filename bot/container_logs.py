"""Asks a docker host over SSM what its container did: `docker ps -a`, `inspect`, `logs --tail N`."""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import dataclass
from typing import Any, Final

from bot.failures import CannotCapture
from bot.host_shell import HostShell, Printed

LOG_BYTES: Final = 20_000
PS_BYTES: Final = 2_300
INSPECT_BYTES: Final = 800
"""Together under the 24,000 characters that SSM returns; the log keeps its tail, where the crash is."""
DOCKER_TIMEOUT_S: Final = 6
TIMED_OUT: Final = 124
NOT_FOUND: Final = 127
MAX_LOG_LINES: Final = 2_000

_CONTAINER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_FIELDS: Final = (
    ".Name",
    ".State.Status",
    ".State.ExitCode",
    ".RestartCount",
    ".State.OOMKilled",
    ".State.StartedAt",
    ".State.FinishedAt",
    ".Config.Image",
    ".Image",
    ".State.Error",
)
_EXITED: Final = re.compile(r"\b(?:Exited|Restarting) \((\d+)\)")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `docker ps -a`."""

    name: str
    image: str
    status: str


@dataclass(frozen=True, slots=True)
class ContainerReport:
    """What one host said of its containers. Raw text: whoever keeps any of it cleans it first.

    `problem` says what kept docker from answering, `missing` that it knows no such container.
    """

    rows: tuple[Row, ...] = ()
    table: str = ""
    name: str = ""
    status: str = ""
    exit_code: int | None = None
    restarts: int | None = None
    image: str | None = None
    digest: str | None = None
    oom_killed: bool = False
    error: str = ""
    log: str = ""
    missing: bool = False
    problem: str = ""
    notes: tuple[str, ...] = ()


def script(mark: str, container: str, lines: str) -> list[str]:
    """The shell lines that look and do not touch; `container` and `lines` are placed as they stand.

    POSIX sh. The shell puts the braces of docker's templates together: SSM takes a double one for its own.
    """
    template = "|".join("{{" + field + "}}" for field in _FIELDS).replace("{{", "$L").replace("}}", "$R")
    return [
        f"M={mark}",
        f"NAME={container}",
        "L='{''{'; R='}''}'; T=",
        f"command -v timeout >/dev/null 2>&1 && T='timeout {DOCKER_TIMEOUT_S}'",
        'echo "$M ps"',
        "O=$($T docker ps -a 2>&1); S=$?",
        f"printf '%s\\n' \"$O\" | head -c {PS_BYTES}",
        'echo; echo "$M ps-ended $S"',
        f'if [ "$S" -ne {TIMED_OUT} ] && [ "$S" -ne {NOT_FOUND} ]; then',
        "C=$NAME",
        'if ! $T docker inspect --format "$L.Id$R" "$C" >/dev/null 2>&1; then',
        'for F in "label=com.docker.compose.service=$NAME" "name=$NAME"; do',
        'X=$($T docker ps -aq --filter "$F" 2>/dev/null | head -n 1)',
        "case \"$X\" in ''|*[!0-9a-f]*) ;; *) C=$X; break;; esac",
        "done",
        "fi",
        'echo "$M inspect"',
        f'$T docker inspect --format "{template}" "$C" 2>&1 | head -c {INSPECT_BYTES}',
        'echo; echo "$M logs"',
        f'{{ $T docker logs --tail {lines} "$C" 2>&1; S=$?; echo; echo "$M logs-ended $S"; }}'
        f" | tail -c {LOG_BYTES}",
        "fi",
        "exit 0",
    ]


def own_document() -> dict[str, Any]:
    """The content of an SSM document that can do this and nothing else, for least privilege."""
    return {
        "schemaVersion": "2.2",
        "description": "rollback-bot reads docker ps, inspect and logs of one container; changes nothing.",
        "parameters": {
            "Mark": {"type": "String", "allowedPattern": "^@@[a-z0-9-]{8,40}$"},
            "Container": {"type": "String", "allowedPattern": f"^{_CONTAINER.pattern}$"},
            "Lines": {"type": "String", "allowedPattern": "^[0-9]{1,4}$", "default": "200"},
        },
        "mainSteps": [
            {
                "action": "aws:runShellScript",
                "name": "look",
                "inputs": {
                    "timeoutSeconds": "60",
                    "runCommand": script("{{ Mark }}", "{{ Container }}", "{{ Lines }}"),
                },
            }
        ],
    }


def read_container(
    shell: HostShell, instance: str, container: str, lines: int, *, until_s: float
) -> ContainerReport:
    """What docker on `instance` says of `container`; blocks until `until_s` (monotonic) at the latest.

    Only reads, so it may be repeated. Raises CannotCapture with the sentence for the evidence.
    """
    if not _CONTAINER.fullmatch(container):
        raise CannotCapture(
            f"{container!r} is not a container name (letters, digits and `_.-`): correct `runtime.container`."
        )
    mark = f"@@rollback-{secrets.token_hex(8)}"
    count = str(min(MAX_LOG_LINES, max(1, lines)))
    if shell.takes_scripts:
        parameters = {
            "commands": script(mark, shlex.quote(container), count),
            "executionTimeout": ["60"],
        }
    else:
        parameters = {"Mark": [mark], "Container": [container], "Lines": [count]}
    return read_report(shell.run(instance, parameters, until_s=until_s), mark, container)


def read_report(printed: Printed, mark: str, container: str) -> ContainerReport:
    """The report in what the script printed. Sections are told apart by `mark`, which no log can know."""
    sections, ended = _sections(printed.stdout, mark)
    notes = []
    if printed.truncated:
        notes.append("SSM cut the output at 24,000 characters; its end is missing.")
    if "ps-ended" not in ended:
        said = " ".join((printed.stdout + " " + printed.stderr).split())[:300]
        return ContainerReport(
            problem=f"The host's shell did not run the script: {said or 'it printed nothing'}."
        )
    table = sections.get("ps", "")
    problem = _docker_problem(ended["ps-ended"], table)
    if problem:
        return ContainerReport(table=table, problem=problem, notes=tuple(notes))
    rows = _rows(table)
    report = _inspected(sections.get("inspect", "")) or _listed(rows, container)
    log, log_notes, missing = _log(sections.get("logs", ""), ended.get("logs-ended"))
    return ContainerReport(
        rows=rows,
        table=table,
        name=report.name or container,
        status=_row_status(rows, report.name or container) or report.status,
        exit_code=report.exit_code,
        restarts=report.restarts,
        image=report.image,
        digest=report.digest,
        oom_killed=report.oom_killed,
        error=report.error,
        log=log,
        missing=report.missing and (missing or not log.strip()),
        notes=(*notes, *log_notes),
    )


def _sections(stdout: str, mark: str) -> tuple[dict[str, str], dict[str, int]]:
    sections: dict[str, list[str]] = {}
    ended: dict[str, int] = {}
    name = ""
    for line in stdout.split("\n"):
        if line.startswith(mark + " "):
            word, _, code = line[len(mark) + 1 :].strip().partition(" ")
            if word.endswith("-ended"):
                ended[word] = int(code) if code.isdigit() else -1
                name = ""
            else:
                name = word
        elif name:
            sections.setdefault(name, []).append(line)
    return {key: "\n".join(value).strip("\n") for key, value in sections.items()}, ended


def _docker_problem(code: int, table: str) -> str:
    said = " ".join(table.split())[:200]
    if code == TIMED_OUT:
        return f"docker did not answer within {DOCKER_TIMEOUT_S} s: its daemon hangs (a full disk does this)."
    if code == NOT_FOUND:
        return "There is no docker command on the host."
    if code != 0:
        return f"docker ps failed (exit code {code}): {said or 'it said nothing'}."
    return ""


def _rows(table: str) -> tuple[Row, ...]:
    lines = [line for line in table.split("\n") if line.strip()]
    header = next((line for line in lines if "IMAGE" in line and "NAMES" in line and "STATUS" in line), None)
    if header is None:
        return ()
    starts = [found.start() for found in re.finditer(r"\S+(?: \S+)*", header)]
    names = re.findall(r"\S+(?: \S+)*", header)
    found = []
    for line in lines[lines.index(header) + 1 :]:
        ends = [*starts[1:], len(line)]
        cells = {name: line[start:end].strip() for name, start, end in zip(names, starts, ends, strict=True)}
        # A cell wider than its header shifts the rest; the name is the last word in any case.
        found.append(
            Row(line.split()[-1], cells.get("IMAGE", ""), _status_in(line) or cells.get("STATUS", ""))
        )
    return tuple(found)


def _status_in(line: str) -> str:
    found = re.search(
        r"(?:Up (?:\S+ ){1,4}?(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?)(?: \([^)]*\))?"
        r"|(?:Exited|Restarting) \(\d+\)(?: [^\t]{1,40}? ago)?|Created|Dead|Removal In Progress|Paused)",
        line,
    )
    return found.group() if found else ""


def _row_status(rows: tuple[Row, ...], name: str) -> str:
    return next((row.status for row in rows if row.name == name), "")


def _listed(rows: tuple[Row, ...], container: str) -> ContainerReport:
    """What `docker ps -a` alone tells of `container`, where `docker inspect` told nothing."""
    exact = [row for row in rows if row.name == container]
    pattern = re.compile(rf"(?:.*[-_])?{re.escape(container)}(?:[-_]\d+)?")
    row = next(iter(exact or [row for row in rows if pattern.fullmatch(row.name)]), None)
    if row is None:
        return ContainerReport(missing=True)
    code = _EXITED.search(row.status)
    return ContainerReport(
        name=row.name,
        status=row.status,
        exit_code=int(code.group(1)) if code else None,
        image=row.image or None,
    )


def _inspected(text: str) -> ContainerReport | None:
    cells = text.strip().split("|", len(_FIELDS) - 1)
    if len(cells) != len(_FIELDS) or not cells[1]:
        return None
    name, status, code, restarts, oom, started, finished, image, digest, error = cells
    running = status in ("running", "paused")
    return ContainerReport(
        name=name.lstrip("/"),
        status=f"{status} since {started if running else finished}" if status else "",
        exit_code=int(code) if code.isdigit() and not running else None,
        restarts=int(restarts) if restarts.isdigit() else None,
        image=image or None,
        digest=digest or None,
        oom_killed=oom == "true",
        error=error.strip(),
    )


def _log(text: str, code: int | None) -> tuple[str, tuple[str, ...], bool]:
    """The log without a line cut at its head, notes on what went wrong, whether there is no container."""
    notes: list[str] = []
    missing = False
    if code is not None and code != 0:
        last = next((line for line in reversed(text.split("\n")) if line.strip()), "")
        missing = "No such container" in text
        if code == TIMED_OUT:
            notes.append(
                f"docker logs did not finish within {DOCKER_TIMEOUT_S} s; this is what it gave until then."
            )
        elif not missing:
            notes.append(f"docker logs failed (exit code {code}): {' '.join(last.split())[:200]}")
        if missing or "configured logging driver does not support reading" in text:
            text = ""
    elif code is None:
        notes.append("The end of the log is missing.")
    if len(text.encode("utf-8", "replace")) > LOG_BYTES - 200:
        # Cut by bytes, so the first line may be the end of one: half a secret is not recognised as one.
        text = text.partition("\n")[2]
        notes.append(f"Only the last {LOG_BYTES:,} bytes of the log were read.")
    return text, tuple(notes), missing
