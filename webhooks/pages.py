"""The dashboard: a list of incidents and a page for each, drawn on the server, to read only."""

from __future__ import annotations

import re
import time
from urllib.parse import urlsplit

from flask import Blueprint, Response, render_template, request
from markupsafe import Markup, escape

from bot.comments_evidence import HELPS
from bot.comments_text import duration
from bot.store import Store
from policies.causes import in_words
from policies.facts import FINAL_STATES, RevertHelps
from webhooks.access import Access
from webhooks.api import limit_of
from webhooks.bodies import Refused
from webhooks.incident_view import incident_summary, incident_view, iso

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
GUARDS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
DEPLOYS_SHOWN = 12
CODE = re.compile(r"`([^`\n]+)`")


def pages(store: Store, access: Access) -> Blueprint:
    """/ and /incidents/ID, for those whom `access` lets in."""
    blueprint = Blueprint("pages", __name__)
    for name, function in FILTERS:
        blueprint.add_app_template_filter(function, name)

    @blueprint.before_request
    def _may_see() -> None:
        access.check(request)

    @blueprint.after_request
    def _guarded(response: Response) -> Response:
        response.headers.update(GUARDS)
        return response

    @blueprint.get("/")
    def index() -> str:
        found = [incident_summary(i) for i in store.incidents(limit_of(request.args.get("limit")))]
        return render_template(
            "index.html",
            open_incidents=[incident for incident in found if incident["state"] not in FINAL_STATES],
            past_incidents=[incident for incident in found if incident["state"] in FINAL_STATES],
            deploys=store.deploys_heard(limit=DEPLOYS_SHOWN),
            switches=store.all_switches(time.time()),
            worker_age_s=store.last_beat_age_s(),
        )

    @blueprint.get("/audit")
    def audit() -> str:
        """Who asked for what, newest first; `?repository=`, `?incident=` and `?limit=` narrow it down."""
        return render_template(
            "audit.html",
            rows=store.audit_rows(
                limit_of(request.args.get("limit")),
                repository=request.args.get("repository"),
                incident_id=request.args.get("incident"),
            ),
            switches=store.all_switches(time.time()),
        )

    @blueprint.get("/incidents/<path:incident_id>")
    def incident(incident_id: str) -> str:
        found = store.incident(incident_id)
        if found is None:
            raise Refused(404, "There is no incident of that id.")
        return render_template(
            "incident.html",
            incident=incident_view(found),
            comments=store.comments_of(found.id),
            finished=found.state in FINAL_STATES,
        )

    return blueprint


def lasted(seconds: float | None) -> str:
    """A duration for people; a dash where it is not known."""
    return "–" if seconds is None else duration(seconds)


def clock(at_s: float | None) -> str:
    """An instant for people, in UTC; a dash where there is none."""
    return "–" if at_s is None else iso(at_s).replace("T", " ").removesuffix("Z") + " UTC"


def link(url: str | None) -> str | None:
    """`url` if a browser may be sent there."""
    if not url:
        return None
    try:
        return url if urlsplit(url).scheme in ("http", "https") else None
    except ValueError:
        return None


def ticks(text: str) -> Markup:
    """A sentence in which `these` become code; everything else is escaped."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped right here


def helps(answer: str) -> str:
    """Whether a revert helps, as in the comment."""
    return HELPS[RevertHelps(answer)]


FILTERS = (
    ("iso", iso),
    ("clock", clock),
    ("lasted", lasted),
    ("link", link),
    ("ticks", ticks),
    ("cause", in_words),
    ("helps", helps),
)
