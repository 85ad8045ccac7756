"""A fake of `bot.command_ports.CommandWorld`: each answers a value or raises a failure, set by the test."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bot.chatops import answer
from bot.command_ports import About, Considered, Followed, Later, Relanded, Standing, Unmarked
from bot.failures import BotFailure
from policies.asked import Asked, Mood, Reply
from policies.chatops import Misunderstood, parse_comment
from policies.eligibility import may_roll_back
from policies.facts import (
    Action,
    Decision,
    Deploy,
    HealthSample,
    Incident,
    PersonOrder,
    ProbeSample,
    Rails,
    Reverted,
    RollbackOrder,
    Switch,
    Verdict,
)
from policies.limits import Plan
from tests import incidents
from tests.fakes import CHANGE, DEPLOY, FAILING, GOOD_BEFORE, PLAN, PULL_REQUEST, PUSHED, SHA, _given

ASKED_AT_S = DEPLOY.completed_at_s + 60.0


def asked(text: str, who: str = "dana", comment: int = 7, at_s: float = ASKED_AT_S) -> Asked:
    """The request in a comment on #42."""
    said = parse_comment(text)
    assert said is not None, f"{text!r} does not speak to the bot"
    return Asked(
        id=f"comment-{comment}",
        place="github",
        who=who,
        repository=DEPLOY.repository,
        number=42,
        at_s=at_s,
        command=None if isinstance(said, Misunderstood) else said,
        misunderstood=said.why if isinstance(said, Misunderstood) else "",
        answer_to=str(comment),
    )


def order(actor: str = "dana") -> RollbackOrder:
    """What eligibility would hand out; made by its own function, as everywhere."""
    decision = may_roll_back(
        incident_id="i-1",
        deploy=DEPLOY,
        plan=PLAN,
        baseline=GOOD_BEFORE,
        watched=FAILING,
        change=CHANGE,
        evidence=None,
        rails=Rails(deployed_sha_now=SHA),
        person=PersonOrder("rollback", actor, ASKED_AT_S, "wrong prices"),
        now_s=ASKED_AT_S,
    )
    assert decision.order is not None
    return decision.order


def yes(actor: str = "dana") -> Decision:
    made = order(actor)
    return Decision(Action.ROLL_BACK, made.reason, (Verdict("pass", "it reverts #42", "culprits"),), made)


def no(reason: str) -> Decision:
    return Decision(Action.HOLD, reason, (Verdict("hold", "this service is on hold", "hold"),))


MERGED = About(PULL_REQUEST, False, SHA, (DEPLOY,), ("develop",), head_sha=SHA)


