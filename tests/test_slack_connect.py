"""Who is who: a Slack user is linked to a GitHub login by a code, a comment and a yes, and by nothing less."""

from __future__ import annotations

import hashlib
import time

import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from sqlalchemy import text

from bot import slack_connect
from bot.failures import CannotReachChat
from bot.slack_api import Address, Text
from bot.slack_connect import VALID_S, BadLink, Connecting, ConnectLinks, hash_of
from bot.store import Store
from policies.asked import Asked, Mood, Reply
from policies.chatops import Command

NOW_S = time.time()


class Team:
    """Linking with a clock of its own; what would be whispered is kept."""

    def __init__(self, store: Store) -> None:
        self.store, self.now_s, self.links = store, NOW_S, ConnectLinks("signing-secret")
        self.whispered: list[tuple[str, Text]] = []
        self.silent = False
        self.connecting = Connecting(
            store, self.links, self._whisper, "https://bot.example.com", lambda: self.now_s
        )

    def _whisper(self, _at_s: float, user: str, _address: Address, said: Text) -> None:
        if self.silent:
            raise CannotReachChat("Slack did not answer.")
        self.whispered.append((user, said))

    def slack(self, user: str, word: str = "", button: str = "", request: str = "") -> Reply:
        asked = Asked(
            request or f"slack-{user}-{word}-{self.now_s}-{len(self.whispered)}",
            *("slack", "", "", 0, self.now_s),
            Command("connect", word=word),
            answer_to=Address("", "", user.lower()).packed(),
            account=f"T1/{user}",
            button=button,
        )
        return self.connecting.connect(asked)

    def github(self, login: str, word: str, comment: int = 7) -> Reply:
        asked = Asked(
            f"comment-{comment}", "github", login, "a/b", 42, self.now_s, Command("connect", word=word)
        )
        return self.connecting.connect(asked)

    def code(self, user: str) -> str:
        reply = self.slack(user, request=f"asks-{user}-{self.now_s}")
        code = self.links.code(f"asks-{user}-{self.now_s}")
        assert f"/rollback connect {code}" in reply.parts[0].text and reply.parts[0].is_for_asker
        return code

    def login(self, user: str) -> str | None:
        return self.store.slack_login("T1", user)


@pytest.fixture
def team(store: Store) -> Team:
    return Team(store)


def test_a_user_is_linked_by_a_comment_and_a_yes(either_store: Store) -> None:
    team = Team(either_store)
    code = team.code("UDANA")
    assert team.login("UDANA") is None
    assert team.github("dana", code).result == "Almost connected." and team.login("UDANA") is None
    assert team.whispered[0][0] == "UDANA"
    assert team.slack("UDANA", "yes", hash_of(code)).result == "Connected."
    assert team.login("UDANA") == "dana"
    # Again, by another login: the new link replaces the old one.
    team.now_s += 60
    again = team.code("UDANA")
    team.github("lee", again)
    team.slack("UDANA", "yes", hash_of(again))
    assert team.login("UDANA") == "lee"
    assert team.slack("UDANA", "off").result == "Disconnected." and team.login("UDANA") is None
    assert team.slack("UDANA", "off").result == "Not connected."


def test_steps_that_run_twice_say_the_same(team: Team) -> None:
    code = team.code("UDANA")
    assert team.code("UDANA") == code
    first, again = team.github("dana", code), team.github("dana", code)
    assert first == again and first.result == "Almost connected."
    said = [team.slack("UDANA", "yes", hash_of(code), request="click-1").result for _ in range(2)]
    assert said == ["Connected.", "Connected."] and team.login("UDANA") == "dana"


def test_neither_a_code_nor_a_comment_nor_a_foreign_yes_links_anybody(team: Team) -> None:
    code = team.code("UDANA")
    assert team.slack("UMALLORY", "yes", hash_of(code)).result == "Not connected."
    assert team.slack("UDANA", "yes", hash_of(code)).result == "Not connected.", "nobody wrote it on GitHub"
    assert team.github("mallory", code).result == "Almost connected."
    assert team.github("dana", code, comment=8).result == "Not connected.", "one code, one comment"
    assert team.slack("UMALLORY", "yes", hash_of(code)).result == "Not connected."
    assert team.slack("UDANA", "no", hash_of(code)).result == "Not connected."
    assert team.slack("UDANA", "yes", hash_of(code)).result == "Not connected.", "she said no"
    assert team.login("UDANA") is None and team.login("UMALLORY") is None


def test_ten_minutes_are_ten_minutes(team: Team) -> None:
    code = team.code("UDANA")
    team.now_s += VALID_S + 1
    assert team.github("dana", code).result == "Not connected."
    code = team.code("UDANA")
    team.github("dana", code)
    team.now_s += VALID_S + 1
    assert (
        team.slack("UDANA", "yes", hash_of(code)).result == "Not connected." and team.login("UDANA") is None
    )


def test_a_new_code_ends_the_old_one_and_a_guess_is_nothing(team: Team) -> None:
    old = team.code("UDANA")
    team.now_s += 1
    new = team.code("UDANA")
    assert old != new and team.github("dana", old).result == "Not connected."
    assert team.github("dana", "AAAAA-AAAAA", comment=9).result == "Not connected."
    assert team.github("dana", new, comment=10).result == "Almost connected."


def test_github_ends_every_link_to_a_login_and_those_on_their_way(team: Team) -> None:
    code = team.code("UDANA")
    team.github("dana", code)
    team.slack("UDANA", "yes", hash_of(code))
    other = team.code("UMALLORY")
    team.github("Dana", other, comment=8)
    assert team.github("dana", "off", comment=9).result == "Disconnected."
    assert team.login("UDANA") is None
    assert team.slack("UMALLORY", "yes", hash_of(other)).result == "Not connected."


def test_a_slack_that_is_away_is_said_on_github(team: Team) -> None:
    code = team.code("UDANA")
    team.silent = True
    reply = team.github("dana", code)
    assert reply.mood is Mood.REFUSED and "I could not ask them there" in reply.why


def test_no_code_stands_in_the_database_and_no_link_is_made_without_the_secret(team: Team) -> None:
    code = team.code("UDANA")
    with team.store.reading() as connection:
        rows = connection.execute(text("SELECT * FROM slack_connects")).all()
    assert code not in str(rows) and hash_of(code) in str(rows)
    link = team.links.link("https://bot.example.com", "slack-1")
    token = link.partition("token=")[2]
    assert link.startswith("https://bot.example.com/slack/connect?token=")
    assert team.links.request_of(token) == "slack-1"
    assert ConnectLinks("another-secret").code("slack-1") != team.links.code("slack-1")
    for bad in ("", "x", token[:-2], token[::-1], token + "x"):
        with pytest.raises(BadLink) as refused:
            team.links.request_of(bad)
        assert not refused.value.expired
    with pytest.raises(BadLink):
        ConnectLinks("another-secret").request_of(token)


class _TenMinutesAgo(TimestampSigner):
    def get_timestamp(self) -> int:
        return super().get_timestamp() - int(VALID_S) - 5


def test_a_link_is_over_after_ten_minutes(team: Team) -> None:
    options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    made = URLSafeTimedSerializer(
        team.links._key, salt=slack_connect._SALT, signer=_TenMinutesAgo, signer_kwargs=options
    )
    with pytest.raises(BadLink) as refused:
        team.links.request_of(made.dumps("slack-1"))
    assert refused.value.expired
