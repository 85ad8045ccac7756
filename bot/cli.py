"""The command `rollback-bot`: the processes of the Procfile, and the tools a person uses by hand."""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
from typing import Annotated

import typer

from bot.failures import BadConfiguration, BadSettings, BotFailure
from bot.logging_setup import configure_logging
from bot.settings import Settings

app = typer.Typer(
    name="rollback-bot",
    help="Puts a broken deploy back before anyone has found the right dashboard. "
    "Begin with `rollback-bot demo`: it plays a whole incident on this machine, without any account.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
PROCESSES, TOOLS = "Processes", "Tools"


@app.command(rich_help_panel=PROCESSES)
def web() -> None:
    """Hear webhooks and serve the dashboard (gunicorn, on PORT)."""
    settings = _start("web")
    _try_what_is_named(settings)
    from bot.serving import serve  # gunicorn is not needed by any other command

    serve(settings)


@app.command(rich_help_panel=PROCESSES)
def worker() -> None:
    """Guard deploys: watch, decide, capture, revert, verify, tell. Stop it with SIGTERM."""
    settings = _start("worker")
    from bot.worker import run_worker  # the engine is not needed by any other command

    run_worker(settings)


@app.command(rich_help_panel=PROCESSES)
def migrate() -> None:
    """Create or upgrade the database's tables. May be run again at any time."""
    settings = _start("tool")
    _migrate(settings)
    typer.echo("The database is up to date.")


@app.command(rich_help_panel=PROCESSES)
def start() -> None:
    """Run web and worker together on one machine, migrating first. Stop both with Ctrl-C."""
    settings = _start("worker")
    _try_what_is_named(settings)
    _migrate(settings)
    from honcho.manager import Manager

    manager = Manager()
    for name in ("web", "worker"):
        # honcho runs a shell line; it holds nothing but this interpreter's path and a fixed word.
        manager.add_process(name, shlex.join([sys.executable, "-m", "bot.cli", name]), env=dict(os.environ))
    manager.loop()
    raise typer.Exit(manager.returncode or 0)


@app.command(
    rich_help_panel=TOOLS,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def demo(context: typer.Context) -> None:
    """Play a whole incident on loopback: real git, HTTP and processes. See `demo --help`."""
    raise typer.Exit(
        subprocess.run([sys.executable, "-m", "rehearsal", *context.args], check=False).returncode
    )


TOOL_MODULES = {
    "revert": "bot.cli_revert",
    "judge": "bot.cli_judge",
    "diagnose": "bot.cli_evidence",
    "redact": "bot.cli_evidence",
    "validate": "bot.cli_config",
    "schema": "bot.cli_config",
    "explain": "bot.cli_config",
    "incidents": "bot.cli_incidents",
    "replay": "bot.cli_replay",
    "simulate": "bot.cli_simulate",
    **dict.fromkeys(("hold", "resume", "freeze", "unfreeze", "audit"), "bot.cli_switches"),
}
"""Which module has which command. Each imports what it needs (git, AWS, patterns, the database), so a command
that pipes a log does not wait for the others' libraries."""


def _register_tools(arguments: list[str]) -> None:
    """Import the asked command's module alone; all of them for help and for what we do not know."""
    wanted = arguments[0] if arguments else ""
    if wanted in {command.callback.__name__ for command in app.registered_commands if command.callback}:
        return
    found = TOOL_MODULES.get(wanted)
    for module in dict.fromkeys([found] if found else TOOL_MODULES.values()):
        importlib.import_module(module).register(app)


def _start(role: str) -> Settings:
    settings = Settings.load(role=role)
    configure_logging(None if settings.log_format == "auto" else settings.log_format == "json")
    return settings


def _try_what_is_named(settings: Settings) -> None:
    """Stop for a file, key or folder that the settings name and that cannot be used. The worker builds its parts of
    them; the web process would answer for days beside a worker that never starts. Raises BotFailure."""
    from bot.app_key import usable_key
    from bot.database_place import make_database_dir
    from bot.server_config import server_file

    server_file(settings)
    if settings.app_private_key is not None:
        usable_key(settings.app_private_key)
    make_database_dir(settings)


def _migrate(settings: Settings) -> None:
    from bot import migrations
    from bot.database_place import make_database_dir
    from bot.durable import migrate_engine

    make_database_dir(settings)
    migrations.migrate(settings.database)
    migrate_engine(settings.database)


def main(arguments: Annotated[list[str] | None, "None: those of the process"] = None) -> None:
    """Run the command line; failures of ours become one sentence and an exit code (2: bad input)."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        _register_tools(given)
        app(given)
    except BotFailure as failure:
        typer.echo(f"rollback-bot: {failure.reason}", err=True)
        sys.exit(2 if isinstance(failure, BadSettings | BadConfiguration) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
