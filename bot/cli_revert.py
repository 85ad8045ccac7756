"""The command `rollback-bot revert`: the reverter by hand, in a checkout of yours."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from bot.failures import BotFailure

if TYPE_CHECKING:
    from bot.git_door import Credential
    from bot.revert_checks import Prepared


def register(app: typer.Typer) -> None:
    """Add `revert` to the command line."""
    app.command(name="revert", rich_help_panel="Tools")(revert)


def revert(
    path: Annotated[Path, typer.Option("--path", metavar="CHECKOUT", help="A git checkout of yours.")],
    branch: Annotated[str, typer.Option("--branch", help="The branch to put back.")],
    commits: Annotated[
        list[str],
        typer.Option(
            "--commit", metavar="SHA", help="Full hash of a merge or commit to revert; repeat for more."
        ),
    ],
    push: Annotated[bool, typer.Option("--push", help="Push the revert to the branch's remote.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would come of it; change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the commit message.")] = "",
) -> None:
    """Revert merges as the bot does: `git revert -m 1` in isolation, your uncommitted work kept.

    Exits 0 when the branch is (or already was) put back, 1 when it was refused or conflicts, 2 on bad
    input."""
    from bot.checkout_revert import ByHand, revert_by_hand  # git and its library are not needed by --help
    from bot.git_names import BadName
    from bot.logging_setup import configure_logging
    from bot.operator_checkout import NotACheckout
    from policies.facts import RevertOutcome

    configure_logging(level=logging.WARNING)
    asked = ByHand(path, branch, tuple(commits), push, dry_run, reason)
    try:
        done = revert_by_hand(asked, _credential)
    except (BadName, NotACheckout) as bad:
        _tell_failure(bad.reason, as_json)
        raise typer.Exit(2) from None
    except BotFailure as failure:
        _tell_failure(failure.reason, as_json)
        raise typer.Exit(1) from None
    _tell(done, as_json)
    good = done.outcome in (RevertOutcome.REVERTED, RevertOutcome.ALREADY_REVERTED)
    raise typer.Exit(0 if good else 1)


def _tell(done: Prepared, as_json: bool) -> None:
    if as_json:
        sentences = [done.reason, *done.notes, *([f"Run: {done.command}"] if done.command else [])]
        _print_json(
            {
                "outcome": done.outcome.value,
                "commits": list(done.commits),
                "tree": done.tree,
                "reason": " ".join(sentences),
                "conflicts": [path.decode("utf-8", "surrogateescape") for path in done.conflicts],
            }
        )
        return
    typer.echo(done.reason)
    for note in done.notes:
        typer.echo(f"  {note}")
    for sha in done.commits:
        typer.echo(f"  {sha}")
    if done.command:
        typer.echo(f"  Run: {done.command}")


def _tell_failure(reason: str, as_json: bool) -> None:
    sys.stderr.write(f"{reason}\n")
    if as_json:
        _print_json({"outcome": "refused", "commits": [], "tree": None, "reason": reason, "conflicts": []})


def _print_json(answer: dict[str, object]) -> None:
    # ASCII only: a path that is no UTF-8 travels as lone surrogates, which only escapes can carry.
    sys.stdout.write(json.dumps(answer) + "\n")


def _credential(url: str) -> Credential | None:
    """GITHUB_TOKEN, for an address on the GitHub of the settings and for no other."""
    from bot.git_door import Credential

    token = os.environ.get("GITHUB_TOKEN", "").strip()
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
    at, home = urlsplit(url), urlsplit(server)
    is_home = (at.scheme, at.netloc.rpartition("@")[2]) == (home.scheme, home.netloc)
    return Credential(server, "x-access-token", token) if token and is_home else None
