"""People of the embedded world in Slack: they type, click, link themselves, and read what the bot says."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from bot.comments_slack import NOT_TAKEN
from rehearsal.slack import Message, Said
from rehearsal.world import World
from tests.patience import until

TRIES = 8
"""Where the disk stalls for longer than Slack may be kept waiting, the answer is "not taken"."""
CODE = re.compile(r"/rollback connect ([A-Z2-7]{5}-[A-Z2-7]{5})")


class SlackPeople:
    """Everybody of the world's workspace."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.slack = world.slack

    def types(self, who: str, text: str) -> Said:
        """Type a command, and again when told that it was not taken."""
        return _taken(lambda: self.slack.person(who).types(text))

    def asks(self, who: str, text: str) -> str:
        """Type a command and wait for the one answer; its first section."""
        return self.answer(self.types(who, text))

    def answer(self, said: Said) -> str:
        told = f"{said.status} {said.acknowledged!r} after {said.seconds:.2f} s"
        until(lambda: said.answers, f"an answer to {said.form[:200]!r}: {told}", self.world)
        return lead(said.answers[0])

    def presses(self, who: str, message: Message, label: str) -> Said:
        """Press a button, and again when Slack shows that it failed."""
        return self.presses_what_it_saw(who, message, message.buttons[label])

    def presses_what_it_saw(self, who: str, message: Message, button: dict[str, Any]) -> Said:
        """Press a button that may no longer stand there."""
        return _taken(lambda: self.slack.send_click(self.slack.person(who), message, button))

    def clicks(self, who: str, message: Message, label: str) -> str:
        """Press a button and wait for the answer."""
        return self.answer(self.presses(who, message, label))

    def links(self, who: str, login: str, comment: Callable[[str, str], object]) -> str:
        """Link a Slack user to a GitHub login, step by step; what the bot says in the end."""
        said = self.types(who, "/rollback connect")
        self.answer(said)
        found = CODE.search(said.answers[0].words)
        assert found is not None, said.answers[0].words
        comment(login, f"/rollback connect {found[1]}")
        until(lambda: len(said.answers) > 1, "the bot asks whether that is them", self.world)
        return self.clicks(who, said.answers[1], "Yes, that is me")

    def incident_messages(self) -> list[Message]:
        """What stands in #deploys for everybody."""
        return self.slack.messages("deploys")

    def question(self) -> Message:
        """The newest message with the buttons of a question."""
        return until(
            lambda: next((m for m in reversed(self.incident_messages()) if "Approve" in m.buttons), None),
            "a question in the channel",
            self.world,
        )


def _taken(send: Callable[[], Said]) -> Said:
    """What was sent, once it was taken: "not taken" promises that nothing was done and asks to try again."""
    said = send()
    for _ in range(TRIES):
        if said.acknowledged != NOT_TAKEN:
            break
        assert not said.answers, "what was not taken is not answered"
        time.sleep(1)
        said = send()
    return said


def lead(message: Message) -> str:
    """The first section of a message."""
    return str(message.blocks[0]["text"]["text"]) if message.blocks else message.text
