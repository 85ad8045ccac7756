"""Freezes branches and thaws them: the failing check on open pull requests, new heads, and the end by time."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable

import structlog

from bot import comments_switches as say
from bot.check_runs import GitHubCheckRuns
from bot.conversation import GitHubConversation
from bot.failures import BotFailure
from bot.store import Store, SwitchName, SwitchRow, branch_target
from policies.asked import PullHead
from policies.facts import Incident
from policies.limits import Plan

log = structlog.get_logger(__name__)

BOT = "rollback-bot"
EXPIRY_EVERY_S = 2.0
_PLACE = re.compile(r"([^#]+)#(\d{1,18})")


class Freezes:
    """The switch stands in the database; a check that could not be written is logged and never undoes it."""

    def __init__(
        self,
        *,
        store: Store,
        conversation: GitHubConversation,
        checks: GitHubCheckRuns,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._conversation = conversation
        self._checks = checks
        self._now = now
        self._spread: set[tuple[str, float]] = set()

    async def spread(self, target: str) -> int:
        """Put the failing check on every open pull request to a frozen branch (`owner/name@branch`); how many.
        May be repeated."""
        return await asyncio.to_thread(self._each_head, target)

    async def thaw(self, target: str) -> int:
        """Clear the check on every open pull request to the branch; how many. May be repeated."""
        return await asyncio.to_thread(self._each_head, target)

    async def mark(self, head: PullHead) -> None:
        """Put the check on one new head, if its branch is frozen now. May be repeated."""
        await asyncio.to_thread(self._mark, head)

    async def after_failure(self, incident: Incident, plan: Plan) -> None:
        """Freeze `plan.branch` after a rollback that failed, unless it is frozen already. May be repeated; a
        failure is logged, not raised: the incident's end must not hang on it."""
        target = branch_target(incident.deploy.repository, plan.branch)
        try:
            if self._row(target) is None:
                await asyncio.to_thread(self._freeze_after, incident, target)
            await self.spread(target)
        except BotFailure as failure:
            log.warning("freeze.failed", target=target, reason=failure.reason)

    def _freeze_after(self, incident: Incident, target: str) -> None:
        reason = say.failed_rollback(incident)
        now_s = self._now()
        self._store.set_switch(SwitchName.FREEZE, target, actor=BOT, reason=reason, now_s=now_s)
        self._store.audit(
            BOT,
            target,
            "freeze",
            reason,
            now_s,
            repository=incident.deploy.repository,
            incident_id=incident.id,
            once=f"freeze-after:{incident.id}",
        )

    async def catch_up(self) -> None:
        """Spread the freezes that nobody has spread yet (set by hand, or while GitHub was away), once each in
        this process. Raises CannotStore; a GitHub out of reach is tried again at the next turn."""
        for row in await asyncio.to_thread(self._store.all_switches, self._now()):
            mark = (row.target, row.set_at_s)
            if row.name is not SwitchName.FREEZE or mark in self._spread:
                continue
            try:
                await self.spread(row.target)
                self._spread.add(mark)
            except BotFailure as failure:
                log.warning("freeze.not_spread", target=row.target, reason=failure.reason)

    async def expire(self) -> int:
        """End the switches whose time is up, with a note in the audit; how many. May be repeated, by several
        workers at once. Raises CannotStore."""
        ended = 0
        for row in await asyncio.to_thread(self._store.expired_switches, self._now()):
            await asyncio.to_thread(self._end, row)
            if row.name is SwitchName.FREEZE:
                await self._thaw_quietly(row.target)
            await asyncio.to_thread(self._tell_where_it_was_set, row)
            # Last, because the switch that still stands is the trace by which the rest is done again.
            await asyncio.to_thread(self._store.clear_switch, row.name, row.target, set_at_s=row.set_at_s)
            ended += 1
        return ended

    def _end(self, row: SwitchRow) -> None:
        until_s = row.until_s or self._now()
        note = say.expired(str(row.name), row.target, until_s)
        repository = row.target.partition("@")[0].partition(":")[0]
        self._store.audit(
            BOT,
            row.target,
            f"{row.name} expires",
            note,
            self._now(),
            repository=repository,
            once=f"expired:{row.name}:{row.target}:{row.set_at_s:.3f}",
        )
        log.info("switch.expired", name=str(row.name), target=row.target)

    def _tell_where_it_was_set(self, row: SwitchRow) -> None:
        place = _PLACE.fullmatch(row.place)
        if place is None or row.until_s is None:
            return
        marker = say.expiry_marker(str(row.name), row.target, row.set_at_s)
        body = say.expiry_comment(str(row.name), row.target, row.actor, row.until_s)
        try:
            self._conversation.say(place[1], int(place[2]), marker, body)
        except BotFailure as failure:
            log.warning("expiry.untold", target=row.target, reason=failure.reason)

    async def _thaw_quietly(self, target: str) -> None:
        try:
            await self.thaw(target)
        except BotFailure as failure:
            log.warning("thaw.failed", target=target, reason=failure.reason)

    def _each_head(self, target: str) -> int:
        repository, _, branch = target.partition("@")
        heads = self._conversation.open_heads(repository, branch)
        for head in heads:
            self._mark(head)
        return len(heads)

    def _mark(self, head: PullHead) -> None:
        """Whatever was asked for, the check says what the switch says now."""
        row = self._row(branch_target(head.repository, head.base))
        if row is not None:
            title, summary = say.freeze_check(row.reason, row.actor, head.base, row.until_s)
            self._checks.fail(head.repository, head.sha, title, summary)
        else:
            title, summary = say.thawed_check(head.base)
            self._checks.clear(head.repository, head.sha, title, summary)

    def _row(self, target: str) -> SwitchRow | None:
        standing = self._store.all_switches(self._now())
        return next((row for row in standing if row.name is SwitchName.FREEZE and row.target == target), None)


class SwitchExpiry(threading.Thread):
    """Ends switches whose time is up, in every worker; a thread, because GitHub may be slow to hear of it."""

    def __init__(self, freezes: Freezes, every_s: float = EXPIRY_EVERY_S) -> None:
        super().__init__(name="switch-expiry", daemon=True)
        self._freezes = freezes
        self._every_s = every_s
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopping.set()

    def run(self) -> None:
        # One loop for all rounds: to close one takes a look at every task of the process.
        with asyncio.Runner() as rounds:
            while not self._stopping.wait(self._every_s):
                try:
                    rounds.run(self._freezes.expire())
                    rounds.run(self._freezes.catch_up())
                except BotFailure as failure:
                    log.warning("expiry.failed", reason=failure.reason)
                except Exception:
                    log.exception("expiry.broke")
