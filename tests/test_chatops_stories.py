"""People and the bot on one pull request, through real HTTP, git and processes of the embedded world."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.github_state import User
from rehearsal.serving import fetch
from rehearsal.world import World
from tests.chatops_people import People
from tests.github_stand_in import add_commit
from tests.patience import until

pytestmark = [pytest.mark.story, pytest.mark.timeout(900)]

ASK_FIRST = {
    "mode: auto": 'mode: approve\npermissions: {approve: [maintain, "@acme/oncall"]}',
    "decide_within: 20s": "decide_within: 45s",
}


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with World(tmp_path / "world", watch_for_s=10) as world:
        yield People(world)


def recovered(people: People, number: int, nth: int = 1) -> None:
    """Wait until that many of the incidents told on the pull request have ended well."""
    until(
        lambda: sum("healthy again" in c.body.lower() for c in people.incident_comments(number)) >= nth,
        f"incident {nth} on #{number} recovers",
        people.world,
    )


def test_a_healthy_deploy_is_rolled_back_by_a_maintainer_and_brought_back_later(people: People) -> None:
    world = people.world
    _before_it_is_merged(people)
    merge = people.merges("lee", 43)
    until(lambda: world.site_status() == 200, "the new version answers")
    until(lambda: world.target.state == "healthy", "the load balancer sees it")
    _what_is_refused(people, merge)

    reaction, said = people.asks("lee", 43, '/rollback --dry-run --reason "wrong zone"')
    assert reaction == "rocket"
    assert said == f"**Nothing was changed.** I would revert {merge[:8]} on `develop`; it applies cleanly."
    plan = people.replies(43)[-1].body
    for line in (
        f"- **Commits** {merge[:8]}, newest first, by `git revert`",
        "- **Files** `stages/templates/stages/list.html`",
        "- **Rehearsal** Reverted",
        "**culprits** it reverts `#43`",
        "**health** the service is not unhealthy",
        "- ✅ **mode** mode is auto",
    ):
        assert line in plan
    assert world.head() == merge, "a dry run pushes nothing"

    answers = people.ask_at_once(
        43, lee='/rollback --reason "wrong zone"', dana='/rollback --reason "wrong zone"'
    )
    assert sorted(reaction for reaction, _ in answers.values()) == ["-1", "rocket"], answers
    (first,) = [who for who, (reaction, _) in answers.items() if reaction == "rocket"]
    (second,) = [who for who in answers if who != first]
    assert answers[first][1].startswith(
        f"**Rolling back.** @{first} ordered it: I revert #43 ({merge[:8]}) on "
    )
    assert answers[second][1].startswith(
        (f"**Not rolled back again.** @{first} was first", "**Already rolled back.**")
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
    people.deliver(
        next(c for c in world.repository.comments_on(43) if c.body == '/rollback --reason "wrong zone"')
    )
    time.sleep(2)
    assert len(people.replies(43)) == replies
    assert len(people.bot_commits(merge)) == 1

    _brought_back(people, merge)
    _written_down(people, first)
    _ended_by_itself(people)


def _before_it_is_merged(people: People) -> None:
    """A pull request that is open, one that was merged before anybody guarded it, and one of another repository."""
    refused = people.asks("lee", 43, '/rollback --reason "keep it out"')
    assert refused == (
        "-1",
        "**Not rolled back.** #43 is not merged, so there is nothing of it to revert. To keep it out, close it. "
        "If another pull request broke the service, say `/rollback` on that one.",
    )
    assert people.asks("lee", 41, "/rollback --reason x")[1].startswith(
        "**Not rolled back.** I have heard of no deploy of #41 ("
    )
    assert people.asks("lee", 43, '/rollback freeze 1m --reason "a minute of quiet"')[0] == "rocket"
    assert _checks(people.world) == {42: "failure", 43: "failure"}
    assert "Freeze of `acme/stagelog@develop` by `lee` until" in _status(people, 43)

    github = people.world.github
    other = github.create_repository("acme", "other.site", default_branch="main", private=True)
    other.roles["dana"] = "write"
    git = github.git(other)
    start = add_commit(git, "main", "start.txt")
    add_commit(git, "feature/x", "x.txt", start)
    pull = github.pulls.open(other, github.user("dana"), head="feature/x", base="main", title="X", number=43)
    merged = github.pulls.merge(other, 43, github.user("dana")).sha
    comment = github.activity.comment(other, pull, github.user("dana"), "/rollback --reason x")
    assert people.answered(comment) == "-1"
    (reply,) = [c.body for c in other.comments_on(43) if c.author.login == people.world.bot_login]
    assert f"I have heard of no deploy of #43 ({merged[:8]}, merged into `main`)" in reply
    assert not any("other.site" in c.body for c in people.world.bot_comments(43)), "another repository's #43"


def _what_is_refused(people: People, merge: str) -> None:
    assert people.asks("sam", 43, '/rollback --reason "I do not like it"') == (
        "-1",
        "**Not rolled back.** @sam has `triage`; this needs `write`. "
        "Ask a maintainer, or read the evidence with `/rollback why`.",
    )
    reaction, said = people.asks("lee", 43, "/rollback")
    assert reaction == "-1" and "the service looks healthy, so a reason is needed" in said

    # The kill switch stops everybody. A `resume` that was written before it and arrives after it undoes nothing.
    written_first, kill = people.says_unheard(
        ("lee", 43, "/rollback resume --repo"), ("lee", 43, '/rollback hold --repo --reason "release day"')
    )
    people.deliver(kill)
    assert people.answered(kill) == "rocket"
    people.deliver(written_first)
    assert people.answered(written_first) == "-1"
    assert "and the later word stands" in people.lead(people.replies(43)[-1])
    reaction, said = people.asks("priya", 43, "/rollback --reason x")
    assert reaction == "-1" and "the kill switch is on (lee: release day)" in said
    assert people.asks("dana", 43, "/rollback resume --repo")[1].startswith(
        "**Not resumed.** @dana has `write`; this needs `maintain`."
    )
    assert people.asks("lee", 43, "/rollback resume --repo")[0] == "rocket"
    assert people.world.head() == merge


def _ended_by_itself(people: People) -> None:
    """The freeze of a minute is over: its check is cleared, and a note stands where it was set."""
    world = people.world
    until(lambda: any("rollback-bot:expired:" in c.body for c in world.bot_comments(43)), "the note", world)
    (note,) = [c.body for c in world.bot_comments(43) if "rollback-bot:expired:" in c.body]
    assert "**The freeze has ended.** @lee set it on `acme/stagelog@develop` until " in note
    until(lambda: _checks(world).get(42) == "success", "the check is cleared", world)


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
    until(lambda: _verdicts(world).get(relanded) == "healthy", "the reland is healthy", world)
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


def _written_down(people: People, first: str) -> None:
    status, body = fetch(people.world.base_url + "/api/audit?limit=100")
    rows = json.loads(body)["audit"]
    assert status == 200
    found = {(row["who"], row["what"]): row["answer"] for row in rows if row["repository"] == "acme/stagelog"}
    assert found["sam", '/rollback --reason "I do not like it"'].startswith(
        "Not rolled back. @sam has triage"
    )
    assert found[first, '/rollback --reason "wrong zone"'].startswith("Rolling back.")
    assert found["dana", "/rollback reland"].startswith("Ready to reland.")
    assert found["lee", '/rollback hold --reason "release day" --repo'].startswith("Held.")
    people_s = {row["place"] for row in rows if row["who"] != "rollback-bot"}
    assert people_s == {
        "acme/stagelog#43 (github)",
        "acme/stagelog#41 (github)",
        "acme/other.site#43 (github)",
    }
    assert fetch(people.world.base_url + "/audit")[0] == 200


@pytest.mark.long
def test_questions_that_expire_that_two_answer_at_once_and_that_get_a_yes_and_a_no(
    people: People, tmp_path: Path
) -> None:
    world = people.world
    world.github.ledger.teams["acme/oncall"] = {"sam": "active", "dana": "pending"}
    people.configures(tmp_path / "checkout", ASK_FIRST)
    merge = people.merges("dana", 42)
    until(lambda: _state(world) == "asked", "the bot asks", world)
    assert world.head() == merge
    assert people.asks("dana", 42, "/rollback approve")[1].startswith(
        "**Not approved.** @dana has `write`; this needs `maintain` or the team `acme/oncall`. Ask a maintainer"
    )
    until(lambda: _state(world) == "held", "nobody answers", world)
    until(lambda: "Nobody answered in time" in people.incident_comments(42)[-1].body, "the notice", world)
    late = people.asks("sam", 42, "/rollback approve")  # whose role is triage, and who is on call
    assert late[0] == "-1" and late[1].startswith("**Not approved.** The question was open until ")
    assert world.head() == merge

    world.runner.deploy(merge)  # somebody deploys the same again: a new deploy, a new question
    until(lambda: _state(world) == "asked", "the bot asks again", world)
    answers = people.ask_at_once(42, lee="/rollback approve", priya="/rollback approve")
    assert sorted(reaction for reaction, _ in answers.values()) == ["-1", "rocket"], answers
    leads = sorted(lead for _, lead in answers.values())
    assert leads[0].startswith("**Already answered.** @") and " was first (`approve`). " in leads[0]
    assert leads[1].startswith("**Approved.** @") and " said yes to my question of " in leads[1]
    recovered(people, 42)
    assert len(people.bot_commits(merge)) == 1
    assert people.asks("sam", 42, "/rollback approve")[1].startswith("**Already answered.**")
    _asked_and_answered(people)
    _yes_and_no_at_once(people)


def _asked_and_answered(people: People) -> None:
    rows = json.loads(fetch(people.world.base_url + "/api/audit?limit=100")[1])["audit"]
    yes = next(
        row for row in rows if row["what"] == "/rollback approve" and row["answer"].startswith("Approved.")
    )
    of_it = {row["what"]: row["who"] for row in rows if row["incident_id"] == yes["incident_id"]}
    assert of_it["asks whether to roll back"] == "rollback-bot" and yes["who"] in ("lee", "priya")
    expired = [row for row in rows if row["what"] == "the question expires"]
    assert len(expired) == 1 and expired[0]["answer"].startswith("Nobody answered in time")


def _yes_and_no_at_once(people: People) -> None:
    """The same change comes back without a fix and fails again; one says yes, one no, in the same instant."""
    world = people.world
    assert people.asks("dana", 42, "/rollback reland")[0] == "rocket"
    world.repository.pulls[44].draft = False
    relanded = people.merges("lee", 44)
    until(lambda: _state(world) == "asked", "the bot asks about the reland", world)
    answers = people.ask_at_once(44, lee="/rollback approve", priya="/rollback cancel")
    assert sorted(reaction for reaction, _ in answers.values()) == ["-1", "rocket"], answers
    if answers["priya"][0] == "rocket":
        assert answers["priya"][1].startswith("**Cancelled.** @priya stopped it before anything was pushed")
        assert answers["lee"][1].startswith(
            "**Already answered.** @priya cancelled it before anything was pushed."
        )
        until(lambda: _state(world) == "closed", "it is closed", world)
        assert world.head() == relanded
    else:
        assert answers["lee"][1].startswith("**Approved.** @lee said yes")
        assert answers["priya"][1].startswith("**Too late to cancel.**")
        recovered(people, 44)
        assert len(people.bot_commits(relanded)) == 1


def _state(world: World) -> str:
    found = world.incidents()
    return str(found[0]["state"]) if found else ""


@pytest.mark.long
def test_a_hold_after_the_verdict_stops_the_push_until_it_is_lifted(people: People) -> None:
    """The bot tells of the incident before it decides; there somebody holds it, and the bot is kept waiting."""
    world = people.world
    is_set, wrote = threading.Event(), threading.Event()

    def gate(author: User, number: int, body: str) -> None:
        if author.login == world.bot_login and "rollback-bot:incident:" in body[:40] and not is_set.is_set():
            wrote.set()
            is_set.wait(100)

    world.github.activity.before_comment_write = gate
    merge = people.merges("dana", 42)
    assert wrote.wait(120), "the incident is open: the verdict has fallen"
    hold = people.says("lee", 42, "/rollback hold --reason 'I am looking'")
    assert people.answered(hold) == "rocket"
    assert "stays open, and I do not roll it back while this is on" in people.lead(people.replies(42)[-1])
    is_set.set()
    until(lambda: _state(world) == "held", "it is held", world)
    refused = people.asks("dana", 42, "/rollback")
    assert refused[0] == "-1" and "this service is on hold (lee: I am looking)" in refused[1]
    assert "`/rollback resume` lifts the hold" in refused[1]
    assert "Hold of `acme/stagelog:develop` by `lee` (I am looking)" in _status(people)
    assert world.head() == merge and world.site_status() == 502

    assert people.asks("dana", 42, "/rollback resume") == ("rocket", "**Resumed.** I act on `develop` again.")
    recovered(people, 42)  # it still failed when it was decided once more
    assert len(people.bot_commits(merge)) == 1


def _status(people: People, number: int = 42) -> str:
    people.asks("sam", number, "/rollback status")
    return people.replies(number)[-1].body


@pytest.mark.long
def test_an_order_survives_the_death_of_the_worker_and_is_carried_out_once(people: People) -> None:
    world = people.world
    merge = people.merges("lee", 43)
    until(lambda: world.target.state == "healthy", "the load balancer sees it")
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
    until(lambda: _checks(world).get(43) == "failure", "the new head is marked", world)
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
