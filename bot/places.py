"""Answers where a command was given; on GitHub by reactions and one comment."""

from __future__ import annotations

import asyncio

import structlog

from bot.comments_commands import command_comment, command_marker
from bot.conversation import GitHubConversation
from bot.failures import BotFailure
from policies.asked import Asked, Mood, Reply

log = structlog.get_logger(__name__)

SEEN = "eyes"
REACTION = {Mood.ACCEPTED: "rocket", Mood.REFUSED: "-1", Mood.CONFUSED: "confused"}


class GitHubPlace:
    """Fills `command_ports.Answering` for comments on pull requests."""

    def __init__(self, conversation: GitHubConversation) -> None:
        self._conversation = conversation

    async def seen(self, asked: Asked) -> None:
        """👀 on the comment; GitHub keeps one of a kind, so it may be repeated."""
        await self._react(asked, SEEN)

    async def answer(self, asked: Asked, reply: Reply) -> None:
        """The one comment that answers this one (a second run edits it), and the final reaction."""
        await asyncio.to_thread(
            self._conversation.say,
            asked.repository,
            asked.number,
            command_marker(asked),
            command_comment(asked, reply),
        )
        await self._react(asked, REACTION[reply.mood])

    async def _react(self, asked: Asked, reaction: str) -> None:
        """A comment that was deleted meanwhile takes no reaction; that stops nothing."""
        try:
            await asyncio.to_thread(
                self._conversation.react, asked.repository, int(asked.answer_to), reaction
            )
        except BotFailure as failure:
            log.warning("command.no_reaction", command=asked.id, reason=failure.reason)
