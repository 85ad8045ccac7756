"""Was a rollback right? Acquits a deploy that was rolled back in vain, and counts how often the bot was wrong."""

from __future__ import annotations

from dataclasses import dataclass

from policies.facts import CommitFacts, Health, Incident, IncidentState, Verdict, Watched

BY_ITSELF = "the failure budget"


class Acquitted:
    """Why a deploy is thought not to have been the cause; stored in `Incident.acquitted`."""

    NO_RECOVERY = "health did not come back after the revert was deployed"
    RELANDED_WELL = "it was relanded unmodified and stayed healthy"


def judge_recovery(incident: Incident, recovery: Watched, *, revert_was_deployed: bool) -> Verdict:
    """Whether a rollback helped. Without its deploy nothing was tried, so nobody is acquitted."""
    if recovery.health is Health.HEALTHY:
        return Verdict("helped", recovery.verdict.reason, "acquittal")
    if not revert_was_deployed:
        return Verdict("not_tried", recovery.verdict.reason, "acquittal")
    reason = f"{recovery.verdict.reason} The deploy of {incident.deploy.sha[:8]} was probably not the cause."
    return Verdict("acquitted", reason, "acquittal")


def acquits(reland: CommitFacts, original: CommitFacts, watched: Watched | None) -> bool:
    """Whether a healthy watch of `reland` proves the rollback of `original` false.

    `original.already_reverted_by` is None again only when the whole change stands on the branch as it was:
    the reverter compares content, so a reland that was mended on the way proves nothing."""
    return (
        reland.relands is not None
        and watched is not None
        and watched.health is Health.HEALTHY
        and original.already_reverted_by is None
    )


@dataclass(frozen=True, slots=True)
class Ledger:
    """The bot's own record: counts, and shares from 0 to 1 (None where nothing can be said yet)."""

    rollbacks: int
    false_rollbacks: int
    missed: int
    held: int
    asked_by_people: int

    @property
    def precision(self) -> float | None:
        """The share of the bot's own rollbacks that were right."""
        return 1 - self.false_rollbacks / self.rollbacks if self.rollbacks else None

    @property
    def recall(self) -> float | None:
        """The share of the bad deploys known to us that the bot rolled back by itself. A bad deploy that
        nobody ordered back is not known to us."""
        right = self.rollbacks - self.false_rollbacks
        return right / (right + self.missed) if right + self.missed else None


def ledger(incidents: tuple[Incident, ...]) -> Ledger:
    """Count incidents. A deploy that a person ordered back although no guard had found it bad was missed; an
    approval of the bot's own question was not."""
    pushed = [i for i in incidents if i.reverted is not None and i.pushed_at_s is not None]
    own = [i for i in pushed if i.decision and i.decision.order and i.decision.order.ordered_by == BY_ITSELF]
    people = [i for i in pushed if i not in own]
    return Ledger(
        rollbacks=len(own),
        false_rollbacks=sum(1 for i in own if i.acquitted),
        missed=sum(1 for i in people if i.watched is None or i.watched.health is not Health.UNHEALTHY),
        held=sum(1 for i in incidents if i.state is IncidentState.HELD),
        asked_by_people=len(people),
    )
