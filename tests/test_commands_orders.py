"""Orders of people, told over a fake world: roll back, the dry run, approve and cancel, with their exact answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.chatops import answer
from bot.command_ports import Followed
from policies.asked import Mood
from policies.facts import IncidentState, PersonOrder, Reverted, RevertOutcome
from tests import incidents
from tests.command_worlds import MERGED, OPEN, FakeDesk, acted, asked, mood, no, told
from tests.fakes import DEPLOY, PLAN

LEE = PersonOrder("approve", "lee", DEPLOY.completed_at_s + 50, id="comment-6")
BY_LEE = replace(incidents.REVERTING, person=LEE)


# --- rollback ---------------------------------------------------------------------------------------


async def test_an_order_goes_to_the_guard_with_who_and_why() -> None:
    world = FakeDesk()
    assert await told('/rollback --reason "wrong prices"', world) == (
        "Rolling back. @dana ordered it: I revert aaaaaaaa on `develop`, and tell how it goes in the incident's "
        "comment. `/rollback cancel` stops it until the push."
    )
    ((given, start),) = world.given
    assert start
    assert given == PersonOrder(
        "rollback",
        "dana",
        DEPLOY.completed_at_s + 60,
        "wrong prices",
        "acme/stagelog#42 (github)",
        id="comment-7",
        pull_request=42,
    )


async def test_an_order_that_would_be_refused_disturbs_no_guard() -> None:
    world = FakeDesk(decision=no("dana asked for rollback, but this service is on hold: nothing was done."))
    assert await told("/rollback", world) == (
        "Not rolled back. dana asked for rollback, but this service is on hold: nothing was done. "
        "`/rollback resume` lifts the hold; then say this again."
    )
    assert world.given == [] and mood(world) is Mood.REFUSED
    assert world.replies[0].parts[0].title == "Every gate"


async def test_an_order_that_the_guard_no_longer_heard_starts_a_rollback() -> None:
    world = FakeDesk(follows=[Followed(False, None)])
    assert (await told("/rollback --reason x", world)).startswith("Rolling back.")
    assert len(world.given) == 2


async def test_whoever_orders_second_is_told_who_was_first() -> None:
    world = FakeDesk(follows=[Followed(False, BY_LEE)])
    assert await told("/rollback --reason x", world) == (
        "Not rolled back again. @lee was first (`approve`). I am rolling back the deploy of b7c1f0e0 to develop. "
        "The incident's comment tells how it goes; `/rollback cancel` stops it until the push."
    )


async def test_what_is_rolled_back_already_is_not_rolled_back_again() -> None:
    world = FakeDesk(decision=no("develop has moved on."), incident=incidents.RECOVERED)
    assert await told("/rollback --reason x", world) == (
        "Already rolled back. Healthy again after 2 min 27 s: the deploy of b7c1f0e0 to develop was rolled back. "
        "`/rollback reland` brings the change back."
    )


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (
            OPEN,
            "Not rolled back. #42 is not merged, so there is nothing of it to revert. To keep it out, close it. If "
            "another pull request broke the service, say `/rollback` on that one.",
        ),
        (
            replace(OPEN, is_open=False),
            "Not rolled back. #42 was closed without being merged, so there is nothing of it to revert. If another "
            "pull request broke the service, say `/rollback` on that one.",
        ),
        (
            replace(MERGED, deploys=()),
            "Not rolled back. I have heard of no deploy of #42 (aaaaaaaa, merged into `develop`) to `develop`. If "
            "it is deployed by other means, revert it by hand on `develop`: `git revert aaaaaaaa`, with `-m 1` if "
            "that is a merge commit.",
        ),
    ],
)
async def test_an_unmerged_or_undeployed_pull_request_gets_reason_and_next_step(about, said) -> None:  # type: ignore[no-untyped-def]
    world = FakeDesk(about_=about)
    assert await told("/rollback --reason x", world) == said
    assert acted(world) == set()


async def test_a_pull_request_whose_deploy_is_not_guarded_says_why() -> None:
    world = FakeDesk(plan_=replace(PLAN, ignored="aaaaaaaaaaaa is not on develop: a preview."))
    assert await told("/rollback --reason x", world) == (
        "Not rolled back. Its deploy is not guarded. aaaaaaaaaaaa is not on develop: a preview. "
        "Correct `.github/rollback.yml` for the next deploy; revert this one by hand."
    )


async def test_a_dry_run_prints_the_plan_and_changes_nothing() -> None:
    world = FakeDesk()
    assert await told("/rollback --dry-run", world) == (
        "Nothing was changed. I would revert aaaaaaaa on `develop`; it applies cleanly."
    )
    assert acted(world) == {"rehearse"}
    plan, gates = world.replies[0].parts
    assert plan.text == (
        "- **Deploy** aaaaaaaa in `develop`, decided on aaaaaaaa as the head of `develop`\n"
        "- **Commits** aaaaaaaa, newest first, by `git revert` (`-m 1` for a merge)\n"
        "- **Files** `app/settings.py`\n"
        "- **Rehearsal** Reverted.\n"
        "- **Then** a push to `develop`, never forced, or a pull request if the branch takes no push\n"
        "- **Health now** 🟩"
    )
    assert gates.text == "- ✅ **culprits** it reverts `#42`"


async def test_a_dry_run_names_conflicts() -> None:
    conflict = Reverted(
        RevertOutcome.CONFLICT, "It conflicts in app.py. Nothing was pushed.", conflicts=("app.py", "a`b.py")
    )
    world = FakeDesk(rehearsed=conflict)
    assert await told("/rollback --dry-run", world) == (
        "Nothing was changed. The revert would fail. It conflicts in app.py. Nothing was pushed."
    )
    assert "- **Conflicts** in `app.py`, ``a`b.py``" in world.replies[0].parts[0].text


# --- approve and cancel -----------------------------------------------------------------------------


async def test_an_approval_goes_to_the_guard_that_asked() -> None:
    world = FakeDesk(incident=incidents.ASKED)
    assert await told("/rollback approve", world) == (
        "Approved. @dana said yes to my question of 14:01:13 UTC: I revert aaaaaaaa on `develop`. "
        "`/rollback cancel` stops it until the push."
    )
    ((given, start),) = world.given
    assert (given.verb, given.actor, start, given.pull_request) == ("approve", "dana", False, None)


async def test_a_later_approval_is_told_who_was_first() -> None:
    world = FakeDesk(incident=incidents.ASKED, follows=[Followed(False, BY_LEE)])
    assert await told("/rollback approve", world) == (
        "Already answered. @lee was first (`approve`). I am rolling back the deploy of b7c1f0e0 to develop. "
        "The incident's comment tells how it goes; `/rollback cancel` stops it until the push."
    )
    assert mood(world) is Mood.REFUSED


async def test_an_approval_after_the_time_is_told_when_it_ended() -> None:
    ended = replace(incidents.ASKED, state=IncidentState.HELD, closed_at_s=incidents.DEPLOYED_AT_S + 1_280)
    world = FakeDesk(incident=ended, live=False)
    assert await told("/rollback approve", world) == (
        "Not approved. The question was open until 2026-05-04 14:21:13 UTC and nobody answered, so nothing was "
        'done. To revert it all the same: `/rollback --reason "…"`.'
    )
    assert world.given == []


async def test_an_approval_that_was_written_before_the_question_meant_another_one() -> None:
    world = FakeDesk(incident=incidents.ASKED)
    early = asked("/rollback approve", at_s=incidents.DEPLOYED_AT_S)
    await answer(early, world)
    reply = world.replies[0]
    assert (reply.result, reply.mood, world.given) == ("Not approved.", Mood.REFUSED, [])
    assert reply.why.startswith("You wrote this before I asked the question that is open now (14:01:13 UTC)")


@pytest.mark.parametrize("verb", ["approve", "cancel"])
async def test_what_was_cancelled_meanwhile_is_said_to_be_cancelled_and_by_whom(verb: str) -> None:
    stopped = replace(
        incidents.CANCELLED, person=replace(LEE, verb="cancel"), closed_at_s=incidents.DEPLOYED_AT_S + 90
    )
    world = FakeDesk(incident=incidents.ASKED, follows=[Followed(False, stopped)])
    said = await told(f"/rollback {verb}", world)
    result = "Already answered." if verb == "approve" else "Already cancelled."
    assert said.startswith(f"{result} @lee cancelled it before anything was pushed. ")
    assert said.endswith('To revert it all the same: `/rollback --reason "…"`.')


async def test_an_order_that_is_still_on_its_way_after_a_minute_is_not_called_refused() -> None:
    world = FakeDesk(follows=[Followed(False, None, waiting=True)])
    said = await told("/rollback --reason x", world)
    assert said.startswith("Passed on. ") and "it still counts" in said
    assert mood(world) is Mood.ACCEPTED and len(world.given) == 1


async def test_an_approval_without_a_question_says_so() -> None:
    world = FakeDesk()
    assert await told("/rollback approve", world) == (
        'Not approved. No question about #42 is open in `develop`. To revert it: `/rollback --reason "…"`.'
    )


async def test_an_approval_that_a_switch_forbids_is_not_given() -> None:
    world = FakeDesk(
        incident=incidents.ASKED, decision=no("dana asked for approve, but the kill switch is on.")
    )
    assert await told("/rollback approve", world) == (
        "Not approved. dana asked for approve, but the kill switch is on. `/rollback resume` lifts the hold; then "
        "say this again."
    )
    assert world.given == []


async def test_cancel_stops_what_is_under_way() -> None:
    stopped = replace(incidents.CANCELLED, person=PersonOrder("cancel", "dana", 1.0, id="comment-7"))
    world = FakeDesk(incident=incidents.DETECTED, follows=[Followed(True, stopped)])
    assert await told("/rollback cancel", world) == (
        "Cancelled. @dana stopped it before anything was pushed; the branch is as it was. "
        'To revert it later: `/rollback --reason "…"`.'
    )
    assert [order.verb for order, _ in world.given] == ["cancel"]


async def test_cancel_after_the_push_is_too_late_and_says_what_undoes_it() -> None:
    world = FakeDesk(incident=incidents.REVERTED)
    assert await told("/rollback cancel", world) == (
        "Too late to cancel. The revert 9a8b7c60 was pushed at 14:01:15 UTC. "
        "`/rollback reland` brings the change back."
    )
    assert world.given == []


async def test_cancel_that_lost_the_race_with_the_push_is_honest() -> None:
    world = FakeDesk(incident=incidents.REVERTING, follows=[Followed(False, incidents.REVERTED)])
    assert (await told("/rollback cancel", world)).startswith(
        "Too late to cancel. The revert 9a8b7c60 was pushed"
    )
    proposed = FakeDesk(incident=incidents.REVERTING, follows=[Followed(False, incidents.PROPOSED)])
    assert await told("/rollback cancel", proposed) == (
        "Too late to cancel. The revert is proposed in #43 already. Close that pull request to keep the change."
    )


async def test_cancel_while_nothing_is_under_way() -> None:
    assert await told("/rollback cancel", FakeDesk(live=True)) == (
        "Not cancelled. Nothing is under way: I only watch the deploy of #42 in `develop`. "
        "`/rollback hold` keeps me from acting on it."
    )
    assert await told("/rollback cancel", FakeDesk(live=False)) == (
        "Not cancelled. No rollback of #42 is under way in `develop`. `/rollback status` tells how it stands."
    )
