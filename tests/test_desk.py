"""What a command reaches: what became of an order, freezes by check runs, the place on GitHub, the inbox."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer
from typer.testing import CliRunner

from bot.check_runs import FREEZE_CHECK_NAME, GitHubCheckRuns
from bot.cli_switches import register
from bot.conversation import GitHubConversation
from bot.desk import settled
from bot.failures import CannotReachForge
from bot.freezes import Freezes
from bot.places import GitHubPlace
from bot.store import Store, SwitchName, branch_target
from bot.telling import Voice
from policies.asked import Mood, PullHead, Reply
from policies.culprits import as_ordered
from policies.facts import Change, Culprit, IncidentState, PersonOrder
from policies.limits import RollbackLimits
from tests import incidents
from tests.command_worlds import asked
from tests.deliveries import Web
from tests.fakes import MERGE, PLAN, PULL_REQUEST, FakeWorld
from tests.faulty_http import answered
from tests.github_stand_in import Scene, scene

__all__ = ["scene"]
NAME = "acme/stagelog"
MINE = PersonOrder("rollback", "dana", incidents.DEPLOYED_AT_S, id="comment-7")
LEES = replace(MINE, actor="lee", id="comment-8")
CANCEL = replace(MINE, verb="cancel")
ENDED = replace(incidents.RECOVERED, closed_at_s=incidents.DEPLOYED_AT_S + 100)


@pytest.mark.parametrize(
    ("incident", "order", "heard"),
    [
        (None, MINE, None),
        (incidents.DETECTED, MINE, None),
        (incidents.HELD, MINE, None),
        (replace(incidents.DETECTED, person=MINE), MINE, None),
        (replace(incidents.REVERTING, person=MINE), MINE, True),
        (replace(incidents.HELD, person=MINE), MINE, True),
        (replace(incidents.REVERTING, person=LEES), MINE, False),
        (incidents.REVERTING, MINE, False),
        (incidents.REVERTING, CANCEL, None),
        (incidents.REVERTED, CANCEL, False),
        (incidents.PROPOSED, CANCEL, False),
        (replace(incidents.CANCELLED, person=CANCEL), CANCEL, True),
        (replace(incidents.CANCELLED, person=replace(LEES, verb="cancel")), CANCEL, False),
        (replace(ENDED, person=None), CANCEL, False),
        (replace(ENDED, closed_at_s=incidents.DEPLOYED_AT_S - 5), MINE, None),
    ],
)
def test_what_an_incident_says_of_an_order(incident: Any, order: PersonOrder, heard: bool | None) -> None:
    found = settled(incident, order)
    assert (None if found is None else found.heard) is heard


def test_a_person_who_points_at_one_pull_request_means_that_one() -> None:
    other = Culprit(replace(MERGE, sha="f" * 40), replace(PULL_REQUEST, number=43))
    own = Culprit(MERGE, PULL_REQUEST)
    change = Change("develop", "f" * 40, (other, own), last_good="0" * 40)
    order = replace(MINE, pull_request=42)
    assert as_ordered(change, order) == replace(change, culprits=(own,), last_good=None)
    assert as_ordered(change, replace(order, pull_request=7)) == change
    assert as_ordered(change, MINE) == change and as_ordered(change, None) == change


# --- the story with orders --------------------------------------------------------------------------


async def test_a_failed_rollback_freezes_the_branch_where_that_is_configured() -> None:
    from bot.failures import CannotRevert
    from bot.guard import guard
    from tests.fakes import DEPLOY

    for wanted, expected in (("failed", ["acme/stagelog@develop"]), ("never", [])):
        plan = replace(PLAN, rollback=RollbackLimits(freeze_after=wanted))
        world = FakeWorld(plan_=plan, reverted=CannotRevert("git ran out of disk."))
        await guard(DEPLOY, world)
        assert world.frozen == expected
    healthy = FakeWorld()
    await guard(DEPLOY, healthy)
    assert healthy.frozen == []


async def test_a_cancel_that_arrives_while_it_is_decided_stops_the_push() -> None:
    from bot.guard import guard
    from tests.fakes import DEPLOY

    world = FakeWorld(mail=[replace(LEES, verb="approve"), CANCEL])
    assert await guard(DEPLOY, world) == "Cancelled by dana before anything was pushed."
    assert world.orders == [] and world.told[-1].state is IncidentState.CLOSED


async def test_what_is_rolled_back_is_never_remembered_as_a_good_deploy() -> None:
    from bot.guard import guard
    from tests.fakes import DEPLOY, FAILING

    judged: list[Any] = []

    class Remembering(FakeWorld):
        async def close(self, deploy, plan, watched, note):  # type: ignore[no-untyped-def]
            judged.append(watched)
            return note

    world = Remembering()
    await guard(DEPLOY, world)
    assert judged == [FAILING]


async def test_a_question_and_its_end_stand_in_the_audit(store: Store) -> None:
    voice = Voice(repository=None, pull_requests=None, book=store, base_url=None)  # type: ignore[arg-type]
    asked_ = await voice.record(incidents.ASKED, "Decided: ask.", "decided_at_s")
    await voice.record(incidents.ASKED, "Decided: ask.", "decided_at_s")
    ended = replace(asked_, state=IncidentState.HELD, reason="Nobody answered in time.")
    await voice.record(ended, "Ended: held.", "closed_at_s")
    assert [(row.who, row.what, row.answer) for row in store.audit_rows()] == [
        ("rollback-bot", "the question expires", "Nobody answered in time."),
        ("rollback-bot", "asks whether to roll back", "mode is approve: shall I roll back #42?"),
    ]


# --- on GitHub --------------------------------------------------------------------------------------


def freezes_of(scene: Scene, store: Store) -> Freezes:
    return Freezes(
        store=store, conversation=GitHubConversation(scene.access), checks=GitHubCheckRuns(scene.access)
    )


def opened(scene: Scene, branch: str) -> PullHead:
    sha = scene.commit(branch, f"{branch.replace('/', '-')}.txt", scene.merge)
    pull = scene.github.pulls.open(
        scene.repository, scene.github.user("dana"), head=branch, base="develop", title=branch
    )
    return PullHead(NAME, pull.number, "develop", sha)


def checks(scene: Scene) -> list[tuple[str, str | None]]:
    return [
        (run.head_sha, run.conclusion)
        for run in scene.repository.check_runs.values()
        if run.name == FREEZE_CHECK_NAME
    ]


async def test_a_freeze_is_one_failing_check_a_head_and_ends_in_a_good_one(
    scene: Scene, store: Store
) -> None:
    one, two = opened(scene, "feature/one"), opened(scene, "feature/two")
    freezes, target = freezes_of(scene, store), branch_target(NAME, "develop")
    store.set_switch(SwitchName.FREEZE, target, actor="lee", reason="an incident", now_s=time.time())
    assert await freezes.spread(target) == 2
    assert await freezes.spread(target) == 2
    assert sorted(checks(scene)) == sorted([(one.sha, "failure"), (two.sha, "failure")])
    store.clear_switch(SwitchName.FREEZE, target)
    await freezes.thaw(target)
    assert {conclusion for _, conclusion in checks(scene)} == {"success"}
    other = opened(scene, "feature/three")
    await freezes.mark(other)
    assert other.sha not in dict(checks(scene)), "a branch that is not frozen leaves no check"


async def test_a_switch_whose_time_is_up_ends_once_with_a_note_where_it_was_set(
    scene: Scene, store: Store
) -> None:
    head = opened(scene, "feature/one")
    freezes, target, now_s = freezes_of(scene, store), branch_target(NAME, "develop"), time.time()
    store.set_switch(
        SwitchName.FREEZE, target, actor="lee", reason="x", now_s=now_s - 60, until_s=now_s + 60,
        place=f"{NAME}#42",
    )  # fmt: skip
    store.set_switch(SwitchName.HOLD, f"{NAME}:develop", actor="lee", reason="", now_s=now_s)
    await freezes.spread(target)
    assert await freezes.expire() == 0
    store.end_switch(SwitchName.FREEZE, target, now_s - 1)
    assert (await freezes.expire(), await freezes.expire()) == (1, 0)
    assert dict(checks(scene))[head.sha] == "success"
    (note,) = [c.body for c in scene.comments if "rollback-bot:expired:" in c.body]
    assert "**The freeze has ended.** @lee set it on" in note
    assert [(row.name, row.target) for row in store.all_switches(now_s)] == [("hold", f"{NAME}:develop")]
    (row,) = store.audit_rows()
    assert (row.who, row.what, row.repository) == ("rollback-bot", "freeze expires", NAME)


async def test_a_freeze_set_by_hand_is_spread_by_the_worker(scene: Scene, store: Store) -> None:
    head, freezes = opened(scene, "feature/one"), freezes_of(scene, store)
    store.set_switch(
        SwitchName.FREEZE, branch_target(NAME, "develop"), actor="root", reason="x", now_s=time.time()
    )
    await freezes.catch_up()
    await freezes.catch_up()
    assert checks(scene) == [(head.sha, "failure")]


async def test_a_freeze_that_was_set_while_github_was_away_is_spread_once_it_is_back(
    scene: Scene, store: Store
) -> None:
    head, freezes = opened(scene, "feature/one"), freezes_of(scene, store)
    target = branch_target(NAME, "develop")
    store.set_switch(
        SwitchName.FREEZE, target, actor="lee", reason="x", now_s=time.time(), place=f"{NAME}#42"
    )
    scene.faults.at("GET", r"/pulls$", *[answered(502, {"message": "away"})] * 4)
    with pytest.raises(CannotReachForge):
        await freezes.spread(target)
    assert checks(scene) == []
    await freezes.catch_up()
    assert checks(scene) == [(head.sha, "failure")]


async def test_a_failed_rollback_freezes_once_and_says_so_in_the_audit(scene: Scene, store: Store) -> None:
    head, freezes = opened(scene, "feature/one"), freezes_of(scene, store)
    for _ in range(2):
        await freezes.after_failure(incidents.NOT_RECOVERED, PLAN)
    assert checks(scene) == [(head.sha, "failure")]
    (row,) = store.audit_rows()
    assert row.answer == "The rollback of b7c1f0e0 failed (incident 3f2a9c41d07e)."


async def test_one_reply_a_request_and_a_reaction_for_each_mood(scene: Scene) -> None:
    comment = scene.github.activity.comment(
        scene.repository, scene.pull, scene.github.user("dana"), "/rollback hold"
    )
    place = GitHubPlace(GitHubConversation(scene.access))
    request = asked("/rollback hold", comment=comment.id)
    await place.seen(request)
    await place.seen(request)
    assert [reaction.content for reaction in comment.reactions] == ["eyes"]
    for said in ("Held.", "Held."):
        await place.answer(request, Reply(Mood.ACCEPTED, said))
    await place.answer(request, Reply(Mood.REFUSED, "Not held."))
    assert [reaction.content for reaction in comment.reactions] == ["eyes", "rocket", "-1"]
    replies = [one.body for one in scene.comments if "rollback-bot:command:" in one.body]
    assert len(replies) == 1 and "**Not held.**" in replies[0]


def test_a_pull_request_whose_base_branch_is_gone_is_still_described(scene: Scene) -> None:
    talk, git = GitHubConversation(scene.access), scene.github.git(scene.repository)
    there = talk.pull(NAME, 42)
    assert there.base_head_sha == git.head("develop")
    git.git("branch", "keep", "develop")
    git.git("update-ref", "-d", "refs/heads/develop")
    gone = talk.pull(NAME, 42)
    assert replace(gone, base_head_sha="") == replace(there, base_head_sha="")
    assert gone.base_head_sha == scene.pull.base_sha


async def test_a_request_whose_comment_is_gone_is_answered_all_the_same(scene: Scene) -> None:
    place = GitHubPlace(GitHubConversation(scene.access))
    request = asked("/rollback hold", comment=1)
    await place.seen(request)
    await place.answer(request, Reply(Mood.ACCEPTED, "Held."))
    assert any("**Held.**" in one.body for one in scene.comments)


# --- heard over the web -----------------------------------------------------------------------------


def comment(body: str = "/rollback hold", number: int = 7) -> dict[str, Any]:
    return {
        "action": "created",
        "repository": {"full_name": NAME},
        "issue": {"number": 42, "pull_request": {"url": "x"}},
        "comment": {"id": number, "body": body, "user": {"login": "dana", "type": "User"}},
    }


def pull_request(action: str = "synchronize") -> dict[str, Any]:
    return {
        "action": action,
        "repository": {"full_name": NAME},
        "pull_request": {
            "number": 42, "state": "open", "base": {"ref": "develop"}, "head": {"sha": "a" * 40},
        },
    }  # fmt: skip


def test_a_command_is_stored_as_one_workflow_however_often_it_is_delivered(web: Web) -> None:
    first = web.github("issue_comment", comment(), "d-1")
    assert (first.status_code, first.get_json()) == (202, {"delivery": "d-1", "action": "command"})
    web.github("issue_comment", comment(), "d-1")
    web.github("issue_comment", comment(), "d-2")
    ((name, _, stored),) = web.work()
    assert name == "command"
    assert (stored["who"], stored["number"], stored["command"]["verb"]) == ("dana", 42, "hold")
    web.github("issue_comment", comment(number=8), "d-3")
    assert len(web.work()) == 2


@pytest.mark.parametrize("body", ["thanks!", "> /rollback", "`/rollback`", " /rollback", "/rollbacks", ""])
def test_other_comments_are_ignored_and_nothing_is_stored(web: Web, body: str) -> None:
    answer = web.github("issue_comment", comment(body))
    assert answer.status_code == 200 and "does not begin with /rollback" in answer.get_json()["ignored"]
    assert (web.delivered(), web.work()) == (0, [])


def test_a_new_head_is_only_looked_at_while_its_branch_is_frozen(web: Web) -> None:
    calm = web.github("pull_request", pull_request())
    assert (calm.status_code, calm.get_json()) == (200, {"ignored": "pull_request: develop is not frozen"})
    assert (web.delivered(), web.work()) == (0, [])
    target = branch_target(NAME, "develop")
    web.store.set_switch(SwitchName.FREEZE, target, actor="lee", reason="x", now_s=time.time() - 5)
    frozen = web.github("pull_request", pull_request(), "d-1")
    assert (frozen.status_code, frozen.get_json()["action"]) == (202, "freeze")
    web.github("pull_request", pull_request(), "d-2")
    assert [name for name, _, _ in web.work()] == ["freeze_check"]
    assert web.github("pull_request", pull_request("closed")).status_code == 200


def test_the_audit_is_shown_to_those_who_may_see_it(web: Web, sqlite_url: str) -> None:
    web.store.audit("dana", "acme/stagelog#42 (github)", "/rollback <b>", "Not done.", 1.8e9, repository=NAME)
    rows = web.client.get("/api/audit", base_url="http://127.0.0.1").get_json()["audit"]
    assert [(row["who"], row["what"]) for row in rows] == [("dana", "/rollback <b>")]
    page = web.client.get("/audit", base_url="http://127.0.0.1").get_data(as_text=True)
    assert "/rollback &lt;b&gt;" in page and "2027-01-15 08:00:00 UTC" in page
    assert web.client.get("/audit?repository=other/one", base_url="http://127.0.0.1").status_code == 200
    assert web.client.get("/audit", base_url="http://evil.example").status_code == 403
    assert web.client.get("/api/audit?limit=x", base_url="http://127.0.0.1").status_code == 400


def test_switches_in_the_terminal(sqlite_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    for name, value in {"DATABASE_URL": sqlite_url, "GITHUB_TOKEN": "x", "DATA_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    run = CliRunner()
    held = run.invoke(
        app, ["hold", "--repo", NAME, "-e", "develop", "--for", "2h", "--reason", "maintenance"]
    )
    assert held.exit_code == 0 and held.output.startswith("hold of acme/stagelog:develop is on until ")
    assert run.invoke(app, ["freeze", "--repo", NAME, "-b", "develop", "--reason", "x"]).exit_code == 0
    listed = run.invoke(app, ["hold"])
    assert listed.exit_code == 0 and "On: hold acme/stagelog:develop until 20" in listed.output
    assert "On: freeze acme/stagelog@develop, by " in listed.output
    rows = json.loads(run.invoke(app, ["unfreeze", "--json"]).output)["switches"]
    assert [(row["name"], row["target"]) for row in rows] == [
        ("freeze", "acme/stagelog@develop"),
        ("hold", "acme/stagelog:develop"),
    ]
    for forgotten in (
        ["hold", "-e", "develop"],
        ["freeze", "-b", "develop", "--reason", "x"],
        ["hold", "--for", "2h"],
    ):
        assert "Nothing was changed: name the repository" in str(run.invoke(app, forgotten).exception)
    assert "needs a reason" in str(run.invoke(app, ["freeze", "--repo", NAME, "-b", "develop"]).exception)
    assert run.invoke(app, ["hold", "--repo", NAME, "--for", "2 parsecs"]).exit_code != 0
    assert run.invoke(app, ["unfreeze", "--repo", NAME, "-b", "develop"]).exit_code == 0
    assert run.invoke(app, ["unfreeze", "--repo", NAME, "-b", "develop"]).exit_code == 1
    assert run.invoke(app, ["resume", "--repo", NAME, "-e", "develop"]).exit_code == 0
    told = run.invoke(app, ["audit"])
    assert told.exit_code == 0 and "freeze" in told.output
    with sa.create_engine(sqlite_url).connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM audit")).scalar_one() == 5
