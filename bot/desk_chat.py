"""The desk with a place for people who are not on GitHub: who they are there, and what their buttons mean."""

from __future__ import annotations

from typing import Any

from bot.command_ports import About
from bot.desk import CommandDesk
from bot.slack_place import Chat
from policies.asked import SLACK, Asked, Reply
from policies.permission import READING

READER = "read"


class ChatDesk(CommandDesk):
    """Fills `command_ports.Chatting` too."""

    def __init__(self, chat: Chat, **parts: Any) -> None:
        super().__init__(**parts)
        self._chat = chat

    async def identified(self, asked: Asked) -> Asked:
        """See `command_ports.Chatting.identified`."""
        return await self._chat.identified(asked)

    async def connect(self, asked: Asked) -> Reply:
        """See `command_ports.Chatting.connect`."""
        return await self._chat.connect(asked)

    async def overview(self, asked: Asked) -> Reply:
        """See `command_ports.Chatting.overview`."""
        return await self._chat.overview(asked)

    async def role(self, asked: Asked) -> str | None:
        """See `command_ports.Permitting.role`. Whoever is in the workspace may read, linked or not."""
        if asked.place == SLACK and asked.command is not None and asked.command.verb in READING:
            return READER
        return await super().role(asked)

    async def about(self, asked: Asked) -> About:
        """See `command_ports.Knowing.about`."""
        if asked.button and (about := await self._chat.of_button(asked)) is not None:
            return about
        return await super().about(asked)
