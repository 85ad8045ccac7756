"""The commands `hold`, `resume`, `freeze`, `unfreeze` and `audit`: switches and the audit in the terminal."""

from __future__ import annotations

import getpass
import json
import re
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bot.database_place import existing_store
from bot.failures import BadConfiguration
from bot.settings import Settings
from bot.store import EVERYWHERE, Store, SwitchName, SwitchRow, branch_target
from policies.chatops import Command, Misunderstood, parse_slack

REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
TERMINAL = "the terminal"

Repo = Annotated[
    str | None,
    typer.Option(
        "--repo", metavar="OWNER/NAME", help="The repository; * for all. Without it: list what is on."
    ),
]
Environment = Annotated[
    str | None, typer.Option("--environment", "-e", help="One environment; without it: the kill switch.")
]
Branch = Annotated[str | None, typer.Option("--branch", "-b", help="The branch.")]
For = Annotated[
    str | None, typer.Option("--for", metavar="2h", help="How long; without it: until it is lifted.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; everybody who asks is shown it.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (hold, resume, freeze, unfreeze, audit):
        app.command(rich_help_panel="Tools")(command)


def hold(
    repo: Repo = None,
    environment: Environment = None,
    for_: For = None,
    reason: Reason = "",
    as_json: JsonFlag = False,
) -> None:
    """Watch and report, never act: one environment, or (without --environment) the whole repository."""
    if repo is None:
        _list(as_json, environment, for_, reason)
    else:
        name, target = _switch(repo, environment)
        _set(name, target, for_, reason, as_json)


def resume(repo: Repo = None, environment: Environment = None, as_json: JsonFlag = False) -> None:
    """Lift a hold or kill switch. Exit 1: it was not on."""
    if repo is None:
        _list(as_json, environment)
    else:
        _clear(*_switch(repo, environment), as_json)


def freeze(
    repo: Repo = None,
    branch: Branch = None,
    reason: Reason = "",
    for_: For = None,
    as_json: JsonFlag = False,
) -> None:
    """Freeze a branch: pull requests to it get the failing check `rollback/freeze`, written by the worker."""
    if repo is None:
        _list(as_json, branch, reason, for_)
    elif not reason.strip():
        raise BadConfiguration("A freeze needs a reason, which everybody it stops is shown: --reason WHY.")
    else:
        _set(SwitchName.FREEZE, _branch(repo, branch), for_, reason, as_json)


def unfreeze(repo: Repo = None, branch: Branch = None, as_json: JsonFlag = False) -> None:
    """Lift a freeze. Exit 1: the branch was not frozen."""
    if repo is None:
        _list(as_json, branch)
    else:
        _clear(SwitchName.FREEZE, _branch(repo, branch), as_json)


def _branch(repo: str, branch: str | None) -> str:
    if not branch:
        raise BadConfiguration("Name the branch too: --branch main.")
    return branch_target(_checked(repo), branch)


def _list(as_json: bool, *more: str | None) -> None:
    """Every switch that is on, whoever set it and where; with `more` somebody meant to set one."""
    if any(more):
        raise BadConfiguration("Nothing was changed: name the repository, --repo owner/name (or * for all).")
    on = existing_store(Settings.load()).all_switches(time.time())
    if as_json:
        typer.echo(json.dumps({"switches": [switch._asdict() for switch in on]}))
        return
    for switch in on:
        typer.echo(_said(switch))
    if not on:
        typer.echo("No hold, freeze or kill switch is on.")


def _said(switch: SwitchRow) -> str:
    ends = f" until {_utc(switch.until_s)} UTC" if switch.until_s is not None else ""
    where = f" on {switch.place}" if switch.place else ""
    reason = switch.reason or "no reason"
    return f"On: {switch.name} {switch.target}{ends}, by {switch.actor}{where}: {reason}"


def audit(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 50,
    repo: Annotated[
        str | None, typer.Option("--repo", metavar="OWNER/NAME", help="Of one repository.")
    ] = None,
    incident: Annotated[str | None, typer.Option("--incident", metavar="ID", help="Of one incident.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Who asked for what, where, what was answered, and when; with every switch that is on."""
    store = existing_store(Settings.load())
    rows = store.audit_rows(limit, repository=repo, incident_id=incident)
    switches = store.all_switches(time.time())
    if as_json:
        typer.echo(
            json.dumps(
                {"audit": [row._asdict() for row in rows], "switches": [s._asdict() for s in switches]}
            )
        )
        return
    for switch in switches:
        typer.echo(_said(switch))
    table = Table("when (UTC)", "who", "where", "what", "answer")
    for row in rows:
        table.add_row(_utc(row.at_s), row.who, row.place, row.what, row.answer)
    Console().print(table if rows else "Nobody has asked for anything so far.")


def _switch(repo: str, environment: str | None) -> tuple[SwitchName, str]:
    if repo == EVERYWHERE and environment is None:
        return SwitchName.KILL, EVERYWHERE
    if environment is None:
        return SwitchName.KILL, _checked(repo)
    return SwitchName.HOLD, f"{_checked(repo)}:{environment}"


def _checked(repo: str) -> str:
    if not REPOSITORY.fullmatch(repo):
        raise BadConfiguration(f"{repo[:80]!r} is no repository. Name it owner/name.")
    return repo


def _duration_s(text: str | None) -> float | None:
    """A duration in the grammar of the commands on a pull request, so that both say it alike."""
    if text is None:
        return None
    understood = parse_slack(f"hold {text}") if re.fullmatch(r"[0-9dhm]{2,20}", text) else Misunderstood("")
    if not isinstance(understood, Command) or understood.duration_s is None:
        raise BadConfiguration(f"{text[:40]!r} is no duration from 1m to 30d; write 30m, 2h or 1d.")
    return understood.duration_s


def _set(name: SwitchName, target: str, for_: str | None, reason: str, as_json: bool) -> None:
    now_s, duration_s = time.time(), _duration_s(for_)
    until_s = None if duration_s is None else now_s + duration_s
    store, who = existing_store(Settings.load()), _who()
    store.set_switch(name, target, actor=who, reason=reason, now_s=now_s, until_s=until_s)
    said = f"on{f' until {_utc(until_s)} UTC' if until_s is not None else ''}"
    _note(store, who, f"{name} {target}", said, now_s, target)
    if as_json:
        _print_json(name, target, on=True, until=_iso(until_s), reason=reason or None, by=who)
    else:
        typer.echo(f"{name} of {target} is {said}.")


def _clear(name: SwitchName, target: str, as_json: bool) -> None:
    store, who, now_s = existing_store(Settings.load()), _who(), time.time()
    was_on = store.end_switch(name, target, now_s, who)
    said = "lifted" if was_on else "was not on"
    _note(store, who, f"lift {name} {target}", said, now_s, target)
    if as_json:
        _print_json(name, target, on=False, was_on=was_on, by=who)
    else:
        typer.echo(f"{name} of {target} {'is lifted' if was_on else 'was not on'}.")
    raise typer.Exit(0 if was_on else 1)


def _print_json(name: SwitchName, target: str, **said: object) -> None:
    """One object: the switch, the parts of its target as there are, and what was done."""
    repository, mark, rest = [*re.split(r"([:@])", target, maxsplit=1), "", ""][:3]
    parts = {} if repository == EVERYWHERE else {"repository": repository}
    if mark:
        parts["environment" if mark == ":" else "branch"] = rest
    typer.echo(json.dumps({"name": str(name), "target": target, **parts, **said}))


def _note(store: Store, who: str, what: str, answer: str, at_s: float, target: str) -> None:
    repository = re.split(r"[:@]", target, maxsplit=1)[0]
    store.audit(
        who, TERMINAL, what, answer, at_s, repository=None if repository == EVERYWHERE else repository
    )


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def _iso(at_s: float | None) -> str | None:
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")


def _utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
