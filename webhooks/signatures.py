"""Says whether a delivery was signed with our secret; everything is compared in constant time."""

from __future__ import annotations

import hmac
import re

FRESH_FOR_S = 300
"""A signed deploy message is accepted this long before and after the time it carries: five minutes."""

SCHEME = b"sha256="
TIMESTAMP = re.compile(r"[0-9]{1,12}")


def signed(secret: bytes, message: bytes, signature: str | None) -> bool:
    """Whether `signature` ("sha256=<hex>") is the HMAC of `message`. A missing or garbled one is not."""
    expected = SCHEME + hmac.digest(secret, message, "sha256").hex().encode()
    return hmac.compare_digest(expected, (signature or "").encode("utf-8", "replace"))


def signed_now(
    secret: bytes, timestamp: str | None, body: bytes, signature: str | None, now_s: float
) -> bool:
    """Whether `signature` is the HMAC of "timestamp.body" and the timestamp (epoch) is at most five minutes
    away from `now_s`. Within that time the same message may come again: it has one effect."""
    stamp = timestamp or ""
    genuine = signed(secret, stamp.encode("utf-8", "replace") + b"." + body, signature)
    if TIMESTAMP.fullmatch(stamp) is None:
        return False
    return genuine and abs(now_s - int(stamp)) <= FRESH_FOR_S
