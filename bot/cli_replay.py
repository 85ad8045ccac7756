"""The command `replay`: decide a stored incident again from the facts it was decided from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.codec import encode
from bot.config import resolve
from bot.config_file import read_config
from bot.config_model import RepositoryFile
from bot.database_place import existing_store
from bot.failures import BadConfiguration, BotFailure
from bot.settings import Settings
from policies.eligibility import may_roll_back
from policies.facts import Baseline, Decision, Health, Incident, Watched
from policies.judgement import Watch
from policies.limits import HealthLimits, Plan


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(rich_help_panel="Tools")(replay)


@dataclass(frozen=True)
class Replayed:
    """What the policies say now: the watch again, and the decision if the service counts as unhealthy."""

    watched: Watched | None
    decision: Decision | None
    same: bool


def replay(
    incident_id: Annotated[str, typer.Argument(metavar="INCIDENT", help="Its id; see `incidents`.")],
    config: Annotated[
        Path | None, typer.Option(help="Judge with the limits of this configuration file instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Decide a stored incident again, with every gate's answer and number; changes nothing.

    With the limits it was decided by, the answer is the same to the byte; with --config it may be another.
    """
    incident = existing_store(Settings.load()).incident(incident_id)
    if incident is None:
        raise BotFailure(f"There is no incident {incident_id}. `rollback-bot incidents` lists them.")
    plan = incident.plan
    if config is not None and plan is not None:
        plan = with_limits_of(plan, config, incident.deploy.environment)
    replayed = decide_again(incident, plan)
    if as_json:
        typer.echo(json.dumps(_document(replayed), sort_keys=True))
        return
    if replayed.decision is None:
        verdict = replayed.watched.verdict if replayed.watched else None
        typer.echo(f"No rollback would be considered. {verdict.reason if verdict else 'Nothing was seen.'}")
        return
    typer.echo(f"{replayed.decision.action.value}: {replayed.decision.reason}")
    for gate in replayed.decision.gates:
        compared = f" ({gate.number:g} against {gate.limit:g})" if _compares(gate.number, gate.limit) else ""
        typer.echo(f"  [{gate.status}] {gate.rule}: {gate.reason}{compared}")
    typer.echo("The same decision as then." if replayed.same else "Another decision than then.")


def decide_again(incident: Incident, plan: Plan | None) -> Replayed:
    """Fold the stored samples and decide from the stored facts. Raises BotFailure for an incident that ended
    before a decision, or that an older release stored without its facts."""
    if plan is None or incident.rails is None or incident.change is None:
        raise BotFailure(
            f"Incident {incident.id} ended before anything was decided ({incident.state.value}), "
            "so there is nothing to replay."
        )
    baseline = incident.baseline or Baseline((), "")
    watched = incident.watched
    if watched is not None and plan != incident.plan:
        watched = _watch_again(baseline, watched, plan)
    if incident.person is None and (watched is None or watched.health is not Health.UNHEALTHY):
        return Replayed(watched, None, same=incident.decision is None)
    decision = may_roll_back(
        incident_id=incident.id,
        deploy=incident.deploy,
        plan=plan,
        baseline=baseline,
        watched=watched,
        change=incident.change,
        evidence=incident.evidence,
        rails=incident.rails,
        person=incident.person,
        now_s=incident.rails.read_at_s,
    )
    return Replayed(watched, decision, same=decision == incident.decision)


def _watch_again(baseline: Baseline, watched: Watched, plan: Plan) -> Watched:
    judged = Watch(baseline.samples, plan.health)
    verdict = watched.verdict
    for place, sample in enumerate(watched.samples, start=1):
        verdict = judged.see(sample)
        if verdict.status == Health.UNHEALTHY:
            return replace(watched, health=Health.UNHEALTHY, verdict=verdict, samples=watched.samples[:place])
    return replace(watched, health=Health(verdict.status), verdict=verdict)


def with_limits_of(plan: Plan, file: Path, environment: str) -> Plan:
    """`plan` with the health and rollback limits of another configuration file. Raises BadConfiguration."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadConfiguration(f"{file} cannot be read: {error.strerror}.") from None
    resolved = resolve(None, read_config(data, RepositoryFile, str(file)), environment)
    health: dict[str, Any] = {
        f"{name.removeprefix('health.')}_s": value.value
        for name, value in resolved.values.items()
        if name.startswith("health.") and isinstance(value.value, float)
    }
    return replace(plan, health=replace(plan.health or HealthLimits(), **health))


def _compares(number: float | None, limit: float | None) -> bool:
    return number is not None and limit is not None


def _document(replayed: Replayed) -> dict[str, Any]:
    return {
        "same": replayed.same,
        "watched": encode(replayed.watched.verdict, type(replayed.watched.verdict))
        if replayed.watched
        else None,
        "decision": encode(replayed.decision, Decision) if replayed.decision else None,
    }
