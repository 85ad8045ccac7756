"""The whole world without the bot: StageLog really breaks, its log leaks, and nothing outlives the world."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.claims import DJANGO_LINE
from rehearsal.planted_secrets import PlantedSecrets, leaked
from rehearsal.runner import skips_ci
from rehearsal.serving import wait_until
from rehearsal.world import CONTAINER, World
from tests.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(bot=False, build_s=0.2) as one:
        yield one


def deployed(world: World, sha: str) -> bool:
    return wait_until(
        lambda: any(one.sha == sha and one.completed_s for one in world.runner.deploys), PATIENCE_S
    )


def answers(world: World, status: int) -> bool:
    return wait_until(lambda: world.site_status() == status, PATIENCE_S)


def push(world: World, message: str, sha: str | None = None) -> str:
    """A commit on develop with the tree of `sha` (default: the present one), as priya pushes it."""
    git = world.github.git(world.repository)
    head = world.head()
    of_now = git.commit(head)
    made = git.commit_tree(git.commit(sha or head).tree, [head], message, of_now.author, of_now.committer)
    git.update("refs/heads/develop", made, head)
    world.github.branch_moved(world.repository, "refs/heads/develop", head, made, world.github.user("priya"))
    return made


def test_the_story_s_outage_is_real(world: World) -> None:
    """Healthy; #42 is merged and called a success; 502 with Django's traceback; the old tree helps."""
    assert world.site_status() == 200
    before = world.head()
    merged = world.github.pulls.merge(world.repository, 42, world.github.user("dana"))
    assert deployed(world, merged.sha) and answers(world, 502)
    assert wait_until(
        lambda: (world.machine.container(CONTAINER) or {})["State"]["Status"] == "exited", PATIENCE_S
    )
    found = world.machine.container(CONTAINER)
    assert found is not None and found["State"]["ExitCode"] == 1
    logs = world.machine.docker("logs", "--tail", "200", CONTAINER)
    assert logs.stderr.strip().splitlines()[-1].endswith(DJANGO_LINE)
    assert set(world.secrets.found_in(logs.stdout + logs.stderr)) == set(world.secrets.values)
    assert wait_until(lambda: world.target.state == "unhealthy", PATIENCE_S)
    deployments = world.repository.deployments.values()
    states = [one.statuses[-1].state for one in deployments if one.sha == merged.sha]
    assert states == ["success"], "the runner believes that it went well"
    again = push(world, "Bring it back", before)
    assert deployed(world, again) and answers(world, 200)
    assert wait_until(lambda: world.target.state == "healthy", PATIENCE_S)
    gone = world.machine.docker("logs", CONTAINER)
    assert "ImproperlyConfigured" not in gone.stdout + gone.stderr, "the redeploy destroyed the evidence"


def test_the_history_is_one_that_git_believes(world: World) -> None:
    git = world.github.git(world.repository)
    git.git("fsck", "--strict", "--no-dangling")
    merges = git.commits("develop", "--merges", limit=20)
    assert {"#38", "#39", "#40", "#41"} <= {
        word for commit in merges for word in commit.subject.split() if word.startswith("#")
    }
    assert git.entry(world.head(), ".github/rollback.yml") is not None
    broken = git.blob(git.entry("refs/pull/42/head", "config/settings.py")[2])  # type: ignore[index]
    assert b"STATIC_ROOT" not in broken and b"STATIC_URL" in broken


def test_commits_that_skip_ci_are_not_deployed(world: World) -> None:
    count = len(world.runner.deploys)
    sha = push(world, "Reword the docs [skip ci]")
    assert world.runner.skipped[-1] == sha and wait_until(world.runner.idle, PATIENCE_S)
    assert len(world.runner.deploys) == count


@pytest.mark.parametrize(
    ("message", "skipped"),
    [
        ("Fix", False),
        ("Fix [skip ci]", True),
        ("Fix\n\nbody [CI SKIP]", True),
        ("Fix [no ci]", True),
        ("Fix [skip actions]", True),
        ("Fix [actions skip]", True),
        ("Fix\n\nskip-checks: true", True),
        ("Fix skip-checks: true", False),
        ('Revert "Fix (skip ci)"', False),
    ],
)
def test_what_github_takes_for_skip_ci(message: str, skipped: bool) -> None:
    assert skips_ci(message) is skipped


def test_a_detached_volume_is_an_outage_that_no_revert_helps(world: World) -> None:
    assert answers(world, 200)
    world.detach_volume()
    try:
        assert answers(world, 500)
        assert wait_until(lambda: world.target.reason == "Target.ResponseCodeMismatch", PATIENCE_S)
    finally:
        world.attach_volume()
    assert answers(world, 200)


