"""The desk: everything a command of a person reaches outside, over the adapters that the guard has too."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import structlog

from bot.command_ports import About, Answering, Considered, Followed, Later, Relanded, Standing, Unmarked
from bot.comments_commands import plain_answer
from bot.comments_reland import reland_pull_request
from bot.config import CONFIG_PATH
from bot.conversation import GitHubConversation
from bot.failures import BotFailure, CannotReachForge, CannotReadRepository
from bot.freezes import Freezes
from bot.order_ends import if_later, settled
from bot.ports import Acting
from bot.repository import GitRepositories
from bot.store import EVERYWHERE, Said, Store, SwitchName, Word
from bot.watching import Eyes
from policies.asked import GITHUB, Asked, PullHead, Reply, spoken
from policies.badness import badness_before
from policies.culprits import as_ordered
from policies.eligibility import may_roll_back
from policies.facts import (
    Deploy,
    Health,
    HealthSample,
    Incident,
    PersonOrder,
    Reverted,
    RollbackOrder,
    Switch,
    Verdict,
    Watched,
)
from policies.limits import Plan

log = structlog.get_logger(__name__)

FOLLOW_S = 60.0
FOLLOW_EVERY_S = 0.3
DEPLOYS_SEARCHED = 20
MERGES_A_DEPLOY = 50
BOT, CANCEL = "rollback-bot", "cancel"


class Engine(Protocol):
    """The door to guards at work; `bot.engine_client.EngineClient` in production."""

    def live(self, deploy: Deploy) -> str | None: ...

    def send_order(self, workflow_id: str, order: PersonOrder) -> None: ...

    def start_ordered(self, deploy: Deploy, order: PersonOrder) -> None: ...


class CommandDesk:
    """Fills `command_ports.CommandWorld` and `ports.Freezing`; the engine makes each call a step."""

    def __init__(
        self,
        *,
        conversation: GitHubConversation,
        places: Mapping[str, Answering],
        repository: GitRepositories,
        eyes: Eyes,
        hands: Acting,
        store: Store,
        engine: Engine,
        freezes: Freezes,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._conversation = conversation
        self._places = places
        self._repository = repository
        self._eyes = eyes
        self._hands = hands
        self._store = store
        self._engine = engine
        self._freezes = freezes
        self._now = now

    # --- the place ----------------------------------------------------------------------------------

    async def seen(self, asked: Asked) -> None:
        """See `command_ports.Answering.seen`."""
        await self._places[asked.place].seen(asked)

    async def answer(self, asked: Asked, reply: Reply) -> None:
        """See `command_ports.Answering.answer`."""
        await self._places[asked.place].answer(asked, reply)

    # --- knowing ------------------------------------------------------------------------------------

    async def role(self, asked: Asked) -> str | None:
        """See `command_ports.Knowing.role`."""
        if not asked.who:
            return None
        try:
            return await asyncio.to_thread(self._conversation.role, asked.repository, asked.who)
        except BotFailure as failure:
            log.warning("command.role_unreadable", who=asked.who, reason=failure.reason)
            return None

    async def memberships(self, asked: Asked, teams: tuple[str, ...]) -> tuple[tuple[str, bool | None], ...]:
        """See `command_ports.Permitting.memberships`."""
        return await asyncio.to_thread(lambda: tuple((team, self._is_in(asked, team)) for team in teams))

    def _is_in(self, asked: Asked, team: str) -> bool | None:
        try:
            return self._conversation.is_member(asked.repository, team, asked.who)
        except BotFailure as failure:
            log.warning("command.team_unreadable", who=asked.who, team=team, reason=failure.reason)
            return None

    async def about(self, asked: Asked) -> About:
        """See `command_ports.Knowing.about`."""
        return await asyncio.to_thread(self._about, asked)

    def _about(self, asked: Asked) -> About:
        pull = self._conversation.pull(asked.repository, asked.number)
        environments = tuple(
            service.partition(":")[2]
            for service in self._store.services()
            if service.startswith(f"{asked.repository}:")
        )
        deploys: tuple[Deploy, ...] = ()
        if pull.merge_sha is not None:
            found = (
                self._deploy_of(asked.repository, e, pull.facts.base_ref, pull.merge_sha)
                for e in environments
            )
            deploys = tuple(deploy for deploy in found if deploy is not None)
        return About(
            pull.facts,
            pull.is_open,
            pull.merge_sha,
            deploys,
            environments,
            head_sha=pull.base_head_sha,
            read_at_s=self._now(),
        )

    def _deploy_of(self, repository: str, environment: str, branch: str, sha: str) -> Deploy | None:
        """The newest completed deploy of `sha` itself, else the one that brought it along with others."""
        service = f"{repository}:{environment}"
        own = self._store.deploy_of(service, sha)
        if own is not None:
            return own
        heard = self._store.deploys_heard(service, limit=DEPLOYS_SEARCHED, completed=True)
        deploys = [one.deploy for one in heard]
        try:
            for newer, older in itertools.pairwise(deploys):
                brought = self._repository.between(repository, branch, older.sha, newer.sha, MERGES_A_DEPLOY)
                if any(commit.sha == sha for commit in brought):
                    return newer
        except CannotReadRepository as failure:
            log.info("command.no_range", repository=repository, reason=failure.reason)
        return None

    async def plan_of(self, deploy: Deploy) -> Plan:
        """See `command_ports.Knowing.plan_of`."""
        return await self._eyes.plan_now(deploy)

    async def incident_of(self, deploy: Deploy) -> Incident | None:
        """See `command_ports.Knowing.incident_of`."""
        return await asyncio.to_thread(
            self._store.incident_of_deploy, deploy.repository, deploy.environment, deploy.id
        )

    async def note(self, asked: Asked, reply: Reply) -> None:
        """See `command_ports.Knowing.note`."""
        what = spoken(asked.command) if asked.command else "(not understood)"
        await asyncio.to_thread(
            self._store.audit,
            asked.by,
            asked.where,
            what,
            plain_answer(reply),
            self._now(),
            repository=asked.repository or None,
            incident_id=reply.incident_id,
            once=f"{asked.place}:{asked.repository}:{asked.id}",
        )

    # --- ordering -----------------------------------------------------------------------------------

    async def consider(self, deploy: Deploy, plan: Plan, order: PersonOrder) -> Considered:
        """See `command_ports.Ordering.consider`."""
        incident = await self.incident_of(deploy)
        baseline = await self._eyes.baseline(deploy, plan)
        sample = await self._eyes.look(plan, max(0.0, self._now() - deploy.completed_at_s))
        bad = badness_before(sample, plan.health)
        failing = bad is not None and bad > plan.health.allowed_badness
        if failing and not order.reason.strip():
            order = replace(order, reason=_seen(sample))
        change = as_ordered(await self._hands.change(deploy, plan), order)
        rails = await self._hands.rails(deploy, plan)
        is_open = incident is not None and incident.closed_at_s is None
        watched = incident.watched if incident is not None and is_open else None
        decision = may_roll_back(
            incident_id=incident.id if incident is not None and is_open else "none-yet",
            deploy=deploy,
            plan=plan,
            baseline=baseline,
            watched=watched or _looked(sample, bad, failing, self._now()),
            change=change,
            evidence=incident.evidence if incident is not None and is_open else None,
            rails=rails,
            person=order,
            now_s=rails.read_at_s,
        )
        files = dict.fromkeys(path for culprit in change.culprits for path in culprit.commit.paths)
        return Considered(order, decision, sample, tuple(files))

    async def rehearse(self, order: RollbackOrder) -> Reverted:
        """See `command_ports.Ordering.rehearse`."""
        return await asyncio.to_thread(self._repository.rehearse, order)

    async def is_live(self, deploy: Deploy) -> bool:
        """See `command_ports.Ordering.is_live`."""
        return await asyncio.to_thread(self._engine.live, deploy) is not None

    async def give(self, deploy: Deploy, order: PersonOrder, start: bool) -> bool:
        """See `command_ports.Ordering.give`."""
        return await asyncio.to_thread(self._give, deploy, order, start)

    def _give(self, deploy: Deploy, order: PersonOrder, start: bool) -> bool:
        workflow_id = self._engine.live(deploy)
        if workflow_id is not None:
            self._engine.send_order(workflow_id, order)
            self._stop_the_push(deploy, order)
            return True
        if start:
            self._engine.start_ordered(deploy, order)
        return start

    def _stop_the_push(self, deploy: Deploy, order: PersonOrder) -> None:
        """A guard that is about to push reads no mail any more; the push itself looks here at the last moment."""
        if order.verb != CANCEL:
            return
        incident = self._store.incident_of_deploy(deploy.repository, deploy.environment, deploy.id)
        if incident is not None and incident.closed_at_s is None:
            self._store.say_cancel(incident.id, Word(order.at_s, order.actor, order.id))

    async def followed(self, deploy: Deploy, order: PersonOrder) -> Followed:
        """See `command_ports.Ordering.followed`. Run again after a crash it waits anew."""
        until_s = self._now() + FOLLOW_S
        while True:
            incident = await self.incident_of(deploy)
            found = settled(incident, order)
            if found is not None:
                return found
            if self._now() >= until_s:
                return Followed(False, incident, waiting=True)
            if not await self.is_live(deploy):
                incident = await self.incident_of(deploy)  # it may have ended between the two looks
                return settled(incident, order) or Followed(False, if_later(incident, order))
            await asyncio.sleep(FOLLOW_EVERY_S)

    # --- switches -----------------------------------------------------------------------------------

    async def switch_on(self, asked: Asked, switch: Switch, target: str) -> Later | Unmarked | None:
        """See `command_ports.Switching.switch_on`."""
        later = await asyncio.to_thread(
            self._store.set_switch,
            switch.name,
            target,
            actor=asked.who,
            reason=switch.reason,
            now_s=asked.at_s,
            until_s=switch.until_s,
            place=f"{asked.repository}#{asked.number}",
            word=word_of(asked),
        )
        if switch.name == SwitchName.FREEZE and later is None:
            try:
                await self._freezes.spread(target)
            except CannotReachForge as failure:
                log.warning("freeze.unmarked", target=target, reason=failure.reason)
                return Unmarked(failure.reason)
        return _later(later)

    async def switch_off(self, asked: Asked, name: str, target: str) -> bool | Later:
        """See `command_ports.Switching.switch_off`."""
        said = await asyncio.to_thread(self._store.lift_switch, name, target, word_of(asked), self._now())
        if isinstance(said, Said):
            return _later(said) or False
        if name == SwitchName.FREEZE:
            await self._freezes.thaw(target)
        return said

    async def standing(self, repository: str, service: str, branch: str) -> tuple[Standing, ...]:
        """See `command_ports.Switching.standing`."""
        rows = await asyncio.to_thread(self._store.all_switches, self._now())
        targets = {
            (SwitchName.KILL, EVERYWHERE),
            (SwitchName.KILL, repository),
            (SwitchName.HOLD, service),
            (SwitchName.FREEZE, f"{repository}@{branch}"),
        }
        return tuple(
            Standing(Switch(str(row.name), True, row.reason, row.until_s), row.target, row.actor)
            for row in rows
            if (row.name, row.target) in targets
        )

    async def freeze(self, incident: Incident, plan: Plan) -> None:
        """See `ports.Freezing.freeze`."""
        await self._freezes.after_failure(incident, plan)

    async def mark_head(self, head: PullHead) -> None:
        """See `ports.Freezing.mark_head`."""
        await self._freezes.mark(head)

    # --- reland -------------------------------------------------------------------------------------

    async def reland(self, asked: Asked, about: About, plan: Plan, incident: Incident | None) -> Relanded:
        """See `command_ports.Relanding.reland`."""
        return await asyncio.to_thread(self._reland, asked, about, plan, incident)

    def _reland(self, asked: Asked, about: About, plan: Plan, incident: Incident | None) -> Relanded:
        repository, pull = asked.repository, about.pull_request
        branch = pull.base_ref
        self._repository.refresh(repository, branch)
        undone: list[tuple[str, str]] = []
        for sha in _brought(about, incident):
            by = self._repository.commit(repository, branch, sha).already_reverted_by
            if by is not None:
                undone.append((sha, by))
        if not undone:
            return Relanded(
                None, f"#{pull.number} is not reverted on {branch}, so there is nothing to bring back."
            )
        made = self._repository.reland(repository, branch, pull.number, pull.title, tuple(undone))
        if made.branch is None:
            return Relanded(None, made.reason, made.conflicts, made.command)
        title, body = reland_pull_request(about, incident, made.relands, asked, plan)
        proposed = self._conversation.propose(repository, made.branch, branch, title, body, draft=True)
        if proposed.merged:
            why = f"#{proposed.number} brought #{pull.number} back already and was merged."
            return Relanded(
                None, f"{why} If that was rolled back too, say /rollback reland on #{proposed.number}."
            )
        return Relanded(proposed)


def word_of(asked: Asked) -> Word:
    """A request as a word on a switch; of two comments in the same second the later one has the higher id."""
    number = int(asked.answer_to) if asked.place == GITHUB and asked.answer_to.isdecimal() else None
    return Word(asked.at_s, asked.who, f"{asked.place}:{asked.repository}:{asked.id}", number)


def _later(said: Said | None) -> Later | None:
    return None if said is None else Later(said.actor, said.at_s, said.on)


def _brought(about: About, incident: Incident | None) -> tuple[str, ...]:
    """The pull request's commits on the branch, oldest first: those of its incident, else the merge."""
    number = about.pull_request.number
    culprits = incident.change.culprits if incident is not None and incident.change is not None else ()
    own = [c.commit.sha for c in culprits if c.pull_request is not None and c.pull_request.number == number]
    return tuple(reversed(own)) or ((about.merge_sha,) if about.merge_sha else ())


def _looked(sample: HealthSample, bad: float | None, failing: bool, at_s: float) -> Watched:
    health = Health.UNKNOWN if bad is None else Health.UNHEALTHY if failing else Health.HEALTHY
    said = "Nothing could be seen now" if bad is None else _seen(sample)
    return Watched(health, Verdict(health.value, f"{said}.", "look"), (sample,), at_s)


def _seen(sample: HealthSample) -> str:
    """One poll in a few words."""
    probe = sample.probe
    if probe is not None:
        asked = probe.ok + probe.failed
        code = f" (HTTP {probe.status})" if probe.status else ""
        return f"{probe.failed} of {asked} probes failed just now{code}"
    targets = sample.targets or ()
    bad = sum(1 for target in targets if target.state == "unhealthy")
    return f"{bad} of {len(targets)} targets are unhealthy now"


__all__ = ["BOT", "CONFIG_PATH", "CommandDesk", "settled"]
