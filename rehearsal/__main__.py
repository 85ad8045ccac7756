"""`python -m rehearsal`: play one story of the embedded world and say whether it ended as it should."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rehearsal.narrator import Narrator
    from rehearsal.story import Ending, Story

NEEDED = ("moto", "flask", "flask_cors", "django", "gunicorn", "cmarkgfm", "jwt", "cryptography", "werkzeug")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


def what_is_missing() -> str | None:
    """One sentence about what the embedded world needs and this machine has not."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"The embedded world needs packages that are not installed ({', '.join(missing)}): "
            "run `make setup`, or install this project with its extra `demo`."
        )
    git = shutil.which("git")
    if git is None:
        return "The embedded world needs git, and there is none on the PATH: install git and try again."
    told = subprocess.run([git, "--exec-path"], capture_output=True, text=True, check=False)
    if not (Path(told.stdout.strip()) / "git-http-backend").exists():
        return (
            "This git comes without `git http-backend`, which serves repositories over HTTP: install the package "
            "that has it (on Alpine: git-daemon) and try again."
        )
    return None


class _Ended(BaseException):
    """SIGTERM came: unwind as Ctrl-C does, so that everything is put away."""


def _end(number: int, frame: FrameType | None) -> None:
    raise _Ended


@app.command(
    epilog="Exit codes: 0 the story ended as it should, 1 it did not, 2 bad usage. "
    "Everything happens on 127.0.0.1 with free ports; no account and no network is needed."
)
def play(
    scenario: Annotated[
        str, typer.Option("--scenario", "-s", metavar="NAME", help="Which story to play; see --list.")
    ] = "incident",
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Progress on standard error; standard output ends with one JSON object."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the world running to play with, until Ctrl-C.")
    ] = False,
    show_list: Annotated[bool, typer.Option("--list", help="List the stories and exit.")] = False,
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", metavar="S", min=10, help="Seconds after which a stuck story is given up."),
    ] = 240.0,
    with_bot: Annotated[
        bool,
        typer.Option(
            "--with-bot/--no-bot", help="Start the bot's processes too, or only the world around it."
        ),
    ] = True,
) -> None:
    """Play the whole job without an account anywhere: a GitHub, a runner that deploys, a load balancer,
    AWS, a Django application that breaks, and the bot that puts it back.

    [bold]python -m rehearsal[/] plays the incident in under a minute and checks on the repository and the
    comments that everything is as it should be. [bold]--keep[/] leaves it running: the addresses of the
    dashboard and of the pull request are printed at the end.
    """
    if missing := what_is_missing():
        typer.echo(missing, err=True)
        if as_json:
            untrue = [{"sentence": missing, "seen": ""}]
            typer.echo(json.dumps({"scenario": scenario, "outcome": "failed", "ok": False, "untrue": untrue}))
        raise typer.Exit(1)
    from rehearsal.scenarios import SCENARIOS

    if show_list:
        for one in SCENARIOS.values():
            typer.echo(f"{one.name:<18} {one.summary}")
        return
    if scenario not in SCENARIOS:
        raise typer.BadParameter(
            f"There is no story {scenario!r}; there are {', '.join(SCENARIOS)}.", param_hint="--scenario"
        )
    for number in SIGNALS[1:]:
        signal.signal(number, _end)
    try:
        code = tell(scenario, as_json=as_json, keep=keep, timeout_s=timeout_s, with_bot=with_bot)
    except (_Ended, KeyboardInterrupt):
        typer.echo("Stopped; everything the rehearsal started was put away.", err=True)
        code = 1
    raise typer.Exit(code)


def tell(name: str, *, as_json: bool, keep: bool, timeout_s: float, with_bot: bool) -> int:
    """Tell one story from the first process to the last; the exit code."""
    from rehearsal.narrator import Narrator
    from rehearsal.scenarios import SCENARIOS
    from rehearsal.story import Ending, Story, StoryStuck
    from rehearsal.surroundings import RehearsalFailed
    from rehearsal.world import World

    scenario = SCENARIOS[name]
    narrator = Narrator(Console(stderr=as_json))
    narrator.heading(f"{scenario.name}: {scenario.summary}")
    ending = Ending(name)
    world = World(bot=with_bot, **scenario.world)
    try:
        with narrator.stage("world and bot started"):
            world.start()
        narrator.say(f"StageLog is healthy at {world.site_url}", "good")
        ending.pull_request = world.pull_page(scenario.pull)
        story = Story(name, world, narrator, timeout_s)
        story.ending = ending
        try:
            scenario.play(story)
        except StoryStuck as stuck:
            ending.outcome = "stuck"
            story.claims.that(str(stuck), False)
        _close(story)
        if as_json:
            _print_json(ending)
        if keep:
            _stay(narrator)
    except Exception as failed:  # whatever it was, the one who asked gets an answer in the form agreed on
        known = isinstance(failed, RehearsalFailed)
        sentence = str(failed) if known else f"The rehearsal itself failed: {failed!r}"
        narrator.say(sentence, "bad")
        if not known:
            narrator.console.print_exception()
        ending.outcome = "failed"
        ending.untrue.append({"sentence": sentence, "seen": ""})
        if as_json:
            _print_json(ending)
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        world.stop()
    return 0 if ending.ok else 1


def _print_json(ending: Ending) -> None:
    sys.stderr.flush()
    print(json.dumps(ending.as_json(), ensure_ascii=False), flush=True)


def _close(story: Story) -> None:
    """Print what was true and what was not, the figures, and where to look."""
    ending, narrator, world = story.ending, story.narrator, story.world
    ending.untrue = [{"sentence": claim.sentence, "seen": claim.seen} for claim in story.claims.untrue]
    ending.stages = narrator.stages
    narrator.heading("What must be true")
    for claim in story.claims.all:
        narrator.say(claim.sentence, "good" if claim.true else "bad", detail=claim.seen)
    if not ending.ok and world.bot is not None:
        narrator.say("The end of the worker's log:", "bad")
        narrator.console.print(world.bot.tail("worker"), markup=False, highlight=False, soft_wrap=True)
    if ending.comment:
        headline = next((line for line in ending.comment.splitlines() if line.startswith("#")), "")
        narrator.say("The comment begins:", detail=headline.lstrip("# "))
    figures = {
        "deploy to verdict": ending.deploy_to_verdict_s,
        "of that, evidence captured": ending.capture_s,
        "verdict to push": ending.verdict_to_push_s,
        "push to recovered": ending.push_to_recovered_s,
    }
    addresses = {"pull request": ending.pull_request or "", "site": world.site_url}
    if world.bot is not None:
        addresses = {"dashboard": world.base_url, **addresses}
    narrator.closing(figures, addresses)
    narrator.say(f"Outcome: {ending.outcome}", "good" if ending.ok else "bad")


def _stay(narrator: Narrator) -> None:
    """Wait for Ctrl-C or SIGTERM, which are the ordinary end of a world that was kept."""
    narrator.say("The world stays up; Ctrl-C puts it away", "wait")
    try:
        while True:
            time.sleep(3600)
    except (_Ended, KeyboardInterrupt):
        narrator.say("Putting the world away", "wait")


if __name__ == "__main__":
    app(prog_name="python -m rehearsal")
