"""Voice and memory: records an incident's life and writes it where its people look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import structlog

from bot.comments import headline, incident_comment, incident_marker, needs_a_person
from bot.failures import BotFailure
from bot.ports import PullRequests, Repository
from bot.store_deploys import HeardDeploy
from policies.acquittal import Acquitted, acquits
from policies.facts import (
    FINAL_STATES,
    Deploy,
    Health,
    Incident,
    IncidentState,
    Moment,
    PullRequestFacts,
    Watched,
)
from policies.limits import Plan

log = structlog.get_logger()

ITSELF = "rollback-bot"
RECENT_INCIDENTS = 200
TELL_AGAIN_S = (5.0, 15.0, 30.0, 60.0, 120.0, 240.0)
"""Pauses before the last word is tried again: most of GitHub's outages are over by then."""
ONE_DEPLOYS_COMMITS = 50
"""How far below a deployed commit its revert is looked for; later merges may have landed on top."""


class IncidentBook(Protocol):
    """What telling needs to remember; `bot.store.Store` in production."""

    def save_incident(self, incident: Incident, at_s: float | None = None) -> bool: ...

    def incident(self, incident_id: str) -> Incident | None: ...

    def note_comment(self, incident_id: str, repository: str, number: int, url: str) -> None: ...

    def audit(
        self,
        who: str,
        place: str,
        what: str,
        answer: str,
        at_s: float,
        *,
        repository: str | None = None,
        incident_id: str | None = None,
        once: str | None = None,
    ) -> None: ...

    def incidents(
        self, limit: int = 50, *, state: str | None = None, repository: str | None = None
    ) -> tuple[Incident, ...]: ...

    def incident_of_deploy(self, repository: str, environment: str, deploy_id: str) -> Incident | None: ...

    def judge_deploy(
        self, deploy: Deploy, verdict: str, reason: str = "", at_s: float | None = None
    ) -> None: ...

    def deploys_heard(
        self, service: str | None = None, *, since_s: float = 0.0, completed: bool = False
    ) -> tuple[HeardDeploy, ...]: ...


class Channels(Protocol):
    """Where else incidents are told; `bot.slack_channels.SlackChannels` in production."""

    def tell(self, incident: Incident, plan: Plan) -> bool: ...


