"""People and the bot on one pull request, through real HTTP, git and processes of the embedded world."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.serving import fetch
from rehearsal.world import World
from tests.chatops_people import People, until

pytestmark = [pytest.mark.story, pytest.mark.timeout(400)]

ASK_FIRST = {"mode: auto": "mode: approve"}


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with World(tmp_path / "world", watch_for_s=10) as world:
        yield People(world)


def recovered(people: People, number: int, nth: int = 1) -> None:
    """Wait until that many of the incidents told on the pull request have ended well."""
    until(
        lambda: sum("healthy again" in c.body.lower() for c in people.incident_comments(number)) >= nth,
        120,
        f"incident {nth} on #{number} recovers",
        people.world,
    )


def test_a_healthy_deploy_is_rolled_back_by_a_maintainer_and_brought_back_later(people: People) -> None:
    world = people.world
    merge = people.merges("lee", 43)
    until(lambda: world.site_status() == 200, 30, "the new version answers")
    until(lambda: world.target.state == "healthy", 30, "the load balancer sees it")

    assert people.asks("sam", 43, '/rollback --reason "I do not like it"') == (
        "-1",
        "**Not rolled back.** @sam has `triage`; this needs `write`. "
        "Ask a maintainer, or read the evidence with `/rollback why`.",
    )
    assert world.head() == merge

    reaction, said = people.asks("lee", 43, '/rollback --dry-run --reason "wrong zone"')
    assert reaction == "rocket"
    assert said == (f"**Nothing was changed.** I would revert {merge[:8]} on `develop`; it applies cleanly.")
    assert world.head() == merge, "a dry run pushes nothing"

    request = people.says("lee", 43, '/rollback --reason "wrong zone"')
    assert people.seen(request) is not None
    assert people.answered(request) == "rocket"
    assert people.lead(people.replies(43)[-1]).startswith(
        f"**Rolling back.** @lee ordered it: I revert #43 ({merge[:8]}) on `develop`"
    )
    recovered(people, 43)
    (revert,) = people.bot_commits(merge)
    git = world.github.git(world.repository)
    assert git.commit(revert).tree == git.commit(f"{merge}^1").tree

    assert people.asks("dana", 43, "/rollback cancel")[1].startswith(
        f"**Too late to cancel.** The revert {revert[:8]} was pushed at "
    )
    again = people.asks("dana", 43, '/rollback --reason "again"')
    assert again[0] == "-1" and again[1].startswith("**Already rolled back.** Healthy again after")

    # GitHub delivers a comment twice: the same workflow, so neither a second reply nor a second effect.
    replies = len(people.replies(43))
    delivery = next(
        one
        for one in reversed(world.github.webhooks.deliveries)
        if one.event == "issue_comment" and b"wrong zone" in one.body and b'"created"' in one.body[:40]
    )
    world.github.webhooks.redeliver(delivery.id)
    until(world.github.webhooks.idle, 20, "the redelivery is handed over")
    time.sleep(2)
    assert len(people.replies(43)) == replies
    assert len(people.bot_commits(merge)) == 1

    _brought_back(people, merge)
    _written_down(people)


def _brought_back(people: People, merge: str) -> None:
    world = people.world
    reaction, said = people.asks("dana", 43, "/rollback reland")
    assert reaction == "rocket" and said.startswith("**Ready to reland.** #44 brings #43 back to `develop`")
    draft = world.repository.pulls[44]
    assert draft.draft and draft.title == "Reland: Say which time zone the list is in"
    assert draft.body is not None and "@lee" in draft.body and f"Rollback-Relands: {merge}" in draft.body
    assert "Do not merge `feature/time-zone-note` again" in draft.body
    assert people.asks("dana", 43, "/rollback reland")[1].startswith("**Ready to reland.** #44 ")

    draft.draft = False
    relanded = people.merges("lee", 44)
    git = world.github.git(world.repository)
    assert git.commit(relanded).tree == git.commit(merge).tree
    until(lambda: _verdicts(world).get(relanded) == "healthy", 60, "the reland is healthy", world)
    assert world.incident(world.incidents()[0]["id"])["id"], "the incident of the rollback is still there"
    assert len(people.bot_commits(relanded)) == 0


def _verdicts(world: World) -> dict[str, str]:
    from bot.store import Store

    store = Store(f"sqlite:///{world.folder / 'bot' / 'data' / 'rollback.db'}")
    try:
        heard = store.deploys_heard("acme/stagelog:develop")
        return {one.deploy.sha: one.verdict for one in heard if one.verdict}
    finally:
        store.close()


def _written_down(people: People) -> None:
    status, body = fetch(people.world.base_url + "/api/audit?limit=100")
    rows = json.loads(body)["audit"]
    assert status == 200
    found = {(row["who"], row["what"]): row["answer"] for row in rows}
    assert found["sam", '/rollback --reason "I do not like it"'].startswith(
        "Not rolled back. @sam has triage"
    )
    assert found["lee", '/rollback --reason "wrong zone"'].startswith("Rolling back.")
    assert found["dana", "/rollback reland"].startswith("Ready to reland.")
    assert {row["place"] for row in rows} == {"acme/stagelog#43 (github)"}
    assert fetch(people.world.base_url + "/audit")[0] == 200


@pytest.mark.long
def test_of_two_who_approve_at_once_one_wins_and_the_other_is_told(people: People, tmp_path: Path) -> None:
    world = people.world
    people.configures(tmp_path / "checkout", ASK_FIRST | {"decide_within: 20s": "decide_within: 120s"})
    merge = people.merges("dana", 42)
    until(lambda: _state(world) == "asked", 90, "the bot asks", world)
    assert world.head() == merge

    assert people.asks("sam", 42, "/rollback approve")[1].startswith("**Not approved.** @sam has `triage`;")
    answers = [people.says(who, 42, "/rollback approve") for who in ("lee", "priya")]
    reactions = sorted(people.answered(comment) for comment in answers)
    leads = sorted(people.lead(reply) for reply in people.replies(42)[-2:])
    assert reactions == ["-1", "rocket"], leads
    assert leads[0].startswith("**Already answered.** @") and " was first (`approve`). " in leads[0]
    assert leads[1].startswith("**Approved.** @")
    recovered(people, 42)
    assert len(people.bot_commits(merge)) == 1
    assert people.asks("dana", 42, "/rollback approve")[1].startswith("**Already answered.**")


def _state(world: World) -> str:
    found = world.incidents()
    return str(found[0]["state"]) if found else ""


@pytest.mark.long
def test_a_question_cancelled_then_one_that_expires_and_a_rollback_over_a_hold(
    people: People, tmp_path: Path
) -> None:
    world = people.world
    people.configures(tmp_path / "checkout", ASK_FIRST | {"decide_within: 20s": "decide_within: 25s"})
    merge = people.merges("dana", 42)
    until(lambda: _state(world) == "asked", 90, "the bot asks", world)
    assert people.asks("dana", 42, "/rollback cancel")[1].startswith(
        "**Cancelled.** @dana stopped it before anything was pushed"
    )
    assert _state(world) == "closed" and world.head() == merge

    world.runner.deploy(merge)  # somebody deploys the same again: a new deploy, a new question
    until(lambda: _state(world) == "asked", 90, "the bot asks again", world)
    until(lambda: _state(world) == "held", 90, "nobody answers", world)
    late = people.asks("lee", 42, "/rollback approve")
    assert late[0] == "-1" and late[1].startswith("**Not approved.** The question was open until ")
    assert world.head() == merge

    assert people.asks("dana", 42, "/rollback hold 2h")[1].startswith(
        "**Held.** I watch `develop` and report"
    )
    held = people.asks("dana", 42, "/rollback")
    assert held[0] == "-1" and "this service is on hold" in held[1] and world.head() == merge
    assert "Hold of `acme/stagelog:develop` by `dana` until" in _status(people)
    assert people.asks("dana", 42, "/rollback resume") == (
        "rocket",
        "**Resumed.** I act on `develop` again.",
    )


def _status(people: People) -> str:
    people.asks("sam", 42, "/rollback status")
    return people.replies(42)[-1].body


@pytest.mark.long
def test_an_order_survives_the_death_of_the_worker_and_is_carried_out_once(people: People) -> None:
    world = people.world
    merge = people.merges("lee", 43)
    until(lambda: world.target.state == "healthy", 30, "the load balancer sees it")
    comment = people.says("lee", 43, '/rollback --reason "wrong zone"')
    people.seen(comment)
    assert world.bot is not None
    world.bot.kill("worker")
    world.bot.restart("worker")
    assert people.answered(comment) == "rocket"
    recovered(people, 43)
    assert len(people.bot_commits(merge)) == 1
    assert len(people.replies(43)) == 1


@pytest.mark.long
def test_a_freeze_is_a_failing_check_until_it_is_lifted(people: People) -> None:
    world = people.world
    refused = people.asks("dana", 42, '/rollback freeze --reason "an incident"')
    assert refused[1].startswith("**Not frozen.** @dana has `write`; this needs `maintain`.")
    assert world.repository.check_runs == {}
    reaction, said = people.asks("lee", 42, '/rollback freeze 2h --reason "an incident"')
    assert reaction == "rocket" and said.startswith("**Frozen.** Open pull requests to `develop` get ")
    assert _checks(world) == {42: "failure", 43: "failure"}

    # A new head of a pull request gets it too.
    git = world.github.git(world.repository)
    head = world.repository.pulls[43].head_sha
    sig = git.commit(head).author
    new = git.commit_tree(git.commit(head).tree, [head], "Say it again\n", sig, sig)
    git.update("refs/heads/feature/time-zone-note", new, head)
    world.github.branch_moved(
        world.repository, "refs/heads/feature/time-zone-note", head, new, world.github.user("lee")
    )
    until(lambda: _checks(world).get(43) == "failure", 30, "the new head is marked", world)
    assert world.repository.pulls[43].head_sha == new

    assert people.asks("lee", 43, "/rollback unfreeze") == (
        "rocket",
        "**Unfrozen.** `develop` takes merges again, and the check `rollback/freeze` is cleared.",
    )
    assert _checks(world) == {42: "success", 43: "success"}


def _checks(world: World) -> dict[int, str | None]:
    """What the check says on the present head of each open pull request."""
    found = {}
    for pull in world.repository.pulls.values():
        for run in world.repository.check_runs.values():
            if pull.state == "open" and run.head_sha == pull.head_sha and run.name == "rollback/freeze":
                found[pull.number] = run.conclusion
    return found
