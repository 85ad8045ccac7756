"""Event `ping`: GitHub says hello when a webhook is set up; there is nothing to do but to be there."""

from __future__ import annotations

from webhooks.events import Fields, Ignored


def hear(_payload: Fields, _now_s: float) -> Ignored:
    """Always ignored, with a friendly reason."""
    return Ignored("ping: the webhook is set up and its signature is right")
