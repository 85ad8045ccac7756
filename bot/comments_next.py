"""Tells people what happens next and what they can do, with commands that can be pasted."""

from __future__ import annotations

import json
import re
import shlex

from bot.comments_headline import (
    bad_commits,
    is_observed,
    is_revert_deployed,
    is_reverted,
    pull_request_of,
    recovery_health,
)
from bot.comments_text import duration, instant, prose, short
from policies.attribution import Gate
from policies.cleaning import cap, fenced, inline, plain
from policies.facts import (
    CommitFacts,
    CommitShape,
    Health,
    Incident,
    IncidentState,
    PullRequestFacts,
    RevertOutcome,
    Verdict,
)
from policies.limits import Plan

MOST_PATHS = 20
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MERGED = (CommitShape.MERGE, CommitShape.OCTOPUS, CommitShape.FOXTROT)


def next_step(incident: Incident, plan: Plan, pull_request: PullRequestFacts | None) -> str:
    """One or a few Markdown paragraphs; ends without a line end."""
    match incident.state:
        case IncidentState.DETECTED:
            return (
                "**Next.** I am saving logs and target health before anything replaces them, then I decide "
                "whether I may roll this back. Nothing is needed from you yet."
            )
        case IncidentState.HELD:
            return _after_holding(incident, plan)
        case IncidentState.ASKED:
            return _question(incident, plan)
        case IncidentState.REVERTING:
            return "**Next.** I push the revert and edit this comment when the branch has it."
        case IncidentState.REVERTED:
            within = duration(plan.rollback.verify_within_s)
            wait = f"**Next.** I wait for the deploy of the revert and report within {within}."
            return f"{wait}\n\n{reland(incident, plan, pull_request)}"
        case IncidentState.PROPOSED:
            return _please_merge(incident, plan)
        case IncidentState.RECOVERED:
            return reland(incident, plan, pull_request)
        case IncidentState.FAILED:
            return _after_failing(incident, plan, pull_request)
        case IncidentState.CLOSED:
            return (
                how_to_switch_on(incident, plan) if is_observed(incident) else _after_closing(incident, plan)
            )


def reland(incident: Incident, plan: Plan, pull_request: PullRequestFacts | None) -> str:
    """How the author brings the change back, and why merging the old branch again does not."""
    reverts = _reverts_of(incident, pull_request)
    merged = incident.reverted.pull_request if incident.reverted and is_reverted(incident) else None
    if not reverts and not merged:
        return "**Next step for the author.** Fix the cause on a new branch, and open a new pull request."
    author = f" for {inline(pull_request.author, 60)}" if pull_request else ""
    branch = f"reland-{pull_request.number:d}" if pull_request else f"reland-{short(incident.deploy.sha)}"
    base = plan.branch
    how = "`/rollback reland` opens a draft pull request that brings it back; put your fix on top."
    if merged is not None:
        how += f" (**Revert** on #{merged.number:d} does so too.)"
    else:
        how += " By hand it is a revert of the revert on a new branch:\n\n" + _shell(
            ["git", "fetch", "origin"],
            ["git", "switch", "--create", branch, f"origin/{base}"],
            ["git", "revert", *reverts],
        )
    return (
        f"**Next step{author}.** Your change is no longer on {inline(base, 120)}. {how}\n\n"
        f"{_warning(incident, plan, pull_request)}"
    )


def _reverts_of(incident: Incident, pull_request: PullRequestFacts | None) -> list[str]:
    """The commits that took this pull request's change off the branch, newest first; else all that did."""
    reverted = incident.reverted
    if reverted is None or not is_reverted(incident) or reverted.pull_request is not None:
        return []  # a merge may have given the proposed commits other names
    made = reverted.commits
    made = tuple(sha for sha in made if _SHA.fullmatch(sha))
    bad = bad_commits(incident)
    if pull_request is not None and len(made) == len(bad):
        # The reverter undoes the newest first and lists its commits oldest first: one for one.
        brought = ((by, pull_request_of(incident, sha)) for by, sha in zip(made, bad, strict=True))
        own = [by for by, known in brought if known is not None and known.number == pull_request.number]
        if own:
            return own[::-1]
    return list(made[::-1])


