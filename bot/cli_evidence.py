"""The commands about logs: `diagnose` tells the likely cause, `redact` takes the secrets out."""

from __future__ import annotations

import json
import os
import select
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from policies.causes import in_words
from policies.cleaning import decode, plain
from policies.diagnosis import MAX_LINES, diagnose
from policies.novelty import new_lines
from policies.redaction import redact
from policies.redaction_view import redact_raw, unfinished

PANEL: Final = "Tools"
BLOCK_BYTES: Final = 1 << 20
LONGEST_LINE_BYTES: Final = 8 << 20
IDLE_S: Final = 0.3
KEY_BYTES: Final = 32_768
"""A private key is shorter; input that pauses inside one, or inside a YAML block, is held until that ends."""

FileArgument = Annotated[Path, typer.Argument(help="A log file; - reads standard input.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("diagnose", rich_help_panel=PANEL)(diagnose_file)
    app.command("redact", rich_help_panel=PANEL)(redact_file)


def diagnose_file(
    file: FileArgument = Path("-"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    before: Annotated[
        Path | None, typer.Option(help="A log from before the deploy: also name the new lines.")
    ] = None,
) -> None:
    """Tell the likely cause that a log ends with, what to do, and whether a revert helps.

    Exit 0: read (the class is null where the log tells of no failure). 2: the file cannot be read.
    """
    log = _end_of(file)
    found = diagnose(log)
    new = () if before is None else new_lines(_end_of(before), log)
    if as_json:
        answer: dict[str, object] = {
            "class": found.kind if found else None,
            "line": found.line if found else None,
            "advice": found.advice if found else None,
            "revert_helps": found.revert_helps.value if found else None,
        }
        if before is not None:
            answer["new_lines"] = list(new)
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    if found is None:
        typer.echo("The log tells of no failure.")
    else:
        typer.echo(f"Likely cause: {in_words(found.kind)} ({found.kind})")
        typer.echo(f"Line:         {found.line}")
        typer.echo(f"Advice:       {found.advice}")
        typer.echo(f"Revert helps: {found.revert_helps.value}")
    for line in new:
        typer.echo(f"New:          {line}")


def _end_of(file: Path) -> str:
    """The last 5,000 lines of a log, readable and without secrets."""
    lines: deque[str] = deque(maxlen=MAX_LINES)
    for block in _blocks(file):
        lines.extend(plain(decode(block)).removesuffix("\n").split("\n"))
    return redact("\n".join(lines)).text


def redact_file(file: FileArgument = Path("-")) -> None:
    """Copy a log to standard output without its secrets, as it comes; other bytes stay as they are.

    Exit 0: done. 2: the file cannot be read.
    """
    out = sys.stdout.buffer
    for block in _blocks(file):
        out.write(redact_raw(block)[0])
        out.flush()


def _blocks(file: Path) -> Iterator[bytes]:
    """The input in blocks of whole lines, none ending inside a secret of several; what has come is not kept waiting."""
    try:
        descriptor = sys.stdin.fileno() if str(file) == "-" else os.open(file, os.O_RDONLY)
    except OSError as error:
        raise _unreadable(file, error) from None
    held = b""
    ended = False
    while not ended:
        try:
            fresh, ended = _arrived(descriptor, BLOCK_BYTES)
        except OSError as error:
            raise _unreadable(file, error) from None
        held += fresh
        cut = len(held) if ended else _cut(held)
        if cut:
            yield held[:cut]
            held = held[cut:]


def _arrived(descriptor: int, at_most: int) -> tuple[bytes, bool]:
    """What has come by the time the writer pauses, and whether that was all."""
    parts: list[bytes] = []
    size = 0
    while size < at_most:
        if parts and not select.select([descriptor], [], [], IDLE_S)[0]:
            break
        part = os.read(descriptor, at_most - size)
        if not part:
            return b"".join(parts), True
        parts.append(part)
        size += len(part)
    return b"".join(parts), False


def _cut(held: bytes) -> int:
    """How much of `held` can be judged now."""
    end = held.rfind(b"\n") + 1
    if not end:
        # One endless line: cut it where no token stands, or somewhere, before it fills the memory.
        return 0 if len(held) < LONGEST_LINE_BYTES else held.rfind(b" ") + 1 or len(held)
    tail = max(0, end - KEY_BYTES)
    begin = unfinished(held[tail:end])
    return end if begin is None else held.rfind(b"\n", 0, tail + begin) + 1


def _unreadable(file: Path, error: OSError) -> typer.Exit:
    typer.echo(
        f"rollback-bot: {file} cannot be read ({error.strerror}). Give a readable file, or - for input.",
        err=True,
    )
    return typer.Exit(2)
