"""Liveness, readiness and metrics; figures come from the database, so that every process tells the same."""

from __future__ import annotations

import time
from collections.abc import Iterable

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from bot.failures import CannotStore
from bot.store import Store
from policies.acquittal import Ledger, ledger
from policies.facts import IncidentState
from webhooks.bodies import answer

LEDGER_EVERY_S = 60.0
LEDGER_OF = 10_000
"""The newest incidents that the ledger counts."""
FRESH_WORKER_S = 15.0
"""A worker says every two seconds that it is alive; older than this, nobody is guarding."""


def vitals(store: Store) -> Blueprint:
    """/healthz, /readyz and /metrics. They name no repository and are open to whoever can reach the port."""
    blueprint = Blueprint("vitals", __name__)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(store))

    @blueprint.get("/healthz")
    def healthz() -> Response:
        return answer(200, ok=True)

    @blueprint.get("/readyz")
    def readyz() -> Response:
        """200, or 503 that says which part is red."""
        database, worker = _readiness(store)
        ready = bool(database["ok"]) and bool(worker["ok"])
        return answer(200 if ready else 503, ready=ready, database=database, worker=worker)

    @blueprint.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return blueprint


def _readiness(store: Store) -> tuple[dict[str, object], dict[str, object]]:
    try:
        age_s = store.last_beat_age_s()
    except CannotStore as failure:
        return {"ok": False, "why": failure.reason}, {"ok": False, "why": "not known without the database"}
    if age_s is None:
        return {"ok": True}, {"ok": False, "why": "no worker has started; run `rollback-bot worker`"}
    alive: dict[str, object] = {"ok": age_s <= FRESH_WORKER_S, "last_beat_age_s": round(age_s, 1)}
    if not alive["ok"]:
        alive["why"] = f"no worker was heard for {age_s:.0f} s (limit {FRESH_WORKER_S:.0f} s)"
    return {"ok": True}, alive


class _Figures:
    """Read anew at every scrape."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counted = ledger(())
        self._counted_at_s = float("-inf")

    def _ledger(self) -> Ledger:
        """Counted over whole incidents, so at most once a minute."""
        if time.monotonic() - self._counted_at_s > LEDGER_EVERY_S:
            self._counted = ledger(self._store.incidents(LEDGER_OF))
            self._counted_at_s = time.monotonic()
        return self._counted

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("rollback_database_up", "Whether the database answers (1) or not (0).")
        try:
            figures = list(self._from_database())
        except CannotStore:
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        return [up, *figures]

    def _from_database(self) -> Iterable[Metric]:
        incidents = GaugeMetricFamily("rollback_incidents", "Incidents by state.", labels=["state"])
        counted = self._store.count_incidents()
        for state in IncidentState:
            incidents.add_metric([str(state)], counted.get(str(state), 0))
        yield incidents
        yield CounterMetricFamily(
            "rollback_reverts", "Reverts pushed to a branch.", value=self._store.count_rollbacks()
        )
        deploys = CounterMetricFamily("rollback_deploys", "Deploys heard, by status.", labels=["status"])
        for status, count in self._store.count_deploys().items():
            deploys.add_metric([status], count)
        yield deploys
        told = self._ledger()
        for name, text, count in (
            ("rollback_own", "Rollbacks that the bot ordered itself.", told.rollbacks),
            ("rollback_false", "Of these, those that turned out wrong.", told.false_rollbacks),
            ("rollback_missed", "Bad deploys that a person had to order back.", told.missed),
        ):
            yield CounterMetricFamily(name, text, value=count)
        age = GaugeMetricFamily("rollback_worker_beat_age_seconds", "Seconds since a worker was heard.")
        age_s = self._store.last_beat_age_s()
        age.add_metric([], float("inf") if age_s is None else age_s)
        yield age
