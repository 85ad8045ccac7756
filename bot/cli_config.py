"""The commands about configuration: validate a file, print its schema, explain every value in force."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bot.config import CONFIG_PATH, Resolved, resolve
from bot.config_file import read_config
from bot.config_model import RepositoryFile, ServerFile
from bot.failures import BadConfiguration
from bot.github_failures import asking_github
from bot.server_config import server_file
from bot.settings import Settings

PANEL = "Tools"
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(rich_help_panel=PANEL)(validate)
    app.command(rich_help_panel=PANEL)(schema)
    app.command(rich_help_panel=PANEL)(explain)


def validate(
    file: Annotated[Path, typer.Argument(help="The file; - reads standard input.")] = Path(CONFIG_PATH),
    server: Annotated[bool, typer.Option(help="It is the server's file (ROLLBACK_CONFIG).")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check a configuration file: every mistake with its line and the nearest right key.

    Exit 0: valid. 2: not valid, or not readable.
    """
    try:
        read_config(_read(file), ServerFile if server else RepositoryFile, str(file))
    except BadConfiguration as bad:
        if as_json:
            typer.echo(json.dumps({"valid": False, "problems": bad.reason.splitlines()}))
            raise typer.Exit(2) from None
        raise
    typer.echo(json.dumps({"valid": True, "problems": []}) if as_json else f"{file} is valid.")


def schema() -> None:
    """Print the JSON Schema of `.github/rollback.yml`, so that editors complete it."""
    typer.echo(json.dumps(schema_document(), indent=2))


def schema_document() -> dict[str, Any]:
    """The JSON Schema of the repository's file; docs/rollback.schema.json is this."""
    document = RepositoryFile.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": CONFIG_PATH, **document}


def explain(
    environment: Annotated[str, typer.Option("--environment", "-e", help="The environment to explain.")],
    repo: Annotated[str | None, typer.Option(help="owner/name: read its default branch on GitHub.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read this file instead of a repository's.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print every value in force for an environment, with the layer it comes from.

    Exit 1: the file names environments, and not this one. 2: it is not valid, or not readable.
    """
    if (repo is None) == (file is None):
        raise BadConfiguration("Say either --repo owner/name or --file PATH.")
    settings = Settings.load()
    data = _read(file) if file else _from_github(settings, repo or "")
    own = read_config(data, RepositoryFile, str(file or CONFIG_PATH)) if data is not None else None
    server = server_file(settings)
    resolved = resolve(server, own, environment)
    unknown = _unknown(environment, own, server, str(file or f"{CONFIG_PATH} of {repo}"))
    if as_json:
        values = {key: {"value": v.value, "origin": v.origin} for key, v in sorted(resolved.values.items())}
        told = {"environment": environment, "file": data is not None, "problem": unknown, "values": values}
        typer.echo(json.dumps(told))
    else:
        Console().print(_table(resolved))
        if data is None:
            typer.echo(f"There is no {CONFIG_PATH}: the bot only observes.")
        elif unknown:
            typer.echo(unknown)
    if unknown:
        raise typer.Exit(1)


def _unknown(
    environment: str, own: RepositoryFile | None, server: ServerFile | None, source: str
) -> str | None:
    """What to say of an environment that the file does not name. A file that names none is for all of them."""
    names = (own.environments or {}) if own else {}
    of_server = (server.environments or {}) if server else {}
    if not names or environment in names or environment in of_server:
        return None
    return (
        f"{source} has no environment {environment!r}, only {', '.join(names)}: the values shown are those for every "
        "environment. Correct --environment, or add it to the file."
    )


def _table(resolved: Resolved) -> Table:
    table = Table("key", "value", "from", title=f"In force for {resolved.environment}", title_justify="left")
    for key, value in sorted(resolved.values.items()):
        shown = f"{value.value:g} s" if isinstance(value.value, float) else json.dumps(value.value)
        table.add_row(key, shown, value.origin)
    return table


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadConfiguration(f"{file} cannot be read: {error.strerror}.") from None


def _from_github(settings: Settings, repository: str) -> bytes | None:
    from github import UnknownObjectException  # GitHub is reached by this one command only

    from bot.wiring import github_access

    with asking_github(f"read {CONFIG_PATH} of {repository}"):
        repo = github_access(settings).for_repository(repository)
        try:
            found = repo.get_contents(CONFIG_PATH)
        except UnknownObjectException:
            return None
    if isinstance(found, list):
        raise BadConfiguration(f"{CONFIG_PATH} of {repository} is a folder; it must be a file.")
    return found.decoded_content
