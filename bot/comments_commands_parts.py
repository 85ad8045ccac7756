"""The longer pieces of answers to commands: gates, the plan of a dry run, evidence, switches."""

from __future__ import annotations

import re

from bot.command_ports import Considered, Standing
from bot.comments_evidence import LAYER_SIGNS, SIGNS_OF_STATUS
from bot.comments_headline import bad_commits, headline, pull_request_of
from bot.comments_text import compared, instant, prose, short, squares
from policies.asked import Part
from policies.cleaning import inline
from policies.facts import Decision, Deploy, Evidence, Incident, PullRequestFacts, Reverted, RollbackOrder
from policies.limits import Plan
from policies.permission import LOGIN

MOST_FILES = 50


def gates_part(decision: Decision) -> Part:
    """Every gate with its number and limit."""
    lines = [
        f"- {SIGNS_OF_STATUS.get(gate.status, '·')} **{prose(gate.rule.replace('_', ' '), 60)}** "
        f"{prose(gate.reason, 400)}{compared(gate)}"
        for gate in decision.gates
    ]
    return Part("Every gate", "\n".join(lines))


def plan_part(
    considered: Considered, order: RollbackOrder, rehearsed: Reverted | None, plan: Plan, deploy: Deploy
) -> Part:
    """What a rollback would do: commits, files, conflicts, health now, and how it would be pushed."""
    commits = ", ".join(short(sha) for sha in order.commits)
    lines = [
        f"- **Deploy** {short(deploy.sha)} in {inline(deploy.environment, 100)}, decided on "
        f"{short(order.expected_head)} as the head of {inline(order.branch, 120)}",
        f"- **Commits** {commits}, newest first, by `git revert` (`-m 1` for a merge)",
        f"- **Files** {shown_paths(considered.files) or 'none that I know'}",
    ]
    if rehearsed is not None and rehearsed.conflicts:
        lines.append(f"- **Conflicts** in {shown_paths(rehearsed.conflicts)}")
    elif rehearsed is not None:
        lines.append(f"- **Rehearsal** {prose(rehearsed.reason)}")
        lines += [f"- **Note** {prose(note)}" for note in rehearsed.notes[:10]]
    lines.append(f"- **Then** {_how(order, plan)}")
    lines.append(f"- **Health now** {squares((considered.sample,), plan.health)}")
    return Part("The plan", "\n".join(lines))


def _how(order: RollbackOrder, plan: Plan) -> str:
    if plan.rollback.method == "pull_request" or order.method == "pull_request":
        return "a pull request that a person merges"
    refused = (
        ", or a pull request if the branch takes no push"
        if plan.rollback.on_push_rejected == "pull_request"
        else ""
    )
    return f"a push to {inline(order.branch, 120)}, never forced{refused}"


def evidence_parts(evidence: Evidence) -> tuple[Part, ...]:
    """Layers and log as captured; the log is cleaned already."""
    layers = "\n".join(
        f"- {LAYER_SIGNS[layer.status]} **{prose(layer.name, 60)}**: {prose(layer.summary, 400)}"
        for layer in evidence.layers
    )
    parts = [Part("What failed, layer by layer", layers)] if layers else []
    if evidence.log.strip():
        parts.append(Part("Log of the container", evidence.log, is_log=True))
    return tuple(parts)


def shown_paths(paths: tuple[str, ...]) -> str:
    """Paths in code spans, fifty at most."""
    shown = ", ".join(inline(path, 200) for path in paths[:MOST_FILES])
    more = f" and {len(paths) - MOST_FILES} more" if len(paths) > MOST_FILES else ""
    return shown + more


def named_switch(standing: Standing) -> str:
    """A switch that is on, in words: what, on what, by whom, why, until when."""
    switch = standing.switch
    what = {"hold": "Hold", "freeze": "Freeze", "kill": "Kill switch"}.get(
        switch.name, prose(switch.name, 40)
    )
    target = "everywhere" if standing.target == "*" else inline(standing.target, 200)
    by = f" by {inline(standing.actor, 60)}" if standing.actor else ""
    reason = f" ({prose(switch.reason, 300)})" if switch.reason else ""
    return f"{what} of {target}{by}{until(switch.until_s)}{reason}"


def until(until_s: float | None) -> str:
    """` until 2026-05-04 14:03:09 UTC`, empty without an end."""
    return "" if until_s is None else f" until {instant(until_s, dated=True)} UTC"


def who(login: str) -> str:
    """A login as a mention; anything else as harmless words."""
    return f"@{login}" if LOGIN.fullmatch(login) else prose(login, 60)


def in_environment(environment: str) -> str:
    """` in `develop``, empty for none."""
    return f" in {inline(environment, 100)}" if environment else ""


def told(incident: Incident) -> str:
    """The incident in one sentence, without the repository's name."""
    return prose(headline(incident).partition(": ")[2])


def named_commits(commits: tuple[str, ...], incident: Incident | None) -> str:
    named = []
    for sha in commits[:5] or (bad_commits(incident)[:5] if incident else ()):
        known: PullRequestFacts | None = pull_request_of(incident, sha) if incident else None
        named.append(f"#{known.number} ({short(sha)})" if known else short(sha))
    more = f" and {len(commits) - 5} more" if len(commits) > 5 else ""
    return ", ".join(named) + more


def listed(names: tuple[str, ...], last: str = "and") -> str:
    shown = [inline(name, 100) for name in names[:10]]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w./:@+-]+", name) else f'"{name}"'


def environment_of(target: str) -> str:
    return target.partition(":")[2] or target