@dataclass
class FakeDesk:
    """Fills `CommandWorld`; a field that holds a BotFailure is raised instead of returned."""

    about_: About | BotFailure = MERGED
    plan_: Plan | BotFailure = PLAN
    role_: str | None = "write"
    teams: dict[str, bool | None] = field(default_factory=dict)
    incident: Incident | BotFailure | None = None
    decision: Decision | BotFailure = field(default_factory=yes)
    sample: HealthSample = field(default_factory=lambda: HealthSample(60.0, ProbeSample(3, 0, 200)))
    rehearsed: Reverted | BotFailure = PUSHED
    live: bool = True
    follows: list[Followed] = field(default_factory=list)
    was_on: bool = True
    later: Later | None = None
    unmarked: Unmarked | None = None
    switches: tuple[Standing, ...] = ()
    relanded: Relanded | BotFailure = field(default_factory=lambda: Relanded(PULL_REQUEST))
    unanswered: BotFailure | None = None
    login: str = ""
    """Whose a Slack user is on GitHub."""

    did: list[str] = field(default_factory=list)
    given: list[tuple[PersonOrder, bool]] = field(default_factory=list)
    set_: list[tuple[Switch, str]] = field(default_factory=list)
    cleared: list[tuple[str, str]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    noted: list[tuple[Asked, Reply]] = field(default_factory=list)

    async def seen(self, asked: Asked) -> None:
        self.did.append("seen")

    async def answer(self, asked: Asked, reply: Reply) -> None:
        self.did.append("answer")
        if self.unanswered is not None:
            raise self.unanswered
        self.replies.append(reply)

    async def about(self, asked: Asked) -> About:
        return _given(self.about_)

    async def plan_of(self, deploy: Deploy) -> Plan:
        return _given(self.plan_)

    async def role(self, asked: Asked) -> str | None:
        self.did.append("role")
        return self.role_

    async def memberships(self, asked: Asked, teams: tuple[str, ...]) -> tuple[tuple[str, bool | None], ...]:
        self.did.append("memberships")
        return tuple((team, self.teams.get(team, False)) for team in teams)

    async def incident_of(self, deploy: Deploy) -> Incident | None:
        return _given(self.incident)

    async def note(self, asked: Asked, reply: Reply) -> None:
        self.did.append("note")
        self.noted.append((asked, reply))

    async def consider(self, deploy: Deploy, plan: Plan, order: PersonOrder) -> Considered:
        self.did.append("consider")
        return Considered(order, _given(self.decision), self.sample, ("app/settings.py",))

    async def rehearse(self, order: RollbackOrder) -> Reverted:
        self.did.append("rehearse")
        return _given(self.rehearsed)

    async def is_live(self, deploy: Deploy) -> bool:
        return self.live

    async def give(self, deploy: Deploy, order: PersonOrder, start: bool) -> bool:
        self.did.append("give")
        self.given.append((order, start))
        return True

    async def followed(self, deploy: Deploy, order: PersonOrder) -> Followed:
        if self.follows:
            return self.follows.pop(0)
        return Followed(True, heard(order))

    async def switch_on(self, asked: Asked, switch: Switch, target: str) -> Later | Unmarked | None:
        self.did.append("switch_on")
        if self.later is None:
            self.set_.append((switch, target))
        return self.later or self.unmarked

    async def switch_off(self, asked: Asked, name: str, target: str) -> bool | Later:
        self.did.append("switch_off")
        if self.later is None:
            self.cleared.append((name, target))
        return self.was_on if self.later is None else self.later

    async def standing(self, repository: str, service: str, branch: str) -> tuple[Standing, ...]:
        return self.switches

    async def identified(self, asked: Asked) -> Asked:
        return replace(asked, who=self.login)

    async def connect(self, asked: Asked) -> Reply:
        self.did.append("connect")
        return Reply(Mood.REFUSED, "Not connected.")

    async def overview(self, asked: Asked) -> Reply:
        return Reply(Mood.ACCEPTED, "Status.")

    async def reland(self, asked: Asked, about: About, plan: Plan, incident: Incident | None) -> Relanded:
        self.did.append("reland")
        return _given(self.relanded)


def heard(by: PersonOrder) -> Incident:
    """The incident that decided by an order."""
    return replace(incidents.REVERTING, person=by, decision=yes(by.actor))


ACTED = frozenset({"give", "switch_on", "switch_off", "reland", "rehearse"})
"""What changes something, or could."""

TWO = replace(MERGED, deploys=(DEPLOY, replace(DEPLOY, environment="production", id="9")))
OPEN = replace(MERGED, is_open=True, merge_sha=None, deploys=())


async def told(text: str, world: FakeDesk, who: str = "dana") -> str:
    """Result, reason and next step as they are read; the whole story ran once."""
    await answer(asked(text, who), world)
    assert world.did[0] == "seen" and world.did[-1] == "answer" and world.did.count("answer") == 1
    assert len(world.noted) == 1 and world.noted[0][1] == world.replies[0]
    reply = world.replies[0]
    return " ".join(part for part in (reply.result, reply.why, reply.next) if part)


def mood(world: FakeDesk) -> Mood:
    return world.replies[0].mood


def acted(world: FakeDesk) -> set[str]:
    return ACTED & set(world.did)