def _warning(incident: Incident, plan: Plan, pull_request: PullRequestFacts | None) -> str:
    old = inline(pull_request.head_ref, 120) if pull_request and pull_request.head_ref else "the old branch"
    base = inline(plan.branch, 120)
    culprit = _culprit(incident, pull_request)
    if culprit is not None and culprit.shape not in _MERGED:
        return (
            f"⚠️ **Do not simply merge {old} again.** Once {base} has been merged into it, git takes the "
            "reverted commits for done and silently leaves them out."
        )
    return (
        f"⚠️ **Do not merge {old} again.** Its commits are already in the history of {base}, so git would "
        "silently leave them out and bring only what is new."
    )


def _after_holding(incident: Incident, plan: Plan) -> str:
    if incident.closed_at_s is not None:
        watch = (
            "**Next.** I have stopped watching this deploy, and **it needs a person**. `/rollback` on this pull "
            'request rolls it back now; where the service looks healthy, with `--reason "…"`.'
        )
    elif any(gate.rule in ("hold", "kill") and gate.status == Gate.HOLD for gate in _gates(incident)):
        again = duration(plan.rollback.decide_within_s)
        watch = (
            f"**Next.** I keep watching, and decide once more after {again}. For me to act then, lift what stops me: "
            "`/rollback resume`, or `/rollback resume --repo` for the kill switch."
        )
    else:
        ask = duration(plan.rollback.decide_within_s)
        watch = f"**Next.** I keep watching. If it is still failing after {ask}, I ask here for a decision."
    return f"{watch}\n\n{_by_hand(incident, plan)}"


def _gates(incident: Incident) -> tuple[Verdict, ...]:
    return incident.decision.gates if incident.decision is not None else ()


def _question(incident: Incident, plan: Plan) -> str:
    until = (
        f" until {instant(incident.asked_until_s, dated=True)} UTC"
        if incident.asked_until_s is not None
        else ""
    )
    what = _what_would_be_reverted(incident, plan)
    return (
        f"**A person must decide{until}.** `/rollback approve` reverts {what}; `/rollback cancel` leaves it as it "
        f"is. Without an answer nothing is done.\n\n{_by_hand(incident, plan)}"
    )


def _please_merge(incident: Incident, plan: Plan) -> str:
    pull_request = incident.reverted.pull_request if incident.reverted else None
    where = f"#{pull_request.number:d}" if pull_request else "the pull request"
    return (
        f"**Next.** **Please review and merge {where} now**: it takes the change off {inline(plan.branch, 120)}, "
        "and the service stays broken until that is deployed. I watch whether it recovers then."
    )


def _after_failing(incident: Incident, plan: Plan, pull_request: PullRequestFacts | None) -> str:
    reverted = incident.reverted
    if reverted is not None and reverted.pull_request is not None and not is_reverted(incident):
        number = reverted.pull_request.number
        return f"**Next.** Merge #{number:d}, or close it if the service is well without it."
    if is_reverted(incident):
        if incident.acquitted:
            end = (
                "**Next.** The revert is deployed and the service still fails, so **this change was probably "
                "not the cause**. I do nothing more: look at the infrastructure and at what else changed."
            )
        elif is_revert_deployed(incident):
            end = "**Next.** The revert is deployed and did not help in time. Look at the service; I do nothing more."
        else:
            end = (
                "**Next.** The revert is on the branch, but no deploy of it was heard of. **Deploy "
                f"{inline(plan.branch, 120)} now**, and look why it did not deploy by itself."
            )
        return f"{end}\n\n{reland(incident, plan, pull_request)}"
    told = "**Next.** Nothing was pushed: the branch is as it was, and **the service needs a person now**."
    if reverted is not None and reverted.outcome is RevertOutcome.CONFLICT and reverted.conflicts:
        shown = [inline(path, 100) for path in reverted.conflicts[:MOST_PATHS]]
        more = len(reverted.conflicts) - len(shown)
        told += f" The revert conflicts in {', '.join(shown)}{f' and {more} more' if more > 0 else ''}."
    return f"{told}\n\n{_by_hand(incident, plan)}"