def test_the_bot_gets_nothing_of_this_terminal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("GITHUB_TOKEN", "mine")
    given = world.bot_environment()
    assert "AWS_PROFILE" not in given and "GITHUB_TOKEN" not in given
    assert given["GITHUB_API_URL"] == f"{given['GITHUB_SERVER_URL']}/api/v3"
    assert Path(given["GITHUB_APP_PRIVATE_KEY"]).read_text().startswith("-----BEGIN RSA PRIVATE KEY-----")


# Secrets


def test_every_world_has_its_own_secrets() -> None:
    one, other = PlantedSecrets.generate(), PlantedSecrets.generate()
    assert len(one.values) >= 10
    assert all(one.values[name] != other.values[name] for name in one.values)
    assert all("\n" not in value for value in one.environment.values()), "an env file has one line a value"


@pytest.mark.parametrize("name", sorted(PlantedSecrets.generate().values))
def test_twelve_characters_of_a_secret_are_a_leak(name: str) -> None:
    planted = PlantedSecrets.generate()
    value = planted.values[name]
    for at in (0, max(0, len(value) // 2 - 6), len(value) - 12):
        assert name in planted.found_in(f"… {value[at : at + 12]} …")
    assert planted.found_in(f"{value[:8]} and {value[-8:]}") == []


def test_a_secret_broken_over_lines_is_still_found() -> None:
    assert leaked({"key": "abcdefghijklmnopqrstuvwxyz"}, "abcdefgh\nijklmn") == ["key"]


# The end of the world


def _processes_of(folder: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            line = (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if folder in line or folder.encode() in path.read_bytes():
                found.append(line)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_nothing_outlives_the_world(tmp_path: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    told = subprocess.Popen(
        [sys.executable, "-m", "rehearsal", "--no-bot", "--keep"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert told.stdout is not None
    for line in told.stdout:
        if "The world stays up" in line:
            break
    assert _processes_of(str(tmp_path)) != []
    told.send_signal(number)
    told.wait(timeout=PATIENCE_S)
    assert wait_until(lambda: _processes_of(str(tmp_path)) == [], PATIENCE_S), _processes_of(str(tmp_path))
    if number != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == [], "the world's folder goes with it"
        assert told.returncode == 0, "ending a world that was kept is no failure"


# The command


def command(*arguments: str, **surroundings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rehearsal", *arguments],
        cwd=ROOT,
        env={**os.environ, **surroundings},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_the_list_names_every_story() -> None:
    told = command("--list")
    assert told.returncode == 0
    names = [line.split()[0] for line in told.stdout.splitlines()]
    assert {"incident", "healthy", "bad-before", "protected-branch", "bot-crash"} <= set(names)


def test_an_unknown_story_is_bad_usage_and_names_the_known() -> None:
    told = command("--scenario", "nobody-wrote-this")
    assert told.returncode == 2 and "incident" in told.stderr and "Traceback" not in told.stderr


def test_a_world_that_cannot_start_says_why_in_a_sentence_and_in_json(tmp_path: Path) -> None:
    """Without git on the PATH nothing works: the answer still has the agreed form."""
    told = command("--json", "--no-bot", PATH=str(tmp_path))
    ending = json.loads(told.stdout)
    assert told.returncode == 1 and ending["ok"] is False and ending["outcome"] == "failed"
    assert "git" in ending["untrue"][0]["sentence"]


def test_help_teaches() -> None:
    told = command("--help")
    assert told.returncode == 0
    for word in ("--scenario", "--json", "--keep", "--list", "--timeout", "--no-bot", "Exit codes"):
        assert word in told.stdout


def test_json_is_the_last_thing_on_standard_output_whatever_the_terminal_is_set_to() -> None:
    began = time.monotonic()
    told = command(
        "--no-bot",
        "--json",
        HTTP_PROXY="http://127.0.0.1:9",
        http_proxy="http://127.0.0.1:9",
        GIT_DIR="/nonexistent",
        AWS_PROFILE="nobody",
        AWS_ENDPOINT_URL="http://nowhere.invalid",
    )
    ending = json.loads(told.stdout)
    assert told.returncode == 0 and ending["ok"] is True and ending["outcome"] == "broken"
    assert ending["pull_request"].endswith("/acme/stagelog/pull/42")
    assert "502" in told.stderr and 0 < sum(ending["stages"].values()) <= time.monotonic() - began
