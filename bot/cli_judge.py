"""The command `rollback-bot judge`: what the policies would have decided on recorded health traces."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bot.failures import BadConfiguration, BotFailure
from bot.health_trace import read_trace
from policies.facts import Deploy
from policies.judgement import judge_watch
from policies.limits import HealthLimits


def register(app: typer.Typer) -> None:
    """Add `judge` to the command line."""
    app.command(name="judge", rich_help_panel="Tools")(judge)


def judge(
    traces: Annotated[
        list[str],
        typer.Argument(
            metavar="TRACE.jsonl…", help="Recorded watches, one JSON object a line; - reads standard input."
        ),
    ],
    config: Annotated[
        Path | None, typer.Option("--config", help="Take the limits from this rollback.yml.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", help="Of the configuration; its only one by default.")
    ] = None,
) -> None:
    """Judge recorded health traces as a running guard would have: one JSON object a file, in their order.

    `{"decision": "roll_back|hold|healthy|keep_watching", "at_s": …, "reason": …}`; a file that is no trace
    has decision null and its sentence also on standard error. Exits 0, or 2 if any file was refused."""
    limits = HealthLimits()
    if config is not None:
        try:
            limits = _limits(config, environment)
        except BotFailure as failure:
            _complain(failure.reason)
            raise typer.Exit(2) from None
    refused = False
    for path in traces:
        decision: dict[str, object]
        try:
            judged = judge_watch(read_trace(path), limits)
            decision = {"decision": judged.outcome.value, "at_s": judged.at_s, "reason": judged.reason}
        except BotFailure as failure:
            refused = True
            _complain(failure.reason)
            decision = {"decision": None, "at_s": None, "reason": failure.reason}
        sys.stdout.write(json.dumps(decision) + "\n")
    if refused:
        raise typer.Exit(2)


def _limits(path: Path, environment: str | None) -> HealthLimits:
    """The health limits of a configuration file. Raises BadConfiguration."""
    from bot.config import plan_of, resolve  # pydantic is not needed to judge by the defaults
    from bot.config_file import read_config
    from bot.config_model import RepositoryFile

    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadConfiguration(f"{path} cannot be read ({error.strerror}): correct --config.") from None
    file = read_config(data, RepositoryFile, str(path))
    names = list(file.environments or {})
    if environment is not None and environment not in names:
        known = ", ".join(names) or "none"
        raise BadConfiguration(f"{path} has no environment {environment}, only {known}: correct it.")
    chosen = environment or (names[0] if len(names) == 1 else "")
    deploy = Deploy("", "", chosen, "", None, None, "trace", None, 0.0)
    resolved = resolve(None, file, chosen)
    return plan_of(resolved, deploy, default_branch="", private=True, server=None, file_found=True).health


def _complain(reason: str) -> None:
    sys.stderr.write(f"rollback-bot judge: {reason}\n")
