"""What all scenarios share: a world, a narrator, waiting with a limit, and the figures of one rollback."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rehearsal.bot_processes import BotFailed
from rehearsal.claims import Claims
from rehearsal.github_pulls import Merged
from rehearsal.narrator import Narrator
from rehearsal.runner import Deployed
from rehearsal.surroundings import RehearsalFailed
from rehearsal.world import BRANCH, World

T = TypeVar("T")
POLL_S = 0.1
ENDED = ("recovered", "failed", "closed")


class StoryStuck(RehearsalFailed):
    """Something that the story waits for did not happen in time; the message says what."""


@dataclass(slots=True)
class Ending:
    """How a story ended: in one word, with what it measured. Seconds, or None where nothing was measured."""

    scenario: str
    outcome: str = "failed"
    deploy_to_verdict_s: float | None = None
    verdict_to_push_s: float | None = None
    capture_s: float | None = None
    push_to_recovered_s: float | None = None
    revert_sha: str | None = None
    comment: str | None = None
    incident_id: str | None = None
    pull_request: str | None = None
    untrue: list[dict[str, str]] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.untrue and self.outcome not in ("failed", "stuck")

    def as_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "outcome": self.outcome,
            "ok": self.ok,
            "deploy_to_verdict_s": self.deploy_to_verdict_s,
            "verdict_to_push_s": self.verdict_to_push_s,
            "capture_s": self.capture_s,
            "push_to_recovered_s": self.push_to_recovered_s,
            "revert_sha": self.revert_sha,
            "comment": self.comment,
            "stages": self.stages,
            "incident_id": self.incident_id,
            "pull_request": self.pull_request,
            "untrue": self.untrue,
        }


class Story:
    """One telling of a scenario in a running world."""

    def __init__(self, scenario: str, world: World, narrator: Narrator, timeout_s: float) -> None:
        self.world, self.narrator = world, narrator
        self.claims = Claims(world)
        self.ending = Ending(scenario)
        self._deadline = time.monotonic() + timeout_s

    def wait_for(self, what: str, see: Callable[[], T | bool | None]) -> T:
        """Wait until `see` gives something true and return it; StoryStuck names what never came.

        Only the story's own time limits it: how slow the machine is says nothing about the bot."""
        began = time.monotonic()
        while True:
            seen = see()
            if seen:
                return seen  # type: ignore[return-value]
            if self.world.bot is not None:
                self.world.bot.check()
            if time.monotonic() > self._deadline:
                raise StoryStuck(
                    f"Waited {time.monotonic() - began:.0f} s for this, which did not happen: {what}."
                )
            time.sleep(POLL_S)

    def merge(self, number: int, by: str = "dana") -> Merged:
        pull = self.world.repository.pulls[number]
        user = self.world.github.user(by)
        merged = self.world.github.pulls.merge(self.world.repository, number, user, admin=True)
        self.narrator.say(
            f"{by} merges #{number} “{pull.title}” into {BRANCH}", detail=f"merge commit {merged.sha[:7]}"
        )
        return merged

    def deploy_of(self, sha: str) -> Deployed:
        """Wait until the runner called the deploy of a commit done."""

        def finished() -> Deployed | None:
            found = [
                one for one in self.world.runner.deploys if one.sha == sha and one.state != "in_progress"
            ]
            return found[-1] if found and (found[-1].completed_s or found[-1].state == "failure") else None

        done = self.wait_for(f"the runner deploys {sha[:7]}", finished)
        self.narrator.say(f"The runner reports the deploy of {sha[:7]}: {done.state}")
        return done

    def tree_of(self, sha: str) -> str:
        return self.world.github.git(self.world.repository).commit(sha).tree

    def pushed_by_bot(self, since_s: float, ref: str = f"refs/heads/{BRANCH}") -> Any:
        """The first push of the bot to a branch since a moment, as GitHub recorded it."""
        return next(
            (
                push
                for push in self.world.github.pushes
                if push.by == self.world.bot_login and push.at_s >= since_s and push.ref.startswith(ref)
            ),
            None,
        )

    def incident_of(self, sha: str) -> dict[str, Any]:
        """The bot's own record of the incident of a deployed commit; empty when it has none."""
        for one in self.world.incidents():
            if one.get("sha") == sha:
                return self.world.incident(str(one.get("id"))) or one
        return {}

    def measure(self, sha: str, deploy: Deployed, pushed_s: float, recovered_s: float | None) -> None:
        """Fill in the figures from the bot's own clock where it tells, else from what the world saw."""
        told = self.incident_of(sha)
        self.ending.incident_id = told.get("id") and str(told["id"])
        completed = _number(told.get("completed_at_s")) or deploy.completed_s
        decided = _number(told.get("decided_at_s"))
        pushed = _number(told.get("pushed_at_s")) or pushed_s
        recovered = _number(told.get("recovered_at_s")) or recovered_s
        self.ending.deploy_to_verdict_s = _difference(decided, completed)
        self.ending.verdict_to_push_s = _difference(pushed, decided)
        self.ending.capture_s = _number((told.get("evidence") or {}).get("seconds"))
        self.ending.push_to_recovered_s = _difference(recovered, pushed)

    def check_bot(self) -> None:
        if self.world.bot is None:
            raise BotFailed("This story needs the bot; play it without --no-bot.")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and value else None


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else round(later - earlier, 2)
