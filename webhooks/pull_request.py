"""Event `pull_request`: a new head of an open pull request, which a frozen branch must not take."""

from __future__ import annotations

from policies.asked import PullHead
from webhooks.events import Fields, HeadMoved, Heard, Ignored, Lacking

NEW_HEAD = frozenset({"opened", "reopened", "synchronize", "edited", "ready_for_review"})
"""`edited` may have changed the branch that it wants to go to."""


def hear(payload: Fields, now_s: float) -> Heard | Ignored:
    """The head to look at; whether its branch is frozen, the inbox knows. Raises Lacking."""
    action = payload.text("action")
    if action not in NEW_HEAD:
        return Ignored(f"pull_request {action or 'without an action'}: no new head")
    if payload.text("pull_request.state") not in (None, "open"):
        return Ignored("pull_request that is closed")
    number, base = payload.whole("pull_request.number"), payload.branch("pull_request.base.ref")
    if number is None or base is None:
        raise Lacking("no usable pull_request.number or pull_request.base.ref")
    return HeadMoved(PullHead(payload.repository(), number, base, payload.sha("pull_request.head.sha")))