def _after_closing(incident: Incident, plan: Plan) -> str:
    if is_reverted(incident) or recovery_health(incident) is Health.HEALTHY:
        return "**Next.** Nothing is needed from you; the cause is worth finding all the same."
    return f"**Next.** I have stopped watching this deploy.\n\n{_by_hand(incident, plan)}"


def how_to_switch_on(incident: Incident, plan: Plan) -> str:
    """What to write where, so that the bot acts next time."""
    lines = (
        "version: 1",
        "environments:",
        f"  {json.dumps(incident.deploy.environment, ensure_ascii=False)}:",
        f"    branch: {json.dumps(plan.branch, ensure_ascii=False)}",
        "    mode: auto      # or approve: I ask first",
    )
    where = f"`.github/rollback.yml` on {inline(plan.branch, 120)}"
    told = f"**Next.** I changed nothing. To let me roll back such a deploy, put this into {where}:"
    return f"{told}\n\n{_block(chr(10).join(lines))}\n\n{_by_hand(incident, plan)}"


def _by_hand(incident: Incident, plan: Plan) -> str:
    """The commands that do what the bot did not do, for whoever decides to."""
    reverted = incident.reverted
    if reverted is not None and reverted.command:
        return f"To finish the revert by hand:\n\n{_block(reverted.command)}"
    commits = [culprit.commit for culprit in incident.change.culprits] if incident.change else []
    usable = [commit for commit in commits if _SHA.fullmatch(commit.sha) and not commit.already_reverted_by]
    if not usable or any(commit.shape in (CommitShape.FOXTROT, CommitShape.ROOT) for commit in usable):
        return "If it must be rolled back, a person has to choose what to revert."
    return "To roll it back by hand:\n\n" + _shell(
        ["git", "fetch", "origin"],
        ["git", "switch", "--detach", f"origin/{plan.branch}"],
        *(_revert_command(commit) for commit in usable[:10]),
        ["git", "push", "origin", f"HEAD:refs/heads/{plan.branch}"],
    )


def _revert_command(commit: CommitFacts) -> list[str]:
    merge = ["-m", "1"] if commit.shape in (CommitShape.MERGE, CommitShape.OCTOPUS) else []
    return ["git", "revert", "--no-edit", *merge, commit.sha]


def _what_would_be_reverted(incident: Incident, plan: Plan) -> str:
    shas = [short(culprit.commit.sha) for culprit in incident.change.culprits] if incident.change else []
    named = ", ".join(inline(sha) for sha in shas[:5]) or "the deployed commit"
    return f"{named} on {inline(plan.branch, 120)}"


def _culprit(incident: Incident, pull_request: PullRequestFacts | None) -> CommitFacts | None:
    """The commit that this pull request brought, if the range names one."""
    for culprit in incident.change.culprits if incident.change else ():
        brought = culprit.pull_request
        if pull_request is None or (brought is not None and brought.number == pull_request.number):
            return culprit.commit
    return None


def _shell(*commands: list[str]) -> str:
    """Commands to paste: a branch may be called `x;rm -rf ~`, so every word is quoted for the shell."""
    return _block("\n".join(shlex.join(command) for command in commands))


def _block(text: str) -> str:
    return fenced(cap(plain(text), max_bytes=4_000)[0])


def notices(plan: Plan) -> str:
    """What the people of the repository should know of its configuration, as list items; may be empty."""
    return "\n".join(f"- {said}" for notice in plan.notices[:10] if (said := prose(notice)))
