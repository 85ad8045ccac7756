"""The ways the bot's hands can fail, each with a reason fit for a person; refusals are verdicts."""

from __future__ import annotations


class BotFailure(Exception):
    """Something of ours could not be done. `reason` is a sentence: what happened, why, what to do next."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CannotReadHealth(BotFailure):
    """We could not look (AWS, network, configuration). It says nothing about the deploy."""


class CannotCapture(BotFailure):
    """Evidence could not be captured; it becomes a line of the evidence and never blocks a revert."""


class CannotReadRepository(BotFailure):
    """The mirror could not be fetched or read."""


class CannotRevert(BotFailure):
    """The revert could not be tried at all (git or disk failed); a conflict is a `Reverted` value."""


class CannotReachForge(BotFailure):
    """GitHub did not answer, refused us, or answered what we cannot use."""


class CannotReachChat(BotFailure):
    """Slack did not answer, or refused us. It never stops a guard: GitHub has the same words."""


class CannotStore(BotFailure):
    """The database did not take it; what was heard must not be answered 2xx."""


class BadConfiguration(BotFailure):
    """A configuration that cannot be used; `reason` names file, line and the nearest right key."""


class BadSettings(BotFailure):
    """A process cannot start with these settings."""


FAILURES: dict[str, type[BotFailure]] = {
    cls.__name__: cls
    for cls in (
        BotFailure,
        CannotReadHealth,
        CannotCapture,
        CannotReadRepository,
        CannotRevert,
        CannotReachForge,
        CannotReachChat,
        CannotStore,
        BadConfiguration,
        BadSettings,
    )
}
"""By name, so that a failure recorded by the engine is raised again as the same type on replay."""
