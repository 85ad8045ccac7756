"""The real worker process, put before stand-ins: its repositories are one made-up commit, its hands only note that
they were asked.

`python -m bench.guard_worker NOTES GUARDS_A_GROUP`, settings in the environment.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.aws import AwsClients
from bot.deploy_news import DeployNews
from bot.evidence import Capture
from bot.failures import BotFailure
from bot.http_probe import HttpxProbe
from bot.settings import Settings
from bot.siblings import Siblings
from bot.target_health import AlbTargetHealth
from bot.telling import Voice
from bot.traffic import CloudWatchTraffic
from bot.watching import Eyes
from bot.wiring import Worker, worker_parts
from bot.worker import run_worker
from policies.facts import CommitFacts, CommitShape, RepositoryAbout

INTERVAL_S = 10.0


class MadeUp:
    """Fills what `Eyes` asks of repository and forge: every deploy is of a merge on main."""

    def __init__(self, guards_a_group: int) -> None:
        self._guards_a_group = guards_a_group

    def refresh(self, _repository: str, _branch: str) -> str:
        return "b" * 40

    def commit(self, _repository: str, _branch: str, sha: str) -> CommitFacts:
        return CommitFacts(sha, ("a" * 40, "c" * 40), "Merge", CommitShape.MERGE, on_branch=True)

    def read_file(self, repository: str, _sha: str, _path: str) -> bytes:
        group = int(repository.rpartition("-")[2]) // self._guards_a_group
        return (
            f"version: 1\nhealth: {{interval: {INTERVAL_S:.0f}s, watch_for: 2h}}\n"
            f"environments:\n  develop: {{branch: main, target_groups: [group-{group}]}}\n"
        ).encode()

    def about(self, _repository: str) -> RepositoryAbout:
        return RepositoryAbout("main", private=True)


class Noting:
    """Hands that note when they were first asked about a deploy, and cannot do anything."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes

    async def capture(self, deploy: Any, *_more: Any) -> Any:
        with self._notes.open("a") as file:
            file.write(json.dumps({"deploy": deploy.id, "at_s": time.time()}) + "\n")
        raise BotFailure("This is a bench.")

    change = rails = revert = propose = capture


def build(settings: Settings, notes: Path, guards_a_group: int) -> Worker:
    """The parts of a worker, with stand-ins where git and GitHub would be."""
    parts, made_up, aws = worker_parts(settings), MadeUp(guards_a_group), AwsClients(settings.aws_region)
    probe = HttpxProbe([ipaddress.ip_network(network) for network in settings.probe_allow])
    target_health = AlbTargetHealth(aws)
    voice = Voice(
        repository=made_up,  # type: ignore[arg-type]
        pull_requests=parts.conversation,
        book=parts.store,
        base_url=None,
    )
    eyes = Eyes(
        repository=made_up,  # type: ignore[arg-type]
        pull_requests=made_up,  # type: ignore[arg-type]
        probe=probe,
        target_health=target_health,
        traffic=CloudWatchTraffic(aws),
        evidence=Capture(aws, probe, target_health),
        samples=parts.store,
        history=DeployNews(voice, parts.store),
        siblings=Siblings(parts.store),
    )
    return replace(parts, eyes=eyes, hands=Noting(notes), voice=voice)  # type: ignore[arg-type]


if __name__ == "__main__":
    run_worker(
        Settings.load(role="worker"),
        functools.partial(build, notes=Path(sys.argv[1]), guards_a_group=int(sys.argv[2])),
    )
