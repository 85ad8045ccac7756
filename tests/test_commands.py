"""Every verb: what it does, what it never does, and its exact answer, told over a fake world.

Orders stand in tests/test_commands_orders.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.chatops import answer
from bot.command_ports import Later, Relanded, Standing, Unmarked
from bot.comments_commands import command_comment
from bot.failures import CannotReachForge, CannotReadRepository, CannotStore
from policies.asked import Mood, Reply, spoken
from policies.facts import (
    Deploy,
    Incident,
    Switch,
)
from tests import incidents
from tests.command_worlds import MERGED, OPEN, TWO, FakeDesk, acted, asked, mood, told
from tests.fakes import DEPLOY, PLAN, PULL_REQUEST

# --- who and what -----------------------------------------------------------------------------------


async def test_what_is_not_understood_is_answered_with_the_usage_and_asks_nobody() -> None:
    world = FakeDesk()
    assert await told("/rollback explode", world) == "Not understood. I do not know that command."
    assert mood(world) is Mood.CONFUSED and world.did == ["seen", "note", "answer"]
    assert "/rollback freeze" in world.replies[0].parts[0].text


async def test_help_needs_no_role() -> None:
    world = FakeDesk(role_=None)
    assert (await told("/rollback help", world)).startswith("This is what I understand.")
    assert "role" not in world.did


@pytest.mark.parametrize("verb", ["", " approve", " cancel", " hold 2h", " resume", " reland", " logs"])
async def test_a_triager_does_nothing_at_all(verb: str) -> None:
    world = FakeDesk(role_="triage")
    said = await told(f"/rollback{verb}", world, "sam")
    assert said.endswith(
        "@sam has `triage`; this needs `write`. Ask a maintainer, or read the evidence with `/rollback why`."
    )
    assert mood(world) is Mood.REFUSED and acted(world) == set()


@pytest.mark.parametrize("text", ["/rollback", "/rollback freeze --reason x", "/rollback status"])
async def test_a_role_that_cannot_be_read_is_refused(text: str) -> None:
    world = FakeDesk(role_=None)
    assert "I could not read @dana's role, and without it I refuse." in await told(text, world)
    assert acted(world) == set()


@pytest.mark.parametrize(
    ("text", "role", "allowed"),
    [
        ("/rollback hold --repo", "write", False),
        ("/rollback hold --repo", "maintain", True),
        ("/rollback freeze --reason x", "write", False),
        ("/rollback freeze --reason x", "maintain", True),
        ("/rollback status", "read", True),
        ("/rollback why", "none", False),
    ],
)
async def test_the_roles_of_the_contract(text: str, role: str, allowed: bool) -> None:
    world = FakeDesk(role_=role)
    await told(text, world)
    assert (mood(world) is Mood.ACCEPTED) is allowed


async def test_permissions_are_those_of_the_environment() -> None:
    plan = replace(PLAN, permissions=(("rollback", "admin"),))
    world = FakeDesk(plan_=plan)
    assert "this needs `admin`" in await told("/rollback --reason x", world)
    assert acted(world) == set()


ON_CALL = replace(PLAN, permissions=(("rollback", "admin"), ("rollback", "@acme/oncall")))


async def test_who_is_on_call_may_and_nobody_is_asked_about_teams_for_nothing() -> None:
    by_team = FakeDesk(plan_=ON_CALL, role_="triage", teams={"acme/oncall": True})
    assert (await told("/rollback --reason x", by_team)).startswith("Rolling back.")
    by_role = FakeDesk(plan_=ON_CALL, role_="admin")
    assert (await told("/rollback --reason x", by_role)).startswith("Rolling back.")
    unread = FakeDesk(plan_=ON_CALL, role_=None, teams={"acme/oncall": True})
    assert "I could not read @dana's role" in await told("/rollback --reason x", unread)
    assert "memberships" not in by_role.did + unread.did and acted(unread) == set()


@pytest.mark.parametrize("known", [False, None])
async def test_who_is_not_on_call_or_cannot_be_told_to_be_is_refused(known: bool | None) -> None:
    world = FakeDesk(plan_=ON_CALL, teams={"acme/oncall": known})
    said = await told("/rollback --reason x", world)
    assert "this needs `admin` or the team `acme/oncall`." in said
    assert ("I could not read whether @dana is in" in said) is (known is None)
    assert acted(world) == set()


async def test_a_custom_role_counts_only_where_it_is_named() -> None:
    unnamed = FakeDesk(role_="Release captain")
    assert "`Release captain` is a custom role, which I cannot compare" in await told(
        "/rollback hold", unnamed
    )
    assert acted(unnamed) == set()
    plan = replace(PLAN, permissions=(("hold", "write"), ("hold", "role:Release captain")))
    assert (await told("/rollback hold", FakeDesk(plan_=plan, role_="Release captain"))).startswith("Held.")
    assert (await told("/rollback status", FakeDesk(role_="Release captain"))).startswith("Status of #42.")


async def test_a_failure_of_ours_is_a_sentence_and_no_effect() -> None:
    world = FakeDesk(about_=CannotReachForge("GitHub did not describe it: it answered 502."))
    assert await told("/rollback --reason x", world) == (
        "Not rolled back. GitHub did not describe it: it answered 502. Try again in a minute."
    )
    assert acted(world) == set()
    unread = FakeDesk(plan_=CannotReadRepository("The mirror cannot be fetched."))
    await told("/rollback approve", unread)
    assert acted(unread) == set()


async def test_what_cannot_be_answered_is_still_written_down() -> None:
    world = FakeDesk(unanswered=CannotReachForge("GitHub is away."))
    assert await answer(asked("/rollback hold"), world) == "Held."
    assert [spoken(one.command) for one, _ in world.noted if one.command] == ["/rollback hold"]


async def test_of_two_environments_one_must_be_named() -> None:
    world = FakeDesk(about_=replace(TWO, environments=("develop", "production")))
    assert await told("/rollback --reason x", world) == (
        "Not rolled back. It could be `develop` or `production`. Name one: `/rollback --env develop`."
    )
    assert acted(world) == set()
    named = FakeDesk(about_=TWO)
    await told("/rollback --env PRODUCTION --reason x", named)
    assert named.given and mood(named) is Mood.ACCEPTED


async def test_an_answer_goes_to_the_one_environment_whose_incident_is_open() -> None:
    class Two(FakeDesk):
        async def incident_of(self, deploy: Deploy) -> Incident | None:
            return incidents.ASKED if deploy.environment == "production" else incidents.RECOVERED

    world = Two(about_=TWO)
    assert (await told("/rollback approve", world)).startswith("Approved.")
    relanded = Two(about_=TWO)
    assert (await told("/rollback reland", relanded)).startswith("Ready to reland.")
    assert relanded.noted[0][1].incident_id == incidents.RECOVERED.id
    both = FakeDesk(about_=TWO, incident=incidents.ASKED)
    assert "It could be `develop` or `production`." in await told("/rollback approve", both)
    assert acted(both) == set()


async def test_what_only_reads_is_told_of_every_environment() -> None:
    world = FakeDesk(about_=TWO, incident=incidents.ASKED, role_="read")
    assert await told("/rollback status", world) == "2 environments. In `develop` and `production`:"
    text = command_comment(world.noted[0][0], world.replies[0])
    assert text.count("A question is open until") == 2
    assert "**`develop`** Status of #42." in text and "**`production`** Status of #42." in text
    refused = FakeDesk(about_=TWO, role_="none")
    assert "this needs `read`" in command_comment(
        asked("/rollback why"), await _last(refused, "/rollback why")
    )


async def _last(world: FakeDesk, text: str) -> Reply:
    await told(text, world)
    return world.replies[-1]


async def test_an_environment_that_nobody_knows_is_said_to_be_unknown() -> None:
    world = FakeDesk()
    assert await told("/rollback --env prod --reason x", world) == (
        "Not rolled back. I know no environment `prod` here, but `develop`. Name it as it is written there: "
        "`--env develop`."
    )


# --- switches ---------------------------------------------------------------------------------------


async def test_hold_and_resume() -> None:
    world = FakeDesk()
    assert await told("/rollback hold 2h", world) == (
        "Held. I watch `develop` and report, but do not act until 2027-01-15 10:01:00 UTC. "
        "`/rollback resume` lets me act again."
    )
    assert world.set_ == [
        (Switch("hold", True, "", DEPLOY.completed_at_s + 60 + 7200), "acme/stagelog:develop")
    ]
    again = FakeDesk()
    assert await told("/rollback resume", again) == "Resumed. I act on `develop` again."
    assert again.cleared == [("hold", "acme/stagelog:develop")]
    never = FakeDesk(
        was_on=False, switches=(Standing(Switch("kill", True, "audit"), "acme/stagelog", "lee"),)
    )
    assert await told("/rollback resume", never) == (
        "Not resumed. `develop` was not on hold. Still on: Kill switch of `acme/stagelog` by `lee` (audit). "
        "`/rollback resume --repo` lifts that."
    )


async def test_the_kill_switch_is_of_the_repository() -> None:
    world = FakeDesk(role_="maintain", about_=replace(TWO, environments=("develop", "production")))
    assert await told("/rollback hold --repo", world) == (
        "Held. I watch this repository and report, but do not act. `/rollback resume --repo` lets me act again."
    )
    assert world.set_ == [(Switch("kill", True, "", None), "acme/stagelog")]


@pytest.mark.parametrize(
    ("incident", "said"),
    [
        (
            incidents.DETECTED,
            "do not act. The incident that is open stays open, and I do not roll it back while",
        ),
        (
            incidents.REVERTING,
            "If its push has not begun yet, this stops it; the incident's comment says which.",
        ),
        (
            incidents.REVERTED,
            "What is pushed or proposed already goes on: The deploy of b7c1f0e0 to develop was",
        ),
        (incidents.RECOVERED, "do not act. `/rollback resume` lets me act again."),
    ],
)
async def test_a_hold_says_what_it_means_for_what_is_under_way(incident: Incident, said: str) -> None:
    assert said in await told("/rollback hold", FakeDesk(incident=incident))


@pytest.mark.parametrize("verb", ["hold", "resume", "freeze --reason x", "unfreeze"])
async def test_a_word_that_was_said_earlier_and_arrives_later_changes_nothing(verb: str) -> None:
    world = FakeDesk(role_="maintain", later=Later("lee", DEPLOY.completed_at_s + 70, on=verb[0] in "ru"))
    said = await told(f"/rollback {verb}", world)
    done = "set it" if verb[0] in "ru" else "lifted it"
    assert f"@lee {done} at 08:01:10 UTC, after you wrote this, and the later word stands." in said
    assert said.endswith("If you still mean it, say it again in a new comment.")
    assert mood(world) is Mood.REFUSED and (world.set_, world.cleared) == ([], [])


@pytest.mark.parametrize("verb", ["hold 1h", "freeze 1h --reason x"])
async def test_a_duration_that_was_over_when_it_was_heard_sets_nothing(verb: str) -> None:
    late = replace(MERGED, read_at_s=DEPLOY.completed_at_s + 86_400)
    world = FakeDesk(role_="maintain", about_=late)
    assert (
        "It was to last until 2027-01-15 09:01:00 UTC, and your comment reached me only after"
        in await told(f"/rollback {verb}", world)
    )
    assert acted(world) == set()


async def test_freeze_and_unfreeze_the_branch_of_the_pull_request() -> None:
    world = FakeDesk(role_="maintain", about_=OPEN)
    assert await told('/rollback freeze 30m --reason "an incident"', world) == (
        "Frozen. Open pull requests to `develop` get the failing check `rollback/freeze` until 2027-01-15 08:31:00 "
        "UTC; new ones too. Reason: an incident. `/rollback unfreeze` lifts it."
    )
    assert [target for _, target in world.set_] == ["acme/stagelog@develop"]
    off = FakeDesk(role_="maintain", about_=OPEN, was_on=False)
    assert await told("/rollback unfreeze", off) == (
        "Not unfrozen. `develop` was not frozen; no open pull request to it has a failing `rollback/freeze`. "
        "`/rollback status` lists what is on."
    )


async def test_a_freeze_whose_check_could_not_be_written_is_a_freeze_and_says_so() -> None:
    world = FakeDesk(role_="maintain", unmarked=Unmarked("GitHub did not take the check: it is away."))
    said = await told("/rollback freeze --reason x", world)
    assert said.startswith("Frozen. ") and mood(world) is Mood.ACCEPTED
    assert "The check is not on all of them yet, and I keep trying: GitHub did not take the check" in said


# --- reland and reading -----------------------------------------------------------------------------


async def test_reland_names_the_draft_and_warns_about_the_old_branch() -> None:
    draft = replace(PULL_REQUEST, number=50, head_ref="rollback-bot/reland-42")
    world = FakeDesk(relanded=Relanded(draft))
    assert await told("/rollback reland", world) == (
        "Ready to reland. #50 brings #42 back to `develop` as a draft. Put the fix on its branch "
        "`rollback-bot/reland-42`, then mark it ready. Do not merge `feature/uploads` again: its commits are in "
        "the history already, so git would silently leave them out."
    )


async def test_reland_that_conflicts_says_where_and_how_by_hand() -> None:
    stuck = Relanded(None, "It conflicts with later changes.", ("app.py",), "git switch --create reland-42")
    world = FakeDesk(relanded=stuck)
    assert await told("/rollback reland", world) == (
        "Not relanded. It conflicts with later changes. It conflicts in `app.py`. "
        "By hand: `git switch --create reland-42`, then a pull request from there."
    )
    assert await told("/rollback reland", FakeDesk(about_=OPEN)) == (
        "Not relanded. There is nothing of #42 to bring back: it was never merged. "
        "Say it on the pull request whose merge was rolled back."
    )


async def test_status_lists_the_deploy_the_incident_and_every_switch() -> None:
    switches = (Standing(Switch("freeze", True, "an incident", 1.8e9), "acme/stagelog@develop", "lee"),)
    world = FakeDesk(incident=incidents.ASKED, switches=switches, role_="read")
    assert await told("/rollback status", world) == "Status of #42."
    assert world.replies[0].parts[0].text == (
        "- aaaaaaaa was deployed to `develop` at 2027-01-15 08:00:00 UTC; I am at work on it.\n"
        "- Incident `3f2a9c41d07e`: The deploy of b7c1f0e0 to develop is failing: shall I roll it back?\n"
        "- A question is open until 2026-05-04 14:21:13 UTC: `/rollback approve` or `/rollback cancel`.\n"
        "- Mode is `auto` (`.github/rollback.yml`).\n"
        "- Freeze of `acme/stagelog@develop` by `lee` until 2027-01-15 08:00:00 UTC (an incident)"
    )


async def test_why_gives_every_gate_of_the_last_decision() -> None:
    world = FakeDesk(incident=incidents.HELD, role_="read")
    said = await told("/rollback why", world)
    assert said.startswith("Why, for #42.") and "I did not act" in said
    assert "✋ **baseline** it was 80 % bad before the deploy" in world.replies[0].parts[0].text
    assert (await told("/rollback why", FakeDesk())).startswith("Nothing was decided.")


async def test_logs_stay_out_of_a_public_place() -> None:
    private = FakeDesk(incident=incidents.DECIDED)
    assert await told("/rollback logs", private) == "Captured. At 2026-05-04 14:01:11 UTC, 1 value redacted."
    assert incidents.DJANGO_LINE in private.replies[0].parts[1].text
    public = FakeDesk(incident=incidents.DECIDED, plan_=replace(PLAN, private=False))
    assert (await told("/rollback logs", public)).startswith(
        "Captured. The log is not shown in a public place"
    )
    assert public.replies[0].parts == ()


async def test_a_database_that_is_away_is_no_permission() -> None:
    world = FakeDesk(incident=CannotStore("The database did not answer."))
    assert (await told("/rollback cancel", world)).startswith("Not cancelled. The database did not answer.")
    assert acted(world) == set()
