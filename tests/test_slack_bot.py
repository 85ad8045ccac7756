"""The bot's side of Slack over real HTTP: answers, messages of incidents, and who is who on GitHub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from bot.command_ports import question_of
from bot.comments_slack import incident_text
from bot.engine_client import EngineClient
from bot.failures import CannotReachChat
from bot.inbox import CommentHeard, DurableInbox
from bot.slack_api import Address, NotDelivered, SlackApi, Text, may_be_posted_to
from bot.slack_channels import SlackChannels, _fingerprint, channels_of
from bot.slack_place import Chat, SlackPlace, Whispering
from bot.store import DeployStatus, Store
from bot.store_slack import SlackMessage
from policies.asked import Asked, Mood, Reply
from policies.chatops import Command
from rehearsal.slack import Slack
from tests import incidents
from tests.incidents import ASKED, DETECTED, PLAN, RECOVERED, REVERTED
from tests.patience import PATIENCE_S
from tests.test_slack_webhook import hanging
from webhooks.slack import PATH

NOW_S = time.time()
TEXT = Text("hello")


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        slack.channel("deploys")
        yield slack


def api(slack: Slack) -> SlackApi:
    return SlackApi(slack.token, slack.api_url)


# --- channels ----------------------------------------------------------------------------------------

TOLD = replace(PLAN, notify=("slack://#deploys",))


def channels(slack: Slack, store: Store) -> SlackChannels:
    return SlackChannels(api(slack), store, names={"team": "slack://#deploys"}, base_url=None)


def test_an_incident_is_one_message_and_a_new_one_when_a_person_must_act(slack: Slack, store: Store) -> None:
    tell = channels(slack, store).tell
    assert tell(DETECTED, TOLD) and tell(DETECTED, TOLD)
    (message,) = slack.messages("deploys")
    assert "is failing" in message.words and message.edits == []
    assert tell(ASKED, TOLD) and tell(ASKED, TOLD)
    first, question = slack.messages("deploys")
    assert "goes on in a newer message" in first.words
    assert question.buttons["Approve"]["value"] == question_of(ASKED)
    for state in (REVERTED, RECOVERED, RECOVERED):
        assert tell(state, TOLD)
    assert len(slack.messages("deploys")) == 2
    assert "Healthy again" in question.words and question.buttons == {} and len(question.edits) == 2
    assert [method for method, _ in slack.calls] == [
        "chat.postMessage",
        "chat.postMessage",
        "chat.update",
        "chat.update",
        "chat.update",
    ]


def test_a_message_that_was_posted_right_before_a_crash_is_found_and_not_posted_again(
    slack: Slack, store: Store
) -> None:
    told = channels(slack, store)
    assert told.tell(DETECTED, TOLD)
    where = slack.channel("deploys")
    # As a worker leaves it that dies after the post and before it could write down where it stands.
    said = _fingerprint(incident_text(ASKED, TOLD, None))
    before = store.slack_message(ASKED.id, "#deploys")
    assert before is not None
    api(slack).post(where, incident_text(ASKED, TOLD, None), {"incident": ASKED.id, "said": said})
    store.save_slack_message(before._replace(pending=said), NOW_S)
    assert told.tell(ASKED, TOLD)
    assert len(slack.messages("deploys")) == 2
    after = store.slack_message(ASKED.id, "#deploys")
    assert after is not None and after.ts == slack.messages("deploys")[1].ts and after.pending is None


def test_a_slack_that_is_away_is_told_later_and_stops_nothing(slack: Slack, store: Store) -> None:
    told = channels(slack, store)
    slack.out_of_order = True
    assert told.tell(DETECTED, TOLD) is False
    slack.out_of_order = False
    assert told.tell(DETECTED, TOLD) is True
    assert len(slack.messages("deploys")) == 1
    assert told.tell(DETECTED, replace(PLAN, notify=("slack://#nowhere", "team"))) is False
    assert told.tell(DETECTED, replace(PLAN, notify=("mailto://x@y", "no-such-name"))) is True


def test_a_slack_that_hangs_costs_its_patience_and_no_more(store: Store) -> None:
    with hanging() as port:
        url = f"http://127.0.0.1:{port}"
        told = SlackChannels(SlackApi("xoxb-1", f"{url}/api", 1), store, names={}, base_url=None)
        began = time.monotonic()
        assert told.tell(DETECTED, TOLD) is False
        print(f"a hanging Slack cost {time.monotonic() - began:.1f} s of patience for 1 s")
        with pytest.raises(CannotReachChat) as failure:
            SlackApi("xoxb-1", f"{url}/api", 1).respond(f"{url}/commands/x", TEXT)
        assert not isinstance(failure.value, NotDelivered), "it may have been posted, so it is not said again"


NOTIFY = [
    ("slack://#deploys", ("#deploys",), ()),
    ("slack://deploys", ("#deploys",), ()),
    ("slack://C0123456789", ("C0123456789",), ()),
    ("team", ("#team-a",), ()),
    ("tokens", (), ("tokens",)),
    ("mailto://ops@example.com", (), ("mailto://ops@example.com",)),
    ("slack://xoxb-1/#deploys", (), ("slack://xoxb-1/#deploys",)),
    ("#deploys", (), ("#deploys",)),
    ("slack://#a b", (), ("slack://#a b",)),
]


@pytest.mark.parametrize(("entry", "used", "unusable"), NOTIFY)
def test_what_notify_may_say(entry: str, used: tuple[str, ...], unusable: tuple[str, ...]) -> None:
    names = {"team": "slack://#team-a", "tokens": "json://example.com"}
    assert channels_of((entry, entry), names) == (used, unusable * 2)


# --- answers -----------------------------------------------------------------------------------------


def test_an_answer_goes_where_it_was_asked_then_to_the_channel_then_to_the_person(slack: Slack) -> None:
    dana = slack.person("dana")
    whispering = Whispering(api(slack))
    slack.listen("http://127.0.0.1:9/")
    said = slack._new(dana, "deploys")
    here = Address(f"{slack.url}/commands/{said.id}", slack.channel("deploys"), "dana")
    for _ in range(6):
        whispering.whisper(time.time(), dana.id, here, TEXT)
    assert len(said.answers) == 5 and said.refused_answers == 1
    assert len(slack.messages("deploys", only_for=dana.id)) == 6, "the sixth by chat.postEphemeral"
    whispering.whisper(time.time() - 1_800, dana.id, here, TEXT)
    assert said.refused_answers == 1, "after half an hour the address is not tried"
    whispering.whisper(time.time(), dana.id, Address("", "C0UNKNOWN", ""), TEXT)
    assert [message.channel for message in slack.messages(dana.id)] == [dana.id]
    slack.out_of_order = True
    with pytest.raises(CannotReachChat):
        whispering.whisper(time.time(), dana.id, here, TEXT)


ADDRESSES = [
    ("https://hooks.slack.com/commands/T1/1/x", "https://slack.com/api", True),
    ("https://hooks.slack-gov.com/actions/T1/1/x", "https://slack.com/api", True),
    ("http://hooks.slack.com/commands/x", "https://slack.com/api", False),
    ("https://hooks.slack.com:8443/x", "https://slack.com/api", False),
    ("https://slack.com.evil.example/x", "https://slack.com/api", False),
    ("https://evilslack.com/x", "https://slack.com/api", False),
    ("https://user@hooks.slack.com/x", "https://slack.com/api", False),
    ("https://127.0.0.1/x", "https://slack.com/api", False),
    ("http://169.254.169.254/latest/meta-data", "https://slack.com/api", False),
    ("http://127.0.0.1:4000/commands/x", "http://127.0.0.1:4000/api", True),
    ("http://127.0.0.1:4001/commands/x", "http://127.0.0.1:4000/api", True),
    ("http://10.0.0.5/x", "http://127.0.0.1:4000/api", False),
    ("http://169.254.169.254/x", "http://127.0.0.1:4000/api", False),
    ("http://localhost:4000/commands/x", "http://127.0.0.1:4000/api", False),
    ("https://hooks.slack.com/x", "http://127.0.0.1:4000/api", True),
    ("https://hooks.slack.com\\@127.0.0.1/x", "https://slack.com/api", False),
    ("http://[::1", "https://slack.com/api", False),
    ("", "https://slack.com/api", False),
]


@pytest.mark.parametrize(("url", "api_url", "allowed"), ADDRESSES)
def test_answers_go_to_slack_alone(url: str, api_url: str, allowed: bool) -> None:
    assert may_be_posted_to(url, api_url) is allowed
    if not allowed:
        with pytest.raises(NotDelivered):
            SlackApi("xoxb-1", api_url).respond(url, TEXT)


async def test_a_request_is_answered_once_however_often_the_step_runs(slack: Slack, store: Store) -> None:
    dana = slack.person("dana")
    said = slack._new(dana, "deploys")
    address = Address(f"{slack.url}/commands/{said.id}", "", "dana")
    asked = Asked(
        "slack-1", "slack", "", "", 0, time.time(), None, answer_to=address.packed(), account=f"T1/{dana.id}"
    )
    DurableInbox(store, EngineClient(lambda: store.engine)).accept(asked.id, CommentHeard(asked), time.time())
    place = SlackPlace(Whispering(api(slack)), store)
    await asyncio.gather(*(place.answer(asked, Reply(Mood.ACCEPTED, "Done.")) for _ in range(4)))
    assert [answer.words for answer in said.answers] == ["*Done.*"]


async def test_an_answer_that_slack_did_not_take_is_given_again_until_it_does(
    slack: Slack, store: Store
) -> None:
    dana = slack.person("dana")
    said = slack._new(dana, "deploys")
    address = Address(f"{slack.url}/commands/{said.id}", said.channel, "dana")
    asked = Asked(
        "slack-2", "slack", "", "", 0, time.time(), None, answer_to=address.packed(), account=f"T1/{dana.id}"
    )
    DurableInbox(store, EngineClient(lambda: store.engine)).accept(asked.id, CommentHeard(asked), time.time())
    place = SlackPlace(Whispering(api(slack)), store)
    slack.out_of_order = True
    answering = asyncio.create_task(place.answer(asked, Reply(Mood.ACCEPTED, "Done.")))
    await asyncio.sleep(1)
    assert not answering.done()
    slack.out_of_order = False
    await asyncio.wait_for(answering, PATIENCE_S)
    assert [answer.words for answer in said.answers] == ["*Done.*"]
    assert slack.messages("deploys", only_for=dana.id) == said.answers, "nowhere else beside"


def test_the_manifest_asks_for_what_the_bot_does_and_no_more() -> None:
    path = Path(__file__).parents[1] / "docs" / "slack-manifest.yaml"
    manifest = YAML(typ="safe").load(path.read_text())
    (command,) = manifest["features"]["slash_commands"]
    urls = {command["url"], manifest["settings"]["interactivity"]["request_url"]}
    assert {urlsplit(url).path for url in urls} == {PATH} and command["command"] == "/rollback"
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == {
        "chat:write",
        "commands",
        "channels:history",
        "groups:history",
    }


async def test_a_button_means_its_own_incident_and_a_name_means_what_github_writes(store: Store) -> None:
    store.save_incident(ASKED)
    store.note_deploy(ASKED.deploy, DeployStatus.SUCCEEDED, NOW_S)
    chat = Chat(store, None)
    asked = Asked("slack-1", "slack", "", "", 0, NOW_S, Command("approve"), account="T1/UDANA")
    pressed = replace(asked, button=question_of(ASKED))
    found = await chat.identified(pressed)
    assert (found.repository, found.number, found.who) == ("acme/stagelog", 42, "")
    about = await chat.of_button(pressed)
    assert about is not None and about.deploys == (ASKED.deploy,) and about.pull_request == incidents.PULL
    assert await chat.identified(replace(asked, button="gone|1.000")) == replace(asked, button="gone|1.000")
    assert await chat.of_button(replace(asked, button="gone|1.000")) is None
    typed = await chat.identified(replace(asked, repository="ACME/StageLog", number=42))
    assert typed.repository == "acme/stagelog"
    assert (await chat.connect(asked)).why == "Slack is not set up on this server."


def test_messages_are_remembered_on_both_databases(either_store: Store) -> None:
    message = SlackMessage("i-1", "#deploys", None, None, None, "abc")
    either_store.save_slack_message(message, 1.0)
    either_store.save_slack_message(
        message._replace(ts="1.2", channel_id="C1", said="abc", pending=None), 2.0
    )
    found = either_store.slack_message("i-1", "#deploys")
    assert found == SlackMessage("i-1", "#deploys", "C1", "1.2", "abc", None)
    assert either_store.slack_message("i-1", "#other") is None
    assert not either_store.claim_answer("slack-unknown")
