"""GET /slack/connect: the page of a one-time link, which says what to write on GitHub and what that does.

Looking at it changes nothing, so that a link in wrong hands (or in a preview) links nobody.
"""

from __future__ import annotations

import time

from flask import Blueprint, render_template, request

from bot.slack_connect import PAGE, BadLink, ConnectLinks, hash_of
from bot.store import Store
from webhooks.bodies import Refused
from webhooks.pages import GUARDS

MOST_TOKEN_CHARS = 500


def slack_connect(signing_secret: str | None, store: Store) -> Blueprint:
    """The page, for links made with `signing_secret`; without one it is off (404)."""
    blueprint = Blueprint("slack_connect", __name__)
    links = ConnectLinks(signing_secret) if signing_secret else None

    @blueprint.get(PAGE)
    def page() -> tuple[str, int, dict[str, str]]:
        if links is None:
            raise Refused(404, "This page is off: SLACK_SIGNING_SECRET is not set.")
        try:
            asked_id = links.request_of(request.args.get("token", "")[:MOST_TOKEN_CHARS])
        except BadLink as bad:
            if bad.expired:
                raise Refused(
                    410, "This link has expired. /rollback connect in Slack gives a new one."
                ) from None
            raise Refused(403, "This link is none of ours, or it is not whole.") from None
        code = links.code(asked_id)
        found = store.connect_of(hash_of(code))
        if found is None or found.ended is not None or found.expires_at_s < time.time():
            raise Refused(410, "This link is used or over. /rollback connect in Slack gives a new one.")
        shown = render_template("slack_connect.html", code=code, connect=found)
        return shown, 200, dict(GUARDS)

    return blueprint
