"""Who may see the dashboard and its JSON: they hold logs."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from urllib.parse import urlsplit

from flask import Request

from webhooks.bodies import Refused

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="Rollback Bot", Basic realm="Rollback Bot"'}
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "X-Forwarded-Host")


class Access:
    """A bearer of `token`, or, where none is configured, somebody on this machine."""

    def __init__(self, token: str | None, base_url: str | None = None) -> None:
        self._token = token.encode() if token else None
        own_name = urlsplit(base_url).hostname if base_url else None
        self._own_names = {"localhost"} | ({own_name} if own_name else set())

    def check(self, request: Request) -> None:
        """Raises Refused (401, 403) with the sentence for it. Browsers may send the token as a password."""
        if self._token is None:
            self._only_this_machine(request)
            return
        if not hmac.compare_digest(_given(request), self._token):
            raise Refused(401, "Send the DASHBOARD_TOKEN: Authorization: Bearer <token>.", CHALLENGE)

    def _only_this_machine(self, request: Request) -> None:
        """A header cannot grant this, only take it away: a proxy on this machine passes the whole world on,
        and a foreign name that resolves to this machine is another site's page in somebody's browser."""
        name = urlsplit(f"//{request.host}").hostname or ""
        if (
            not _is_loopback(request.remote_addr or "")
            or any(header in request.headers for header in FORWARDED)
            or not (_is_loopback(name) or name in self._own_names)
        ):
            raise Refused(403, "Without DASHBOARD_TOKEN this is only shown to this machine itself. Set it.")


def _given(request: Request) -> bytes:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("utf-8", "replace")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)
