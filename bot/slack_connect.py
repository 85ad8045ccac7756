"""Links a Slack user to a GitHub login: a code from Slack, written on GitHub, and confirmed in Slack.

Why it takes both: docs/decisions/slack-identity.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from bot import comments_slack_connect as say
from bot.failures import BotFailure
from bot.slack_api import Address, Text
from bot.store_slack import DECLINED, LINKED, Connect
from policies.asked import SLACK, Asked, Reply

log = structlog.get_logger(__name__)

VALID_S: Final = 600.0
PAGE: Final = "/slack/connect"
_SALT: Final = "rollback-bot slack connect"
_CODE_CHARS: Final = 10


class BadLink(Exception):
    """The link is none of ours; `expired`: it was."""

    def __init__(self, *, expired: bool) -> None:
        super().__init__("expired" if expired else "not ours")
        self.expired = expired


class ConnectLinks:
    """Makes codes and links out of requests, and knows its own again. Keys are derived from Slack's signing
    secret, so that neither can be made by whoever reads the database."""

    def __init__(self, signing_secret: str) -> None:
        self._key = hmac.digest(signing_secret.encode(), _SALT.encode(), "sha256")
        options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._links = URLSafeTimedSerializer(self._key, salt=_SALT, signer_kwargs=options)

    def code(self, request_id: str) -> str:
        """The code of one request, always the same: `ABCDE-FGHIJ`, 50 bits."""
        made = base64.b32encode(hmac.digest(self._key, f"code {request_id}".encode(), "sha256")).decode()
        return f"{made[:5]}-{made[5:_CODE_CHARS]}"

    def link(self, base_url: str, request_id: str) -> str:
        """The address of the page that explains it; good for ten minutes from now."""
        return f"{base_url}{PAGE}?token={self._links.dumps(request_id)}"

    def request_of(self, token: str) -> str:
        """The request that a link was made of. Raises BadLink."""
        try:
            found = self._links.loads(token, max_age=int(VALID_S))
        except SignatureExpired:
            raise BadLink(expired=True) from None
        except BadSignature:
            raise BadLink(expired=False) from None
        return str(found)


def hash_of(code: str) -> str:
    """What the database keeps of a code."""
    return hashlib.sha256(code.upper().encode()).hexdigest()


class ConnectMemory(Protocol):
    """What linking remembers; `bot.store.Store` in production. See `bot.store_slack.SlackMemory`."""

    def slack_login(self, team_id: str, user_id: str) -> str | None: ...

    def forget_slack_user(self, team_id: str, user_id: str) -> bool: ...

    def forget_slack_login(self, login: str) -> int: ...

    def begin_connect(self, connect: Connect, now_s: float) -> None: ...

    def connect_of(self, code_hash: str) -> Connect | None: ...

    def prove_connect(self, code_hash: str, login: str, asked_id: str, now_s: float) -> Connect | None: ...

    def end_connect(self, code_hash: str, ended: str, asked_id: str, now_s: float) -> Connect | None: ...


Whisper = Callable[[float, str, Address, Text], None]
"""Tells one Slack user something: when they asked (epoch), user, where they asked, what. Raises CannotReachChat."""


class Connecting:
    """Carries out `/rollback connect`, wherever it was given. Blocks; may be repeated; raises CannotStore."""

    def __init__(
        self,
        memory: ConnectMemory,
        links: ConnectLinks,
        whisper: Whisper,
        base_url: str | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._memory = memory
        self._links = links
        self._whisper = whisper
        self._base_url = base_url
        self._now = now

    def connect(self, asked: Asked) -> Reply:
        """One word of the exchange."""
        word = asked.command.word if asked.command else ""
        if asked.place != SLACK:
            return self._off_on_github(asked) if word == "off" else self._prove(asked, word)
        if word == "off":
            team, user = account(asked)
            return say.unlinked(self._memory.forget_slack_user(team, user))
        return self._end(asked, word) if word else self._begin(asked)

    def _begin(self, asked: Asked) -> Reply:
        team, user = account(asked)
        code = self._links.code(asked.id)
        begun = Connect(
            code_hash=hash_of(code),
            team_id=team,
            user_id=user,
            user_name=Address.of(asked.answer_to).name,
            answer_to=asked.answer_to,
            expires_at_s=asked.at_s + VALID_S,
        )
        self._memory.begin_connect(begun, self._now())
        link = self._links.link(self._base_url, asked.id) if self._base_url else None
        return say.code_given(code, link, self._memory.slack_login(team, user))

    def _prove(self, asked: Asked, code: str) -> Reply:
        """GitHub's webhook says who wrote the comment; nothing is linked by that alone."""
        found = self._memory.prove_connect(hash_of(code), asked.who, asked.id, self._now())
        if found is None or found.login is None:
            return say.unknown_code()
        if found.proved_by != asked.id:
            return say.used_code()
        told = True
        try:
            self._whisper(
                found.expires_at_s - VALID_S,
                found.user_id,
                Address.of(found.answer_to),
                say.is_it_you(found, asked.who),
            )
        except BotFailure as failure:
            log.warning("connect.could_not_ask", user=found.user_id, reason=failure.reason)
            told = False
        return say.proved(found, asked.who, told)

    def _end(self, asked: Asked, word: str) -> Reply:
        """Only whoever asked for the code may confirm it, whoever else sees the button."""
        found = self._memory.connect_of(asked.button)
        if found is None or (found.team_id, found.user_id) != account(asked):
            return say.not_yours()
        ended = LINKED if word == "yes" else DECLINED
        found = self._memory.end_connect(asked.button, ended, asked.id, self._now())
        if found is None or found.login is None or found.ended_by != asked.id:
            return say.not_yours()
        log.info("connect.ended", user=found.user_id, login=found.login, ended=found.ended)
        return say.linked(found.login) if found.ended == LINKED else say.declined()

    def _off_on_github(self, asked: Asked) -> Reply:
        return say.unlinked_login(asked.who, self._memory.forget_slack_login(asked.who))


def account(asked: Asked) -> tuple[str, str]:
    """Team and user of a request from Slack."""
    team, _, user = asked.account.partition("/")
    return team, user
