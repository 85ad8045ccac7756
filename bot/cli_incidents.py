"""The command `incidents`: the dashboard's facts in the terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bot.codec import encode
from bot.comments import headline
from bot.database_place import existing_store
from bot.failures import BotFailure
from bot.settings import Settings
from policies.acquittal import Ledger, ledger
from policies.facts import Incident

ALL = 100_000

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(rich_help_panel="Tools")(incidents)


def incidents(
    incident_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="One incident, whole.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    summary: Annotated[
        bool, typer.Option("--summary", help="How often the bot was right and wrong so far.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """List incidents, or show one with its timeline and every gate of its decision."""
    store = existing_store(Settings.load())
    if summary:
        _summarise(ledger(store.incidents(ALL)), as_json)
        return
    if incident_id is None:
        _list(store.incidents(limit), as_json)
        return
    incident = store.incident(incident_id)
    if incident is None:
        raise BotFailure(f"There is no incident {incident_id}. `rollback-bot incidents` lists them.")
    if as_json:
        typer.echo(json.dumps(encode(incident, Incident)))
    else:
        _show(incident)


def _summarise(told: Ledger, as_json: bool) -> None:
    if as_json:
        shares = {"precision": told.precision, "recall": told.recall}
        typer.echo(json.dumps({**encode(told, Ledger), **shares}))
        return
    typer.echo(f"Rolled back by the bot itself: {told.rollbacks}, of these wrongly: {told.false_rollbacks}.")
    typer.echo(f"Bad deploys that a person had to order back: {told.missed}. Held and left: {told.held}.")
    typer.echo(f"Precision {_share(told.precision)}, recall {_share(told.recall)}.")


def _share(share: float | None) -> str:
    return "not known yet" if share is None else f"{share:.1%}"


def _list(found: tuple[Incident, ...], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([encode(incident, Incident) for incident in found]))
        return
    if not found:
        typer.echo("No incident so far.")
        return
    table = Table("id", "opened (UTC)", "service", "state", "commit", "what")
    for incident in found:
        table.add_row(
            incident.id,
            _utc(incident.opened_at_s),
            incident.deploy.service,
            incident.state.value,
            incident.deploy.sha[:9],
            headline(incident),
        )
    Console().print(table)


def _show(incident: Incident) -> None:
    typer.echo(headline(incident))
    typer.echo(f"{incident.state.value}: {incident.reason}")
    for moment in incident.timeline:
        typer.echo(f"  {_utc(moment.at_s)}  {moment.what}")
    for gate in incident.decision.gates if incident.decision else ():
        typer.echo(f"  [{gate.status}] {gate.rule}: {gate.reason}")


def _utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
