"""Speaks to Slack: messages in channels, messages for one person, and answers to where a command was given."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry import HttpRequest, HttpResponse, RateLimitErrorRetryHandler, RetryState

from bot.failures import CannotReachChat

TIMEOUT_S: Final = 5
"""A guard waits for its message; GitHub is told beside it, and a rollback must not wait long for a chat."""
SLACK_HOSTS: Final = ("slack.com", "slack-gov.com")
EVENT: Final = "rollback_incident"
LOOKED_THROUGH: Final = 100
_HINTS: Final = {
    "not_in_channel": "Invite the bot to the channel: /invite @rollback-bot.",
    "channel_not_found": "Correct the channel in `notify`, or invite the bot to it.",
    "invalid_auth": "Check SLACK_BOT_TOKEN.",
    "not_authed": "Check SLACK_BOT_TOKEN.",
    "missing_scope": "Give the app the scopes of docs/slack-manifest.yaml.",
}


class NotDelivered(CannotReachChat):
    """It was certainly not posted, so it may be said in another way."""


@dataclass(frozen=True, slots=True)
class Text:
    """A message: `plain` for notifications and old clients, `blocks` as Slack draws them."""

    plain: str
    blocks: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Posted:
    """Where Slack put a message."""

    channel_id: str
    ts: str


class SlackApi:
    """Slack's Web API with the bot's token. Every method blocks for some seconds at most and raises
    CannotReachChat. Nothing is asked of Slack before it is needed: no `auth.test` at the start."""

    def __init__(self, token: str, api_url: str, timeout_s: int = TIMEOUT_S) -> None:
        self._api_url = api_url
        self._timeout_s = timeout_s
        # Its default handler repeats a request whose connection broke, and with it a message that was posted.
        self._client = WebClient(
            token=token,
            base_url=api_url,
            timeout=timeout_s,
            retry_handlers=[_SoonAgain(max_retry_count=1)],
        )

    def post(self, channel: str, text: Text, marker: Mapping[str, str] | None = None) -> Posted:
        """A new message in a channel, or (a user's id) for that person. Not to be repeated blindly: `marker`
        is how `find` sees whether it is there."""
        metadata = {"event_type": EVENT, "event_payload": dict(marker)} if marker else None
        answer = self._call(
            f"post to {channel}",
            lambda: self._client.chat_postMessage(
                channel=channel,
                text=text.plain,
                blocks=list(text.blocks) or None,
                metadata=metadata,
                unfurl_links=False,
                unfurl_media=False,
            ),
        )
        return Posted(str(answer.get("channel") or channel), str(answer.get("ts") or ""))

    def update(self, posted: Posted, text: Text) -> None:
        """Make a message say this. May be repeated."""
        self._call(
            f"update a message in {posted.channel_id}",
            lambda: self._client.chat_update(
                channel=posted.channel_id, ts=posted.ts, text=text.plain, blocks=list(text.blocks)
            ),
        )

    def whisper(self, channel: str, user: str, text: Text) -> None:
        """A message that only `user` sees in a channel. Not to be repeated: nobody can look whether it is there."""
        self._call(
            f"answer in {channel}",
            lambda: self._client.chat_postEphemeral(
                channel=channel, user=user, text=text.plain, blocks=list(text.blocks) or None
            ),
        )

    def find(self, channel_id: str, marker: Mapping[str, str]) -> Posted | None:
        """The message that was posted with `marker`, among the newest. May be repeated."""
        answer = self._call(
            f"read {channel_id}",
            lambda: self._client.conversations_history(
                channel=channel_id, limit=LOOKED_THROUGH, include_all_metadata=True
            ),
        )
        for message in answer.get("messages") or ():
            metadata = message.get("metadata") or {}
            if metadata.get("event_type") == EVENT and metadata.get("event_payload") == dict(marker):
                return Posted(channel_id, str(message["ts"]))
        return None

    def respond(self, response_url: str, text: Text) -> None:
        """Answer, for the asker alone, where a command was given; Slack takes five answers in thirty minutes.
        Raises NotDelivered, or CannotReachChat where it may have been posted."""
        if not may_be_posted_to(response_url, self._api_url):
            raise NotDelivered("The address to answer to is none of Slack's, so nothing was sent to it.")
        body: dict[str, Any] = {"response_type": "ephemeral", "replace_original": False, "text": text.plain}
        if text.blocks:
            body["blocks"] = list(text.blocks)
        try:
            answer = httpx.post(response_url, json=body, timeout=self._timeout_s, follow_redirects=False)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL) as error:
            raise NotDelivered(f"Slack could not be reached ({type(error).__name__}).") from None
        except httpx.HTTPError as error:
            raise CannotReachChat(f"Slack did not say whether it took it ({type(error).__name__}).") from None
        if answer.status_code >= 300:
            raise NotDelivered(f"Slack did not take the answer (HTTP {answer.status_code}).")

    def _call(self, what: str, ask: Callable[[], Any]) -> dict[str, Any]:
        try:
            answer = ask()
        except SlackApiError as error:
            said = _said(error)
            hint = _HINTS.get(said, "Look at docs/slack.md.")
            raise NotDelivered(f"Slack did not {what} ({said}). {hint}") from None
        except (SlackClientError, OSError, ValueError) as error:
            raise CannotReachChat(
                f"Slack did not answer when asked to {what} ({type(error).__name__})."
            ) from None
        data = answer.data
        return data if isinstance(data, dict) else {}


class _SoonAgain(RateLimitErrorRetryHandler):
    """Waits where Slack asks for a moment; where it asks for longer, whoever tells decides when to try again."""

    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        if response is None or response.status_code != 429:
            return False
        headers = {name.lower(): values for name, values in response.headers.items()}
        return next(iter(headers.get("retry-after", ())), "") in ("1", "2", "3")


def _said(error: SlackApiError) -> str:
    """Slack's own short word for what is wrong, and never more of what it sent."""
    try:
        word = str(error.response["error"])
    except (KeyError, TypeError, ValueError):
        return "refused"
    return word if word.replace("_", "").isalnum() and len(word) <= 60 else "refused"


def may_be_posted_to(url: str, api_url: str) -> bool:
    """Whether an address to answer to is Slack's own, over TLS; or on the host that SLACK_API_URL names as a
    stand-in. No other host of our network is posted to, whoever signed the request."""
    try:
        parts, stand_in = urlsplit(url), urlsplit(api_url).hostname
        port = parts.port
    except ValueError:
        return False
    if parts.username or parts.password or not parts.hostname or "\\" in url:
        return False
    if not is_slack(stand_in) and parts.hostname == stand_in:
        return parts.scheme in ("http", "https")
    return parts.scheme == "https" and port in (None, 443) and is_slack(parts.hostname)


def is_slack(host: str | None) -> bool:
    """Whether a host is Slack's."""
    return host is not None and any(host == own or host.endswith(f".{own}") for own in SLACK_HOSTS)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to answer a request from Slack: the address it came with, its channel, and the asker's name there."""

    response_url: str = ""
    channel: str = ""
    name: str = ""

    def packed(self) -> str:
        """As `Asked.answer_to`."""
        return json.dumps([self.response_url, self.channel, self.name])

    @classmethod
    def of(cls, packed: str) -> Address:
        """What `packed` was made of; empty for anything else."""
        try:
            url, channel, name = json.loads(packed)
        except (ValueError, TypeError):
            return cls()
        return cls(str(url), str(channel), str(name))
