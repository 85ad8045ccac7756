"""Answers where a command was given in Slack, knows who gave it, and what it is about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from bot import comments_slack as say
from bot.command_ports import About, Standing
from bot.comments_slack_connect import not_set_up
from bot.failures import CannotReachChat
from bot.slack_api import Address, NotDelivered, SlackApi, Text
from bot.slack_connect import Connecting, account
from bot.store import SwitchRow
from policies.asked import SLACK, Asked, Reply
from policies.facts import Incident, PullRequestFacts, Switch

log = structlog.get_logger(__name__)

RESPONSE_URL_S: Final = 1_740.0
"""Slack takes answers for thirty minutes; the last one is left to clocks that differ."""
SHOWN_INCIDENTS: Final = 20
ANSWER_PATIENCE_S: Final = 60.0
"""For which an answer is tried again while Slack certainly did not take it."""


class Whispering:
    """Says something to one person: where they asked, else to them in the channel, else in their own messages."""

    def __init__(self, api: SlackApi, now: Callable[[], float] = time.time) -> None:
        self._api = api
        self._now = now

    def whisper(self, asked_at_s: float, user: str, address: Address, text: Text) -> None:
        """Blocks. Goes on to the next way only where the last one certainly posted nothing. Raises
        CannotReachChat."""
        if address.response_url and self._now() - asked_at_s < RESPONSE_URL_S:
            try:
                self._api.respond(address.response_url, text)
                return
            except NotDelivered as failure:
                log.info("slack.no_response", reason=failure.reason)
        if address.channel:
            try:
                self._api.whisper(address.channel, user, text)
                return
            except NotDelivered as failure:
                log.info("slack.not_in_channel", reason=failure.reason)
        self._api.post(user, text)


class SlackPlace:
    """Fills `command_ports.Answering` for Slack."""

    def __init__(self, whispering: Whispering, claims: Claims) -> None:
        self._whispering = whispering
        self._claims = claims

    async def seen(self, asked: Asked) -> None:
        """The web process said so already, in its answer to the request itself."""

    async def answer(self, asked: Asked, reply: Reply) -> None:
        """One message for the asker alone. Nobody can look whether such a message is there, so it is tried again
        only where it certainly is not, and a second run after a crash says nothing."""
        if not await asyncio.to_thread(self._claims.claim_answer, asked.id):
            log.info("slack.answered_before", command=asked.id)
            return
        text = say.answer_text(asked, reply)
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(NotDelivered),
            wait=wait_exponential_jitter(multiplier=0.5, max=10),
            stop=stop_after_delay(ANSWER_PATIENCE_S),
            reraise=True,
        )
        await attempts(
            asyncio.to_thread,
            self._whispering.whisper,
            asked.at_s,
            account(asked)[1],
            Address.of(asked.answer_to),
            text,
        )


class Claims(Protocol):
    """See `bot.store_slack.SlackMemory.claim_answer`."""

    def claim_answer(self, delivery_id: str) -> bool: ...


class ChatMemory(Protocol):
    """What is asked of the bot's memory; `bot.store.Store` in production."""

    def slack_login(self, team_id: str, user_id: str) -> str | None: ...

    def incident(self, incident_id: str) -> Incident | None: ...

    def incidents(self, limit: int = 50, *, open_only: bool = False) -> tuple[Incident, ...]: ...

    def services(self) -> Sequence[str]: ...

    def all_switches(self, now_s: float) -> tuple[SwitchRow, ...]: ...


class Chat:
    """Fills `command_ports.Chatting`."""

    def __init__(
        self, memory: ChatMemory, connecting: Connecting | None, now: Callable[[], float] = time.time
    ) -> None:
        self._memory = memory
        self._connecting = connecting
        self._now = now

    async def identified(self, asked: Asked) -> Asked:
        """See `command_ports.Chatting.identified`."""
        return await asyncio.to_thread(self._identified, asked)

    def _identified(self, asked: Asked) -> Asked:
        if asked.place != SLACK:
            return asked
        asked = replace(asked, who=self._memory.slack_login(*account(asked)) or "")
        incident = self._memory.incident(say.incident_of_button(asked.button)) if asked.button else None
        if incident is not None:
            shown = say.pull_request_shown(incident)
            return replace(asked, repository=incident.deploy.repository, number=shown.number if shown else 0)
        return replace(asked, repository=self._as_known(asked.repository))

    def _as_known(self, repository: str) -> str:
        """The name as GitHub writes it: people type it in small letters."""
        known = {service.partition(":")[0] for service in self._memory.services()} if repository else set()
        return next((name for name in sorted(known) if name.lower() == repository.lower()), repository)

    async def connect(self, asked: Asked) -> Reply:
        """See `command_ports.Chatting.connect`."""
        if self._connecting is None:
            return not_set_up()
        return await asyncio.to_thread(self._connecting.connect, asked)

    async def overview(self, asked: Asked) -> Reply:
        """See `command_ports.Chatting.overview`."""
        return await asyncio.to_thread(self._overview)

    def _overview(self) -> Reply:
        switches = tuple(
            Standing(Switch(str(row.name), True, row.reason, row.until_s), row.target, row.actor)
            for row in self._memory.all_switches(self._now())
        )
        return say.overview(self._memory.incidents(SHOWN_INCIDENTS, open_only=True), switches)

    async def of_button(self, asked: Asked) -> About | None:
        """What the button is about, without GitHub: the very deploy of its incident."""
        incident = await asyncio.to_thread(self._memory.incident, say.incident_of_button(asked.button))
        if incident is None:
            return None
        deploy = incident.deploy
        nobody = PullRequestFacts(0, "", "", "", base_ref=deploy.branch or "")
        return About(
            pull_request=say.pull_request_shown(incident) or nobody,
            is_open=False,
            merge_sha=deploy.sha,
            deploys=(deploy,),
            environments=(deploy.environment,),
            head_sha=incident.change.head if incident.change else deploy.sha,
            read_at_s=self._now(),
        )


__all__ = ["CannotReachChat", "Chat", "SlackPlace", "Whispering"]
