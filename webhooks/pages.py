"""The dashboard: a list of incidents and a page for each, drawn on the server, to read only."""

from __future__ import annotations

from flask import Blueprint, Response, render_template, request

from bot.store import Store
from webhooks.access import Access
from webhooks.api import limit_of
from webhooks.bodies import Refused
from webhooks.incident_view import incident_summary, incident_view, iso

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def pages(store: Store, access: Access) -> Blueprint:
    """/ and /incidents/ID, for those whom `access` lets in."""
    blueprint = Blueprint("pages", __name__)
    blueprint.add_app_template_filter(iso, "iso")
    blueprint.add_app_template_filter(lasted, "lasted")

    @blueprint.before_request
    def _may_see() -> None:
        access.check(request)

    @blueprint.after_request
    def _guarded(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    @blueprint.get("/")
    def index() -> str:
        found = store.incidents(limit_of(request.args.get("limit")))
        return render_template("index.html", incidents=[incident_summary(incident) for incident in found])

    @blueprint.get("/incidents/<path:incident_id>")
    def incident(incident_id: str) -> str:
        found = store.incident(incident_id)
        if found is None:
            raise Refused(404, "There is no incident of that id.")
        return render_template("incident.html", incident=incident_view(found))

    return blueprint


def lasted(seconds: float | None) -> str:
    """A duration for people: "4 s", "2 min 10 s", "1 h 5 min"."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole % 3600 // 60 else f"{whole // 3600} h"