class Voice:
    """Fills `ports.Telling`, and `watching.DeployHistory`."""

    def __init__(
        self,
        *,
        repository: Repository,
        pull_requests: PullRequests,
        book: IncidentBook,
        base_url: str | None,
        channels: Channels | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._channels = channels
        self._repository = repository
        self._pull_requests = pull_requests
        self._book = book
        self._base_url = base_url
        self._now = now

    # --- memory -------------------------------------------------------------------------------------

    async def record(self, incident: Incident, what: str, stamp: str = "") -> Incident:
        """See `ports.Telling.record`. Run again after a crash it returns what the first run stored."""
        return await asyncio.to_thread(self._record, incident, what, stamp)

    def _record(self, incident: Incident, what: str, stamp: str) -> Incident:
        stored = self._book.incident(incident.id)
        place = len(incident.timeline)
        if stored and len(stored.timeline) == place + 1 and stored.timeline[place].what == what:
            return stored
        moment = Moment(self._now(), what)
        incident = replace(incident, timeline=(*incident.timeline, moment))
        if stamp == "decided_at_s":
            incident = replace(incident, decided_at_s=moment.at_s)
        elif stamp == "closed_at_s":
            incident = replace(incident, closed_at_s=moment.at_s)
        self._book.save_incident(incident)
        self._write_down(incident, moment, stamp)
        log.info(
            "incident",
            incident=incident.id,
            service=incident.deploy.service,
            state=incident.state.value,
            what=what,
            headline=headline(incident),
        )
        return incident

    def _write_down(self, incident: Incident, moment: Moment, stamp: str) -> None:
        """A question and its end stand in the audit beside the answers of people."""
        question = incident.state is IncidentState.ASKED and stamp == "decided_at_s"
        expired = incident.state is IncidentState.HELD and stamp == "closed_at_s"
        if not question and not (expired and incident.asked_until_s is not None):
            return
        what = "asks whether to roll back" if question else "the question expires"
        self._book.audit(
            ITSELF,
            incident.deploy.service,
            what,
            incident.reason,
            moment.at_s,
            repository=incident.deploy.repository,
            incident_id=incident.id,
            once=f"{what}:{incident.id}:{incident.asked_until_s}",
        )

    async def close(self, deploy: Deploy, plan: Plan | None, watched: Watched | None, note: str) -> str:
        """See `ports.Telling.close`. May be repeated."""
        verdict = watched.health.value if watched else "not guarded"
        if plan is not None and plan.ignored:
            verdict = "ignored"
        if deploy.environment:  # a workflow run that deploys nothing we guard is no deploy
            await asyncio.to_thread(self._book.judge_deploy, deploy, verdict, note, self._now())
        if plan is not None and watched is not None and watched.health is Health.HEALTHY:
            await asyncio.to_thread(self._acquit_by_reland, deploy, plan, watched)
        log.info(
            "guard.ended",
            service=deploy.service,
            deploy=deploy.id,
            sha=deploy.sha,
            verdict=verdict,
            note=note,
        )
        return note

    def _acquit_by_reland(self, deploy: Deploy, plan: Plan, watched: Watched) -> None:
        """A reland that went in unmodified and stayed healthy: the rollback was false, and we say so."""
        try:
            reland = self._repository.commit(deploy.repository, plan.branch, deploy.sha)
            if reland.relands is None:
                return
            original = self._repository.commit(deploy.repository, plan.branch, reland.relands)
        except BotFailure as failure:
            log.warning("acquittal.unreadable", deploy=deploy.id, reason=failure.reason)
            return
        if not acquits(reland, original, watched):
            return
        for incident in self._book.incidents(RECENT_INCIDENTS, repository=deploy.repository):
            brought = {
                culprit.commit.sha for culprit in (incident.change.culprits if incident.change else ())
            }
            if incident.pushed_at_s and original.sha in brought and not incident.acquitted:
                self._book.save_incident(replace(incident, acquitted=Acquitted.RELANDED_WELL))
                log.warning("rollback.false", incident=incident.id, reason=Acquitted.RELANDED_WELL)

    async def reverted_by_us(self, deploy: Deploy, plan: Plan) -> str | None:
        """See `ports.Telling.reverted_by_us`. May be repeated."""
        return await asyncio.to_thread(self._reverted_by_us, deploy, plan)

    def _reverted_by_us(self, deploy: Deploy, plan: Plan) -> str | None:
        commit = self._repository.commit(deploy.repository, plan.branch, deploy.sha)
        if commit.rollback_deploy is None:
            return None
        incident = self._book.incident_of_deploy(
            deploy.repository, deploy.environment, commit.rollback_deploy
        )
        return incident.id if incident and incident.closed_at_s is None else None

    def revert_deployed_at(self, incident: Incident, plan: Plan) -> float | None:
        """When a deploy that contains the incident's revert completed. May be repeated; a mirror that cannot
        be read now is asked again at the next poll."""
        # Compared with the bad deploy's time, which is told by the same clock: GitHub's counts whole seconds,
        # so a deploy right after the decision would seem to come before it.
        since_s = incident.deploy.completed_at_s
        heard = self._book.deploys_heard(incident.deploy.service, since_s=since_s, completed=True)
        for deploy in (one.deploy for one in heard):
            try:
                if self._brings_revert(deploy, incident, plan):
                    return deploy.completed_at_s
            except BotFailure as failure:
                log.warning("verify.unreadable", incident=incident.id, reason=failure.reason)
        return None

    def superseded_by(self, deploy: Deploy) -> str | None:
        """The sha of a newer completed deploy of another commit to the same service. May be repeated."""
        since_s = deploy.completed_at_s
        for heard in self._book.deploys_heard(deploy.service, since_s=since_s, completed=True):
            newer = heard.deploy
            if newer.id != deploy.id and newer.sha != deploy.sha and newer.completed_at_s > since_s:
                return newer.sha[:12]
        return None

    def _brings_revert(self, deploy: Deploy, incident: Incident, plan: Plan) -> bool:
        if incident.reverted and deploy.sha == incident.reverted.revert_sha:
            return True
        if deploy.sha == incident.deploy.sha or incident.change is None:
            return False
        self._repository.refresh(deploy.repository, plan.branch)
        commits = self._repository.between(
            deploy.repository, plan.branch, incident.change.head, deploy.sha, ONE_DEPLOYS_COMMITS
        )
        return any(commit.rollback_deploy == incident.deploy.id for commit in commits)

    # --- voice --------------------------------------------------------------------------------------

    async def tell(self, incident: Incident, plan: Plan) -> None:
        """See `ports.Telling.tell`. May be repeated: the same text again writes nothing. The last word is tried
        for minutes, since nothing comes after it that would put the comment right."""
        for pause_s in TELL_AGAIN_S if incident.state in FINAL_STATES else ():
            if await self._everywhere(incident, plan):
                return
            await asyncio.sleep(pause_s)
        await self._everywhere(incident, plan)

    async def _everywhere(self, incident: Incident, plan: Plan) -> bool:
        """On the pull requests and in the channels, side by side: neither waits for the other's outage."""
        told = [asyncio.to_thread(self._tell, incident, plan)]
        if self._channels is not None and plan.notify:
            told.append(asyncio.to_thread(self._channels.tell, incident, plan))
        return all(await asyncio.gather(*told))

    def _tell(self, incident: Incident, plan: Plan) -> bool:
        """Whether all of it could be told."""
        repository, everywhere = incident.deploy.repository, True
        try:
            pull_requests = self._pull_requests_of(incident)
        except BotFailure as failure:
            log.warning("tell.failed", incident=incident.id, reason=failure.reason)
            return False
        if not pull_requests:
            log.info("tell.nowhere", incident=incident.id, sha=incident.deploy.sha)
        marker, fresh = incident_marker(incident.id), needs_a_person(incident)
        for pull_request in pull_requests:
            body = incident_comment(incident, plan, self._base_url, not plan.private, pull_request)
            try:
                url = self._pull_requests.say(repository, pull_request.number, marker, body, fresh)
                self._book.note_comment(incident.id, repository, pull_request.number, url)
            except BotFailure as failure:
                log.warning("tell.failed", incident=incident.id, reason=failure.reason)
                everywhere = False
        return everywhere

    def _pull_requests_of(self, incident: Incident) -> tuple[PullRequestFacts, ...]:
        if incident.change and incident.change.culprits:
            found = [culprit.pull_request for culprit in incident.change.culprits]
        else:
            found = list(self._pull_requests.of_commit(incident.deploy.repository, incident.deploy.sha)[:1])
        by_number = {pull_request.number: pull_request for pull_request in found if pull_request}
        return tuple(by_number.values())
