"""Builds what a worker needs for Slack from its settings; connected to nothing, and empty where Slack is off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.command_ports import Answering
from bot.settings import Settings
from bot.slack_api import SlackApi
from bot.slack_channels import SlackChannels
from bot.slack_connect import Connecting, ConnectLinks
from bot.slack_place import Chat, SlackPlace, Whispering
from bot.store import Store
from policies.asked import SLACK


@dataclass(frozen=True)
class Slack:
    """The parts; `channels` is None and `places` empty where Slack is not set up."""

    chat: Chat
    channels: SlackChannels | None = None
    places: Mapping[str, Answering] = field(default_factory=dict)


def slack_parts(settings: Settings, store: Store, names: Mapping[str, str]) -> Slack:
    """`names`: the notification targets that the server defines."""
    secret, token = settings.slack_signing_secret, settings.slack_bot_token
    if secret is None or token is None:
        return Slack(Chat(store, None))
    api = SlackApi(token.get_secret_value(), settings.slack_api_url)
    whispering = Whispering(api)
    links = ConnectLinks(secret.get_secret_value())
    connecting = Connecting(store, links, whispering.whisper, settings.base_url)
    return Slack(
        Chat(store, connecting),
        SlackChannels(api, store, names=names, base_url=settings.base_url),
        {SLACK: SlackPlace(whispering, store)},
    )
