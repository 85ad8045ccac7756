"""The Protocols between a command and the world, and the facts that go over them.

Every method may be called twice for the same purpose (the engine runs a step again after a crash).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from policies.asked import Asked, Reply
from policies.chatops import Command
from policies.facts import (
    Decision,
    Deploy,
    HealthSample,
    Incident,
    PersonOrder,
    PullRequestFacts,
    Reverted,
    RollbackOrder,
    Switch,
)
from policies.limits import Plan


@dataclass(frozen=True, slots=True)
class About:
    """What a command is about: the pull request, the commit it became, and where that was deployed.

    `deploys` has the newest completed deploy that brought the commit, one an environment; `environments` all
    that the repository is known to deploy to."""

    pull_request: PullRequestFacts
    is_open: bool
    merge_sha: str | None
    deploys: tuple[Deploy, ...] = ()
    environments: tuple[str, ...] = ()
    head_sha: str = ""
    read_at_s: float = 0.0
    """When this was read (epoch), by the clock that tells what is over."""


@dataclass(frozen=True, slots=True)
class Considered:
    """What would come of an order now: the decision with its gates, and how the service looks."""

    order: PersonOrder
    decision: Decision
    sample: HealthSample
    files: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of an order: `heard` once the incident says that it decided by it (or was stopped by it).

    Without `heard`: `incident` is what happened instead, None where nothing did; `waiting` if it still may."""

    heard: bool
    incident: Incident | None
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Relanded:
    """The draft pull request that brings a change back, or why there is none (`conflicts` are paths)."""

    pull_request: PullRequestFacts | None
    reason: str = ""
    conflicts: tuple[str, ...] = ()
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """A word on the same switch that was said later than the one that asks, and stands: by whom, when (epoch),
    and whether it turned the switch on."""

    actor: str
    at_s: float
    on: bool


@dataclass(frozen=True, slots=True)
class Unmarked:
    """A freeze that is set, while its check could not be written on every open pull request yet, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A switch that is on, with whom it is from and what it is set on."""

    switch: Switch
    target: str
    actor: str


class Answering(Protocol):
    """The place where a command was given."""

    async def seen(self, asked: Asked) -> None:
        """Show at once that the request was seen. A failure is logged, not raised."""
        ...

    async def answer(self, asked: Asked, reply: Reply) -> None:
        """Give the one answer, or make the one that is there say this. Raises CannotReachForge."""
        ...


class Knowing(Protocol):
    """What is known of those who ask and of what they ask about."""

    async def about(self, asked: Asked) -> About:
        """Raises CannotReachForge, CannotStore."""
        ...

    async def plan_of(self, deploy: Deploy) -> Plan:
        """The configuration in force. Raises CannotReadRepository, CannotReachForge."""
        ...

    async def incident_of(self, deploy: Deploy) -> Incident | None:
        """The newest incident of that deploy. Raises CannotStore."""
        ...

    async def note(self, asked: Asked, reply: Reply) -> None:
        """Write down who asked for what and what the answer was. Raises CannotStore."""
        ...


class Permitting(Protocol):
    """Who whoever asks is to GitHub, which is the only authority."""

    async def role(self, asked: Asked) -> str | None:
        """GitHub's role in the repository; None where it cannot be read, which is refused."""
        ...

    async def memberships(self, asked: Asked, teams: tuple[str, ...]) -> tuple[tuple[str, bool | None], ...]:
        """For each team (`org/slug`) whether they are an active member; None where it cannot be read."""
        ...


class Ordering(Protocol):
    """What people may order."""

    async def consider(self, deploy: Deploy, plan: Plan, order: PersonOrder) -> Considered:
        """Decide about `order` as if it were carried out now, changing nothing. The order comes back with
        what was seen as its reason, where it gives none and the service is failing. Raises BotFailure."""
        ...

    async def rehearse(self, order: RollbackOrder) -> Reverted:
        """Make the revert, throw it away, and tell how it went. Raises CannotRevert."""
        ...

    async def is_live(self, deploy: Deploy) -> bool:
        """Whether a guard, or a rollback that a person ordered, is at work on this deploy."""
        ...

    async def give(self, deploy: Deploy, order: PersonOrder, start: bool) -> bool:
        """Give `order` to whoever is at work on the deploy; else start a rollback, if `start`. False:
        nobody is there to hear it. May be repeated: it is heard once."""
        ...

    async def followed(self, deploy: Deploy, order: PersonOrder) -> Followed:
        """Wait, a minute at most, until the order was decided or has been overtaken."""
        ...


class Switching(Protocol):
    """Switches that people set."""

    async def switch_on(self, asked: Asked, switch: Switch, target: str) -> Later | Unmarked | None:
        """Set it, and mark open pull requests where it is a freeze. What came in between: a later word that
        stands instead, or why the marks are still missing. Raises CannotStore."""
        ...

    async def switch_off(self, asked: Asked, name: str, target: str) -> bool | Later:
        """Clear it, and the marks; whether it was on, or the later word that stands. Raises CannotStore."""
        ...

    async def standing(self, repository: str, service: str, branch: str) -> tuple[Standing, ...]:
        """The switches that are on for a service and its branch, with those of the whole repository."""
        ...


class Relanding(Protocol):
    """Bringing a change back."""

    async def reland(self, asked: Asked, about: About, plan: Plan, incident: Incident | None) -> Relanded:
        """Open the draft pull request that reverts the revert, or find it open. Raises BotFailure."""
        ...


class Chatting(Protocol):
    """What a place needs whose people are not on GitHub."""

    async def identified(self, asked: Asked) -> Asked:
        """The request with the GitHub login of whoever asks (empty: linked to none), and with the pull request
        of the incident whose button was pressed. Raises CannotStore."""
        ...

    async def connect(self, asked: Asked) -> Reply:
        """One word of linking a person there to a GitHub login. Raises CannotStore."""
        ...

    async def overview(self, asked: Asked) -> Reply:
        """Every open incident and every switch that is on. Raises CannotStore."""
        ...


class CommandWorld(Answering, Knowing, Permitting, Ordering, Switching, Relanding, Chatting, Protocol):
    """All a command can reach; the engine's checkpointed steps in production, a fake in tests."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command that may be carried out, with everything it is about. `deploy` is None where the pull request
    was not deployed there (or is not merged)."""

    asked: Asked
    command: Command
    about: About
    environment: str
    deploy: Deploy | None
    plan: Plan

    @property
    def service(self) -> str:
        return f"{self.asked.repository}:{self.environment}"

    @property
    def branch(self) -> str:
        """The branch that the environment deploys; for a pull request to another branch, that one."""
        return self.plan.branch if self.deploy else self.about.pull_request.base_ref

    def ordered(self) -> PersonOrder:
        """The command as an order to a guard."""
        asked, command = self.asked, self.command
        return PersonOrder(
            verb=command.verb,
            actor=asked.who,
            at_s=asked.at_s,
            reason=command.reason,
            where=asked.where,
            id=asked.id,
            pull_request=asked.number if command.verb == "rollback" else None,
        )


def is_of_other_question(asked: Asked, incident: Incident | None) -> bool:
    """Whether the button that was pressed belongs to another question than the one this incident has."""
    return bool(asked.button) and (incident is None or asked.button != question_of(incident))


def question_of(incident: Incident) -> str:
    """What a button carries: which question of which incident it answers."""
    return f"{incident.id}|{incident.asked_until_s or 0.0:.3f}"


def with_incident(reply: Reply, incident: Incident | None) -> Reply:
    """`reply`, known to belong to an incident."""
    return replace(reply, incident_id=incident.id if incident else None)
