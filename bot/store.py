"""The bot's memory in one object: what was heard, seen, decided and done, on SQLite or PostgreSQL."""

from __future__ import annotations

from bot.failures import BadSettings, CannotStore
from bot.migrations import current, newest
from bot.store_deploys import Delivery, DeployMemory, DeployStatus, HeardDeploy
from bot.store_executors import ExecutorMemory
from bot.store_incidents import Comment, IncidentMemory, PastState
from bot.store_samples import SampleMemory
from bot.store_services import ServiceMemory
from bot.store_slack import SlackMemory
from bot.store_switches import EVERYWHERE, AuditRow, SwitchMemory, SwitchName, SwitchRow, branch_target
from bot.store_words import Said, Word

__all__ = [
    "EVERYWHERE",
    "AuditRow",
    "Comment",
    "Delivery",
    "DeployStatus",
    "HeardDeploy",
    "PastState",
    "Said",
    "Store",
    "SwitchName",
    "SwitchRow",
    "Word",
    "branch_target",
]


class Store(
    DeployMemory, SampleMemory, IncidentMemory, SwitchMemory, ExecutorMemory, ServiceMemory, SlackMemory
):
    """Every method is one transaction, blocks, and raises CannotStore; its docstring says whether it may be
    repeated. Safe to share between threads; after a fork each process opens its own connections."""

    def check_schema(self) -> None:
        """Raises BadSettings unless the tables are those of this release. May be repeated."""
        try:
            found = current(self.url.render_as_string(hide_password=False))
        except CannotStore as failure:
            raise BadSettings(failure.reason) from failure
        if found != newest():
            raise BadSettings(
                f"The database's tables are of revision {found or 'none'}, this release needs {newest()}: "
                "run `rollback-bot migrate` first."
            )
