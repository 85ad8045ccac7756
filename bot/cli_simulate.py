"""The command `simulate`: what would be decided if a merged pull request's deploy were failing now."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated

import typer

from bot.codec import encode
from bot.failures import BadConfiguration, BotFailure
from bot.settings import Settings
from policies.facts import Decision, Deploy, Health, Verdict, Watched

SUPPOSED = Verdict("unhealthy", "Supposing that the service has been failing since this deploy.", "supposed")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(rich_help_panel="Tools")(simulate)


def simulate(
    repo: Annotated[str, typer.Option(metavar="OWNER/NAME", help="The repository.")],
    pr: Annotated[int, typer.Option(min=1, metavar="N", help="A merged pull request of it.")],
    environment: Annotated[
        str, typer.Option("--environment", "-e", help="Where it was deployed.")
    ] = "develop",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Say what the policies would do now if the deploy of a pull request were failing: every gate with its
    reason and number. Reads GitHub, AWS and the database; changes nothing. Exit 1: it would not be reverted.
    """
    decision = asyncio.run(_suppose(Settings.load(), repo, pr, environment))
    if as_json:
        typer.echo(json.dumps(encode(decision, Decision)))
    else:
        typer.echo(f"{decision.action.value}: {decision.reason}")
        for gate in decision.gates:
            typer.echo(f"  [{gate.status}] {gate.rule}: {gate.reason}")
    raise typer.Exit(0 if decision.order else 1)


async def _suppose(settings: Settings, repository: str, number: int, environment: str) -> Decision:
    from bot.database_place import existing_store
    from bot.wiring import worker_parts  # every adapter is imported by it
    from policies.eligibility import may_roll_back

    existing_store(settings)
    parts = worker_parts(settings)
    deploy = await asyncio.to_thread(_deploy_of, settings, repository, number, environment)
    plan = await parts.eyes.plan(deploy)
    if plan.ignored:
        raise BotFailure(f"Its deploy to {environment} would not be guarded. {plan.ignored}")
    baseline = await parts.eyes.baseline(deploy, plan)
    sample = await parts.eyes.look(plan, time.time() - deploy.completed_at_s)
    watched = Watched(Health.UNHEALTHY, SUPPOSED, (sample,), time.time())
    return may_roll_back(
        incident_id="simulated",
        deploy=deploy,
        plan=plan,
        baseline=baseline,
        watched=watched,
        change=await parts.hands.change(deploy, plan),
        evidence=None,
        rails=await parts.hands.rails(deploy, plan),
        person=None,
        now_s=watched.ended_at_s,
    )


def _deploy_of(settings: Settings, repository: str, number: int, environment: str) -> Deploy:
    from bot.github_failures import asking_github
    from bot.wiring import github_access

    with asking_github(f"read pull request #{number} of {repository}"):
        pull = github_access(settings).for_repository(repository).get_pull(number)
        sha, branch, merged_at = pull.merge_commit_sha, pull.base.ref, pull.merged_at
    if merged_at is None or sha is None:
        raise BadConfiguration(f"#{number} of {repository} is not merged, so no deploy can have brought it.")
    return Deploy(
        id=f"simulated-{number}",
        repository=repository,
        environment=environment,
        sha=sha,
        branch=branch,
        url=None,
        source="simulate",
        started_at_s=merged_at.timestamp(),
        completed_at_s=merged_at.timestamp(),
    )
