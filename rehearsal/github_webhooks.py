"""Signed webhook deliveries: sent in order from one thread, recorded as GitHub does, never retried."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import itertools
import json
import queue
import threading
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field
from typing import Any

from rehearsal.github_state import iso

ANSWER_WITHIN_S = 10.0
_BODY_KEPT = 20_000


@dataclass(slots=True)
class Delivery:
    """One attempt to hand an event over; `status_code` 0 means that nobody answered."""

    id: int
    guid: str
    event: str
    action: str | None
    body: bytes
    request_headers: dict[str, str]
    installation_id: int | None
    repository_id: int | None
    redelivery: bool = False
    delivered_s: float = 0.0
    duration_s: float = 0.0
    status: str = "pending"
    status_code: int = 0
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""

    def item(self) -> dict[str, Any]:
        """The delivery as GitHub's list shows it."""
        return {
            "id": self.id,
            "guid": self.guid,
            "delivered_at": iso(self.delivered_s),
            "redelivery": self.redelivery,
            "duration": round(self.duration_s, 2),
            "status": self.status,
            "status_code": self.status_code,
            "event": self.event,
            "action": self.action,
            "installation_id": self.installation_id,
            "repository_id": self.repository_id,
            "throttled_at": None,
        }

    def whole(self) -> dict[str, Any]:
        return {
            **self.item(),
            "url": self.request_headers.get("X-Rehearsal-Url", ""),
            "request": {
                "headers": {k: v for k, v in self.request_headers.items() if not k.startswith("X-Rehearsal")},
                "payload": json.loads(self.body),
            },
            "response": {"headers": self.response_headers, "payload": self.response_body},
        }


class Webhooks:
    """The hook of the App: where events go, signed with the secret both sides know."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.secret = ""
        self.events: frozenset[str] | None = None
        self.hook_id = 0
        self.target_id = 0
        self.deliveries: list[Delivery] = []
        self._ids = itertools.count(int(time.time() * 1000))
        self._queue: queue.Queue[Delivery | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def configure(
        self, url: str, secret: str, *, hook_id: int, target_id: int, events: list[str] | None = None
    ) -> None:
        """Send every later event (of those kinds, when given) to `url`."""
        self.url, self.secret, self.hook_id, self.target_id = url, secret, hook_id, target_id
        self.events = None if events is None else frozenset([*events, "ping"])

    def start(self) -> None:
        self._thread = threading.Thread(target=self._deliver_all, name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout=ANSWER_WITHIN_S + 2)
            self._thread = None

    def send(
        self, event: str, payload: dict[str, Any], *, installation_id: int | None, repository_id: int | None
    ) -> None:
        """Queue an event; without a configured hook nobody hears it."""
        if self.url is None or (self.events is not None and event not in self.events):
            return
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        delivery = Delivery(
            next(self._ids),
            str(uuid.uuid1()),
            event,
            payload.get("action"),
            body,
            {},
            installation_id,
            repository_id,
        )
        self._put(delivery)

    def redeliver(self, delivery_id: int) -> Delivery | None:
        """Queue the same event again under the same guid, as the button on GitHub does."""
        old = next((one for one in self.deliveries if one.id == delivery_id), None)
        if old is None:
            return None
        again = Delivery(
            next(self._ids),
            old.guid,
            old.event,
            old.action,
            old.body,
            {},
            old.installation_id,
            old.repository_id,
        )
        again.redelivery = True
        self._put(again)
        return again

    def idle(self) -> bool:
        """Whether everything queued so far was delivered."""
        return self._queue.unfinished_tasks == 0

    def _put(self, delivery: Delivery) -> None:
        delivery.request_headers = self._headers(delivery)
        self._queue.put(delivery)

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        secret = self.secret.encode()
        return {
            "Accept": "*/*",
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/" + hashlib.sha256(secret).hexdigest()[:7],
            "X-GitHub-Delivery": delivery.guid,
            "X-GitHub-Event": delivery.event,
            "X-GitHub-Hook-ID": str(self.hook_id),
            "X-GitHub-Hook-Installation-Target-ID": str(self.target_id),
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature": "sha1=" + hmac.new(secret, delivery.body, hashlib.sha1).hexdigest(),
            "X-Hub-Signature-256": "sha256=" + hmac.new(secret, delivery.body, hashlib.sha256).hexdigest(),
            "X-Rehearsal-Url": self.url or "",
        }

    def _deliver_all(self) -> None:
        while (delivery := self._queue.get()) is not None:
            try:
                self._deliver(delivery)
            finally:
                self._queue.task_done()

    def _deliver(self, delivery: Delivery) -> None:
        target = urllib.parse.urlsplit(delivery.request_headers["X-Rehearsal-Url"])
        headers = {k: v for k, v in delivery.request_headers.items() if not k.startswith("X-Rehearsal")}
        delivery.delivered_s = time.time()
        started = time.monotonic()
        connection = http.client.HTTPConnection(
            target.hostname or "", target.port or 80, timeout=ANSWER_WITHIN_S
        )
        try:
            connection.request("POST", target.path or "/", delivery.body, headers)
            answer = connection.getresponse()
            delivery.response_body = answer.read(_BODY_KEPT).decode(errors="replace")
            delivery.response_headers = dict(answer.getheaders())
            delivery.status_code = answer.status
            delivery.status = "OK" if answer.status < 400 else f"Invalid HTTP Response: {answer.status}"
        except TimeoutError:
            delivery.status, delivery.status_code = "timed out", 504
        except (OSError, http.client.HTTPException):
            delivery.status, delivery.status_code = "failed to connect to host", 502
        finally:
            connection.close()
            delivery.duration_s = time.monotonic() - started
            self.deliveries.append(delivery)
