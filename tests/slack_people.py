"""People of the embedded world in Slack: they type, click, link themselves, and read what the bot says."""

from __future__ import annotations

import re
from collections.abc import Callable

from rehearsal.slack import Message, Said
from rehearsal.world import World
from tests.chatops_people import until

CODE = re.compile(r"/rollback connect ([A-Z2-7]{5}-[A-Z2-7]{5})")


class SlackPeople:
    """Everybody of the world's workspace."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.slack = world.slack

    def asks(self, who: str, text: str, within_s: float = 100.0) -> str:
        """Type a command and wait for the one answer; its first section."""
        return self.answer(self.slack.person(who).types(text), within_s)

    def answer(self, said: Said, within_s: float = 100.0) -> str:
        until(lambda: said.answers, within_s, f"an answer to {said.form[:200]!r}", self.world)
        return lead(said.answers[0])

    def clicks(self, who: str, message: Message, label: str) -> str:
        """Press a button and wait for the answer."""
        return self.answer(self.slack.person(who).clicks(message, label))

    def links(self, who: str, login: str, comment: Callable[[str, str], object]) -> str:
        """Link a Slack user to a GitHub login, step by step; what the bot says in the end."""
        said = self.slack.person(who).types("/rollback connect")
        self.answer(said)
        found = CODE.search(said.answers[0].words)
        assert found is not None, said.answers[0].words
        comment(login, f"/rollback connect {found[1]}")
        until(lambda: len(said.answers) > 1, 60, "the bot asks whether that is them", self.world)
        return self.clicks(who, said.answers[1], "Yes, that is me")

    def incident_messages(self) -> list[Message]:
        """What stands in #deploys for everybody."""
        return self.slack.messages("deploys")

    def question(self, within_s: float = 120.0) -> Message:
        """The newest message with the buttons of a question."""
        return until(
            lambda: next((m for m in reversed(self.incident_messages()) if "Approve" in m.buttons), None),
            within_s,
            "a question in the channel",
            self.world,
        )


def lead(message: Message) -> str:
    """The first section of a message."""
    return str(message.blocks[0]["text"]["text"]) if message.blocks else message.text
