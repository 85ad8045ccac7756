"""GET /api/incidents, /api/incidents/ID and /api/audit: the dashboard's facts as JSON."""

from __future__ import annotations

import time

from flask import Blueprint, Response, request

from bot.store import Store
from policies.facts import IncidentState
from webhooks.access import Access
from webhooks.bodies import Refused, answer
from webhooks.incident_view import incident_summary, incident_view

DEFAULT_LIMIT = 50
MOST = 500


def incidents_api(store: Store, access: Access) -> Blueprint:
    """The endpoints, for those whom `access` lets in."""
    blueprint = Blueprint("api", __name__, url_prefix="/api")

    @blueprint.before_request
    def _may_see() -> None:
        access.check(request)

    @blueprint.after_request
    def _private(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response

    @blueprint.get("/incidents")
    def incidents() -> Response:
        """Newest first; `?limit=`, `?state=`, `?repository=` narrow it down. Raises Refused (400)."""
        found = store.incidents(limit_of(request.args.get("limit")), _state(), request.args.get("repository"))
        return answer(200, incidents=[incident_summary(incident) for incident in found])

    @blueprint.get("/incidents/<path:incident_id>")
    def incident(incident_id: str) -> Response:
        found = store.incident(incident_id)
        if found is None:
            raise Refused(404, "There is no incident of that id.")
        return answer(200, **incident_view(found))

    @blueprint.get("/audit")
    def audit() -> Response:
        """Newest first, with the switches that are on; `?repository=`, `?incident=`, `?limit=` narrow it
        down. Raises Refused (400)."""
        rows = store.audit_rows(
            limit_of(request.args.get("limit")),
            repository=request.args.get("repository"),
            incident_id=request.args.get("incident"),
        )
        switches = store.all_switches(time.time())
        return answer(
            200, audit=[row._asdict() for row in rows], switches=[switch._asdict() for switch in switches]
        )

    return blueprint


def limit_of(asked: str | None) -> int:
    """How many to show: between 1 and MOST. Refused (400) what is no number."""
    if asked is None:
        return DEFAULT_LIMIT
    if not asked.isascii() or not asked.isdigit() or len(asked) > 9:
        raise Refused(400, "limit must be a whole number.")
    return max(1, min(int(asked), MOST))


def _state() -> IncidentState | None:
    asked = request.args.get("state")
    if asked is None:
        return None
    try:
        return IncidentState(asked)
    except ValueError:
        raise Refused(400, f"state must be one of {', '.join(IncidentState)}.") from None
