"""Slack and the bot through real HTTP and the real processes of the embedded world."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.comments_slack import NOT_TAKEN
from rehearsal.serving import fetch
from rehearsal.world import World
from tests.chatops_people import People
from tests.patience import until
from tests.slack_people import SlackPeople, lead

pytestmark = [pytest.mark.story, pytest.mark.timeout(900)]

ASK_IN_SLACK = """\
version: 1
notify: [team]
notify_targets: {team: "slack://#deploys"}
mode: approve
locked: [mode]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("slack") / "world", watch_for_s=10, server_file=ASK_IN_SLACK) as world:
        yield world


def test_slack_does_what_a_comment_does_for_the_same_people(world: World) -> None:
    """One world for all of it, in the order in which a team would meet it."""
    people, slack = People(world), SlackPeople(world)

    _before_anybody_is_linked(slack)
    _links(people, slack)
    _a_question_is_answered_by_a_button(people, slack)
    _written_down(slack)


def test_what_was_not_taken_is_said_and_typed_again(world: World) -> None:
    slack = SlackPeople(world)
    with contextlib.closing(sqlite3.connect(_database(world), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = slack.slack.person("dana").types("/rollback help")
        assert refused.acknowledged == NOT_TAKEN
        other.execute("ROLLBACK")
    assert slack.asks("dana", "/rollback help") == "*This is what I understand.*"
    assert not refused.answers, "what was not taken is not answered later"


@pytest.mark.long
def test_a_healthy_deploy_is_rolled_back_from_slack_with_a_reason(world: World) -> None:
    people, slack = People(world), SlackPeople(world)
    if "You are @lee" not in slack.asks("lee", "/rollback connect"):
        slack.links("lee", "lee", lambda login, text: people.asks(login, 42, text))
    merge = people.merges("lee", 43)
    until(lambda: world.target.state == "healthy", "the load balancer sees the new version", world)
    # Capital letters are no other repository once a deploy of it was heard; whoever is not linked may read.
    assert slack.asks("mallory", "/rollback Acme/StageLog#43 status") == "*Status of #43.*"
    _rolls_back_with_a_reason(people, slack, merge)


def _before_anybody_is_linked(slack: SlackPeople) -> None:
    said = slack.types("dana", "/rollback help")
    assert said.status == 200 and said.acknowledged == "Got it; the answer comes here."
    assert slack.answer(said) == "*This is what I understand.*"
    assert "/rollback connect" in said.answers[0].words

    assert slack.asks("dana", "/rollback frobnicate") == "*Not understood.* I do not know that command."
    assert slack.asks("dana", "/rollback why") == (
        "*Not done.* In Slack I cannot see which pull request you mean. Type `/rollback owner/name#42 why`."
    )
    assert slack.asks("dana", "/rollback status") == "*Status.*"
    assert slack.asks("dana", '/rollback acme/stagelog#43 --reason "now"') == (
        "*Not rolled back.* I do not know who you are on GitHub, and GitHub's roles decide who may do this. "
        "`/rollback connect` tells me, once. Without it you may read: `status`, `why`, `help`."
    )
    assert slack.asks("dana", "/rollback acme/stagelog#43 status") == "*Status of #43.*"
    assert slack.world.repository.comments_on(43) == []


def _links(people: People, slack: SlackPeople) -> None:
    """Nothing is linked by half of it: not by the link, not by the comment, not by somebody else's yes."""
    said = slack.types("dana", "/rollback connect")
    slack.answer(said)
    text = said.answers[0].words
    found = re.search(r"/rollback connect (\S+)`", text)
    link = re.search(r"<(http[^|>]+)\|", text)
    assert found and link
    status, page = fetch(link[1])
    assert status == 200 and found[1].encode() in page and b"dana" in page
    assert fetch(link[1][:-3] + "AAA")[0] == 403
    assert fetch(link[1])[0] == 200, "looking does not use it up"

    # Sam, on GitHub, writes the code that was Dana's to write: she says no, and nothing is linked.
    wrong = people.says("sam", 42, f"/rollback connect {found[1]}")
    assert people.answered(wrong) == "rocket"
    reply = people.lead(people.replies(42)[-1])
    assert reply.startswith("**Almost connected.** The Slack user `dana` (`U")
    until(lambda: len(said.answers) == 2, "the bot asks in Slack", slack.world)
    question = said.answers[1]
    assert lead(question) == "GitHub says that *@sam* wrote your code. Is that you?"
    assert slack.clicks("mallory", question, "Yes, that is me").startswith(
        "*Not connected.* That question is not open"
    )
    assert slack.clicks("dana", question, "No").startswith("*Not connected.* As you say; nothing was linked.")
    assert slack.clicks("dana", question, "Yes, that is me").startswith("*Not connected.*")
    assert people.asks("dana", 42, f"/rollback connect {found[1]}")[1].startswith(
        "**Not connected.** That code was used already."
    )
    assert fetch(link[1])[0] == 410

    for who in ("dana", "lee", "sam"):
        done = slack.links(who, who, lambda login, text: people.asks(login, 42, text))
        assert done.startswith(f"*Connected.* You are @{who} for me now")


def _rolls_back_with_a_reason(people: People, slack: SlackPeople, merge: str) -> None:
    world = slack.world
    told = len(slack.incident_messages())
    said = slack.types("lee", '/rollback acme/stagelog#43 --reason "wrong zone; the payload is late"')
    again = slack.slack.again(said)
    assert again.status == 200 and "already" in again.acknowledged
    assert slack.answer(said).startswith(
        f"*Rolling back.* @lee ordered it: I revert #43 ({merge[:8]}) on `develop`"
    )
    until(
        lambda: any("Healthy again" in message.words for message in slack.incident_messages()[told:]),
        "it recovers",
        world,
    )
    assert len(people.bot_commits(merge)) == 1
    message = slack.incident_messages()[-1]
    assert len(slack.incident_messages()) == told + 1, "one message for one incident"
    assert message.edits, "it is kept up to date"
    assert "acme/stagelog#43" in message.words and not message.buttons
    assert slack.asks("lee", "/rollback acme/stagelog#43 cancel").startswith("*Too late to cancel.*")
    time.sleep(1)
    assert len(said.answers) == 1 and said.refused_answers == 0, "one command, one answer"
    rows = json.loads(fetch(world.base_url + "/api/audit?limit=100")[1])["audit"]
    (ordered,) = [row for row in rows if "the payload is late" in row["what"]]
    lee = slack.slack.person("lee")
    assert ordered["who"] == f"lee (slack {slack.slack.team}/{lee.id})"
    assert ordered["place"] == "acme/stagelog#43 (slack)" and ordered["answer"].startswith("Rolling back.")


def _a_question_is_answered_by_a_button(people: People, slack: SlackPeople) -> None:
    world = slack.world
    merge = people.merges("dana", 42)
    question = slack.question()
    assert world.head() == merge
    assert "shall I roll it back?" in question.words and "A person must decide until" in question.words
    assert question.buttons["Approve"]["confirm"]["confirm"]["text"] == "Roll back"
    assert len(slack.incident_messages()) == 2, "detected, and the question anew because edits notify nobody"
    until(lambda: "goes on in a newer message" in slack.incident_messages()[-2].words, "the old one says so")

    assert slack.clicks("mallory", question, "Approve").startswith(
        "*Not approved.* I do not know who you are"
    )
    assert slack.clicks("sam", question, "Approve").startswith("*Not approved.* @sam has `triage`")
    assert slack.clicks("mallory", question, "Why").startswith("*Why, for #42.*")
    assert slack.asks("sam", '/rollback acme/stagelog#42 --reason "I do not like it"') == (
        "*Not rolled back.* @sam has `triage`; this needs `write`. "
        "Ask a maintainer, or read the evidence with `/rollback acme/stagelog#42 why`."
    )
    plan = slack.types("lee", "/rollback acme/stagelog#42 --dry-run")
    assert slack.answer(plan) == (
        f"*Nothing was changed.* I would revert {merge[:8]} on `develop`; it applies cleanly."
    )
    assert "*The plan*" in plan.answers[0].words and "*Every gate*" in plan.answers[0].words
    assert world.head() == merge, "neither a refusal nor a dry run pushes anything"

    approve = question.buttons["Approve"]  # as somebody sees it who looks at the message before it changes
    approved = slack.presses("lee", question, "Approve")
    assert approved.status == 200 and approved.body == b""
    assert slack.slack.again(approved).status == 200, "the same request again: no second effect or answer"
    assert slack.answer(approved).startswith("*Approved.* @lee ")
    second = slack.presses_what_it_saw("dana", question, approve)
    assert slack.answer(second).startswith("*Already answered.* @lee was first (`approve`).")
    until(lambda: "Healthy again" in slack.incident_messages()[-1].words, "the service recovers", world)
    assert len(people.bot_commits(merge)) == 1
    assert not slack.incident_messages()[-1].buttons
    # An old button answers no other question.
    stale = {**approve, "value": "incident-of-long-ago|1.000"}
    said = slack.presses_what_it_saw("lee", question, stale)
    assert slack.answer(said) == "*Not approved.* I no longer know the incident of that button."
    assert len(approved.answers) == 1 and approved.refused_answers == 0


def _written_down(slack: SlackPeople) -> None:
    status, body = fetch(slack.world.base_url + "/api/audit?limit=100")
    rows = [
        row
        for row in json.loads(body)["audit"]
        if row["place"].endswith("(slack)") or row["place"] == "slack"
    ]
    assert status == 200
    lee, mallory = slack.slack.person("lee"), slack.slack.person("mallory")
    found = {(row["who"], row["what"]): row for row in rows}
    approved = found[f"lee (slack {slack.slack.team}/{lee.id})", "/rollback approve"]
    assert approved["answer"].startswith("Approved.") and approved["place"] == "acme/stagelog#42 (slack)"
    assert approved["incident_id"]
    refused = found[f"somebody (slack {slack.slack.team}/{mallory.id})", "/rollback approve"]
    assert refused["answer"].startswith("Not approved.") and refused["place"] == "acme/stagelog#42 (slack)"
    assert not re.search(r"connect [A-Z2-7]{5}-", json.dumps(rows)), "no code stands in the audit"
    methods = {method for method, _ in slack.slack.calls}
    assert methods <= {"chat.postMessage", "chat.update"}, "Slack is asked nothing, least of all who we are"


def test_what_slack_did_not_sign_is_nothing(world: World) -> None:
    slack = world.slack
    said = slack.person("dana").types("/rollback help")
    before = _delivered(world)
    assert slack.post_raw(said.form, slack.signed(said.form, secret="another"))[0] == 401
    assert slack.post_raw(said.form, slack.signed(said.form, at_s=time.time() - 360))[0] == 401
    assert (
        slack.post_raw(said.form, {**slack.signed(said.form), "X-Slack-Request-Timestamp": "1e9"})[0] == 401
    )
    assert slack.post_raw(said.form + b"&x=1", said.sent)[0] == 401
    assert slack.post_raw(said.form, {"Content-Type": "application/x-www-form-urlencoded"})[0] == 401
    assert slack.post_raw(b"ssl_check=1", {"Content-Type": "application/x-www-form-urlencoded"})[0] == 401
    assert _delivered(world) == before


def _delivered(world: World) -> int:
    from sqlalchemy import text

    from bot.store import Store

    store = Store(f"sqlite:///{_database(world)}")
    try:
        with store.reading() as connection:
            return int(connection.execute(text("SELECT count(*) FROM deliveries")).scalar_one())
    finally:
        store.close()


def _database(world: World) -> Path:
    return world.folder / "bot" / "data" / "rollback.db"
