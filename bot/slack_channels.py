"""Tells incidents in Slack's channels: one message each, kept up to date; a new one when a person must act."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import structlog

from bot.comments_headline import needs_a_person
from bot.comments_slack import continued_text, incident_text
from bot.failures import BotFailure
from bot.slack_api import Posted, SlackApi, Text
from bot.store_slack import SlackMessage
from policies.facts import Incident
from policies.limits import Plan

log = structlog.get_logger(__name__)

SCHEME: Final = "slack://"
_CHANNEL: Final = re.compile(r"#[\w][\w.-]{0,79}|[CG][A-Z0-9]{6,20}")
_CHANNEL_ID: Final = re.compile(r"[CDG][A-Z0-9]{6,20}")


class MessageMemory(Protocol):
    """What is remembered of messages; `bot.store.Store` in production."""

    def slack_message(self, incident_id: str, channel: str) -> SlackMessage | None: ...

    def save_slack_message(self, message: SlackMessage, at_s: float) -> None: ...


def channels_of(notify: tuple[str, ...], names: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The Slack channels that a plan's `notify` means, and what in it cannot be used. `names` are the server's."""
    channels: list[str] = []
    unusable: list[str] = []
    for entry in notify:
        target = names.get(entry, entry)
        channel = target.removeprefix(SCHEME)
        if target.startswith(SCHEME) and "#" not in channel and not _CHANNEL_ID.fullmatch(channel):
            channel = f"#{channel}"
        usable = target.startswith(SCHEME) and _CHANNEL.fullmatch(channel) is not None
        (channels if usable else unusable).append(channel if usable else entry)
    return tuple(dict.fromkeys(channels)), tuple(unusable)


class SlackChannels:
    """Fills `telling.Channels`."""

    def __init__(
        self,
        api: SlackApi,
        memory: MessageMemory,
        *,
        names: Mapping[str, str],
        base_url: str | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._memory = memory
        self._names = names
        self._base_url = base_url
        self._now = now

    def tell(self, incident: Incident, plan: Plan) -> bool:
        """Make every channel say how the incident stands; whether all do. Blocks; may be repeated: the same
        again writes nothing. Failures are logged, not raised."""
        channels, unusable = channels_of(plan.notify, self._names)
        for entry in unusable:
            log.warning(
                "notify.unusable", entry=entry, hint="write slack://#channel, or a name of the server's"
            )
        everywhere = True
        for channel in channels:
            try:
                self._tell(channel, incident, incident_text(incident, plan, self._base_url))
            except BotFailure as failure:
                log.warning("notify.failed", incident=incident.id, channel=channel, reason=failure.reason)
                everywhere = False
            except Exception:  # whatever Slack answers, the pull request is told, and tried again, by itself
                log.exception("notify.broke", incident=incident.id, channel=channel)
                everywhere = False
        return everywhere

    def _tell(self, channel: str, incident: Incident, text: Text) -> None:
        said = _fingerprint(text)
        there = self._memory.slack_message(incident.id, channel)
        posted = Posted(there.channel_id, there.ts) if there and there.channel_id and there.ts else None
        if there is not None and posted is not None and there.said == said and there.pending is None:
            return
        if posted is not None and not needs_a_person(incident):
            self._api.update(posted, text)
            self._remember(channel, incident, posted, said)
            return
        new = self._posted_before(there, channel, incident, said) or self._post(
            there, channel, incident, text, said
        )
        self._remember(channel, incident, new, said)
        if posted is not None and posted.ts != new.ts:
            self._send_readers_on(posted, incident)

    def _send_readers_on(self, old: Posted, incident: Incident) -> None:
        """What must be seen stands in the new message; that the old one says so is good to have."""
        try:
            self._api.update(old, continued_text(incident))
        except BotFailure as failure:
            log.info("notify.old_message", incident=incident.id, reason=failure.reason)

    def _post(
        self, there: SlackMessage | None, channel: str, incident: Incident, text: Text, said: str
    ) -> Posted:
        """Noted before it is done: whoever repeats it after a crash looks for it first."""
        begun = there or SlackMessage(incident.id, channel, None, None, None, None)
        self._memory.save_slack_message(begun._replace(pending=said), self._now())
        return self._api.post(channel, text, _marker(incident, said))

    def _posted_before(
        self, there: SlackMessage | None, channel: str, incident: Incident, said: str
    ) -> Posted | None:
        """The message of a run that died right after posting it. Without the right to read the channel it is
        said once more: too often is better than not at all."""
        if there is None or there.pending != said:
            return None
        channel_id = there.channel_id or (channel if _CHANNEL_ID.fullmatch(channel) else None)
        if channel_id is None:
            return None
        try:
            return self._api.find(channel_id, _marker(incident, said))
        except BotFailure as failure:
            log.info("notify.cannot_look", channel=channel, reason=failure.reason)
            return None

    def _remember(self, channel: str, incident: Incident, posted: Posted, said: str) -> None:
        stands = SlackMessage(incident.id, channel, posted.channel_id, posted.ts, said, None)
        self._memory.save_slack_message(stands, self._now())


def _marker(incident: Incident, said: str) -> dict[str, str]:
    return {"incident": incident.id, "said": said}


def _fingerprint(text: Text) -> str:
    return hashlib.sha256(json.dumps([text.plain, text.blocks], sort_keys=True).encode()).hexdigest()[:24]
