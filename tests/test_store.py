"""The memory, on SQLite and PostgreSQL: every write may be repeated, and nothing finished goes back."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.failures import BadSettings, CannotStore
from bot.migrations import migrate
from bot.store import EVERYWHERE, Delivery, DeployStatus, Store, SwitchName, branch_target
from policies.facts import (
    Deploy,
    HealthSample,
    Incident,
    IncidentState,
    Moment,
    ProbeSample,
    Reverted,
    RevertOutcome,
)

DEPLOY = Deploy(
    "42", "acme/stagelog", "develop", "a" * 40, "develop", None, "deployment_status", 900.0, 1000.0
)
INCIDENT = Incident("inc-1", DEPLOY, IncidentState.DETECTED, "used 121 s of 120 s", 1100.0)


@pytest.fixture
def store(either_store: Store) -> Store:
    return either_store


def _deploy(number: int, sha: str = "b", started_s: float | None = None, completed_s: float = 0.0) -> Deploy:
    return replace(DEPLOY, id=str(number), sha=sha * 40, started_at_s=started_s, completed_at_s=completed_s)


class TestDeliveries:
    def test_a_delivery_is_new_once(self, store: Store) -> None:
        delivery = Delivery("d-1", "deployment_status", "guard", "acme/stagelog", 1.5, "guard-1", "stored")
        assert [store.accept_delivery(delivery) for _ in range(3)] == [True, False, False]
        assert store.delivery("d-1") == delivery
        assert store.delivery("d-2") is None

    def test_of_many_at_once_one_is_first(self, store: Store) -> None:
        delivery = Delivery("d-1", "workflow_run", "guard", "acme/stagelog", 1.5, None, "stored")
        with ThreadPoolExecutor(8) as pool:
            fresh = list(pool.map(lambda _: store.accept_delivery(delivery), range(16)))
        assert fresh.count(True) == 1

    def test_old_ones_are_forgotten(self, store: Store) -> None:
        for number in range(4):
            store.accept_delivery(Delivery(f"d-{number}", "e", "a", "r", float(number), None, "stored"))
        assert (store.prune_deliveries(2.0), store.prune_deliveries(2.0)) == (2, 0)
        assert store.delivery("d-3") is not None


class TestDeploys:
    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    def test_news_of_a_deploy_may_come_in_any_order_and_twice(
        self, store: Store, order: tuple[int, ...]
    ) -> None:
        news = [
            (replace(DEPLOY, completed_at_s=900.0, started_at_s=900.0), DeployStatus.STARTED),
            (replace(DEPLOY, url="https://x.example"), DeployStatus.SUCCEEDED),
            (replace(DEPLOY, branch=None), DeployStatus.SUCCEEDED),
        ]
        for at in (*order, *order):
            store.note_deploy(*news[at])
        (heard,) = store.deploys_heard(DEPLOY.service)
        assert heard.deploy == replace(DEPLOY, url="https://x.example")
        assert heard.status is DeployStatus.SUCCEEDED

    def test_the_same_id_in_another_environment_is_another_deploy(self, store: Store) -> None:
        production = replace(DEPLOY, environment="production")
        store.note_deploy(DEPLOY, "succeeded")
        store.note_deploy(production, "succeeded")
        store.judge_deploy(DEPLOY, "healthy")
        assert store.last_good(DEPLOY.service, 2000.0) == DEPLOY.sha
        assert store.last_good(production.service, 2000.0) is None

    def test_the_last_good_one_is_the_newest_judged_healthy_before(self, store: Store) -> None:
        for number, (sha, verdict) in enumerate(
            [("a", "healthy"), ("b", "healthy"), ("c", "rolled back"), ("d", ""), ("e", "healthy")]
        ):
            deploy = _deploy(number, sha, completed_s=100.0 * number)
            store.note_deploy(deploy, "succeeded")
            if verdict:
                store.judge_deploy(deploy, verdict, "why")
        assert store.last_good(DEPLOY.service, 400.0) == "b" * 40
        assert store.last_good(DEPLOY.service, 100.0) == "a" * 40
        assert store.last_good(DEPLOY.service, 0.0) is None
        assert store.last_good("acme/other:develop", 400.0) is None

    def test_a_verdict_may_come_before_the_news_and_twice(self, store: Store) -> None:
        store.judge_deploy(DEPLOY, "unknown", "cannot look")
        store.judge_deploy(DEPLOY, "healthy", "fine", 1300.0)
        store.note_deploy(DEPLOY, "succeeded")
        (heard,) = store.deploys_heard(DEPLOY.service)
        assert (heard.verdict, heard.verdict_reason) == ("healthy", "fine")

    @pytest.mark.parametrize(
        ("other", "status", "overlaps"),
        [
            (_deploy(7, "b", 500.0, 899.0), "succeeded", False),
            (_deploy(7, "b", 500.0, 950.0), "succeeded", True),
            (_deploy(7, "b", 950.0, 1050.0), "succeeded", True),
            (_deploy(7, "b", 1100.0, 1150.0), "succeeded", True),
            (_deploy(7, "b", None, 950.0), "succeeded", True),
            (_deploy(7, "b", None, 700.0), "succeeded", False),
            (_deploy(7, "b", 500.0, 500.0), "started", True),
            (_deploy(7, "b", 950.0, 950.0), "started", True),
            (_deploy(7, "b", -5000.0, -5000.0), "started", False),
            (_deploy(7, "b", 950.0, 960.0), "failed", False),
            (_deploy(7, "a", 950.0, 960.0), "succeeded", False),
            (replace(_deploy(7, "b", 950.0, 960.0), environment="production"), "succeeded", False),
        ],
    )
    def test_what_overlaps_a_deploy_from_900_to_1000(
        self, store: Store, other: Deploy, status: str, overlaps: bool
    ) -> None:
        store.note_deploy(DEPLOY, "succeeded")
        store.note_deploy(other, status)
        assert store.overlapping(DEPLOY) == (("7",) if overlaps else ())

    def test_a_deploy_of_a_revert_is_found_by_its_sha(self, store: Store) -> None:
        for number in (1, 2):
            store.note_deploy(_deploy(number, "f", completed_s=1000.0 * number), "succeeded")
        store.note_deploy(_deploy(3, "f", completed_s=3000.0), "started")
        newest = store.deploy_of(DEPLOY.service, "f" * 40)
        assert newest is not None
        assert newest.id == "2"
        assert store.deploy_of(DEPLOY.service, "f" * 40, since_s=2001.0) is None
        heard = store.deploys_heard(DEPLOY.service, completed=True)
        assert [one.deploy.id for one in heard] == ["2", "1"]
        assert store.services() == [DEPLOY.service]
        assert store.count_deploys() == {"succeeded": 2, "started": 1}


class TestIncidents:
    def test_an_incident_comes_back_as_it_was_saved(self, store: Store) -> None:
        full = replace(
            INCIDENT,
            reason="NUL \x00 is kept out of columns",
            timeline=(Moment(1100.0, "deploy is unhealthy"),),
            reverted=Reverted(RevertOutcome.REVERTED, "done", revert_sha="f" * 40),
        )
        assert store.save_incident(full)
        assert store.save_incident(full)
        assert store.incident("inc-1") == full
        assert store.incident("inc-2") is None
        assert store.incident_of_deploy("acme/stagelog", "develop", "42") == full
        assert store.incident_of_deploy("acme/stagelog", "develop", "43") is None

    def test_its_history_grows_by_changes_only(self, store: Store) -> None:
        for state, reason in [
            (IncidentState.DETECTED, "bad"),
            (IncidentState.DETECTED, "bad"),
            (IncidentState.HELD, "bad before"),
            (IncidentState.HELD, "frozen"),
            (IncidentState.DETECTED, "bad"),
        ]:
            store.save_incident(replace(INCIDENT, state=state, reason=reason), at_s=5.0)
        assert [(p.at_s, str(p.state), p.reason) for p in store.history("inc-1")] == [
            (5.0, "detected", "bad"),
            (5.0, "held", "bad before"),
            (5.0, "held", "frozen"),
            (5.0, "detected", "bad"),
        ]

    @pytest.mark.parametrize("final", [IncidentState.RECOVERED, IncidentState.FAILED, IncidentState.CLOSED])
    def test_a_finished_one_never_goes_back(self, store: Store, final: IncidentState) -> None:
        finished = replace(INCIDENT, state=final, closed_at_s=1400.0)
        assert store.save_incident(finished)
        assert not store.save_incident(replace(INCIDENT, state=IncidentState.REVERTING))
        assert store.incident("inc-1") == finished
        assert [past.state for past in store.history("inc-1")] == [final]

    def test_they_are_listed_newest_first_and_narrowed_down(self, store: Store) -> None:
        for number in range(5):
            store.save_incident(
                replace(
                    INCIDENT,
                    id=f"inc-{number}",
                    opened_at_s=float(number),
                    pushed_at_s=float(number) if number % 2 else None,
                    state=IncidentState.CLOSED if number == 4 else IncidentState.DETECTED,
                    deploy=replace(DEPLOY, repository="acme/other") if number == 0 else DEPLOY,
                )
            )
        assert [i.id for i in store.incidents(3)] == ["inc-4", "inc-3", "inc-2"]
        assert [i.id for i in store.incidents(9, state="closed")] == ["inc-4"]
        assert [i.id for i in store.incidents(9, repository="acme/other")] == ["inc-0"]
        assert [i.id for i in store.incidents(9, open_only=True, before_s=2.0)] == ["inc-1", "inc-0"]
        assert store.incidents(0) == ()
        assert store.count_incidents() == {"closed": 1, "detected": 4}
        assert (store.rollbacks_since(DEPLOY.service, 1.0), store.rollbacks_since(DEPLOY.service, 2.0)) == (
            2,
            1,
        )
        assert store.count_rollbacks() == 2
        last = store.last_rollback(DEPLOY.service)
        assert last is not None
        assert last.id == "inc-3"
        assert store.last_rollback("acme/none:develop") is None

    def test_two_writers_leave_one_whole_incident(self, store: Store) -> None:
        versions = [replace(INCIDENT, reason=f"version {n}") for n in range(20)]
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(store.save_incident, versions))
        assert store.incident("inc-1") in versions
        assert len(store.history("inc-1")) >= 1

    def test_a_document_that_cannot_be_read_is_a_sentence(self, store: Store) -> None:
        store.save_incident(INCIDENT)
        with store.transaction() as connection:
            connection.execute(sa.text("UPDATE incidents SET document = '{}'"))
        with pytest.raises(CannotStore, match="cannot be read"):
            store.incident("inc-1")

    def test_one_that_json_cannot_carry_is_refused(self, store: Store) -> None:
        with pytest.raises(CannotStore, match="inc-1 cannot be stored"):
            store.save_incident(replace(INCIDENT, opened_at_s=float("nan")))
        assert store.incidents() == ()

    def test_our_comments_are_found_again(self, store: Store) -> None:
        store.note_comment("inc-1", "acme/stagelog", 42, "https://x.example/42#issuecomment-900")
        store.note_comment("inc-1", "acme/stagelog", 41, "https://x.example/41#issuecomment-800")
        store.note_comment("inc-1", "acme/stagelog", 42, "https://x.example/42#issuecomment-901")
        assert [(c.number, c.comment_id, c.url) for c in store.comments_of("inc-1")] == [
            (41, "800", "https://x.example/41#issuecomment-800"),
            (42, "901", "https://x.example/42#issuecomment-901"),
        ]


class TestSamples:
    def test_an_instant_is_kept_once_and_read_in_order(self, store: Store) -> None:
        seen = [(float(t), HealthSample(float(t), ProbeSample(3 - t, t))) for t in range(3)]
        store.add_samples("svc", reversed(seen))
        store.add_samples("svc", [(1.0, HealthSample(1.0, error="later, of the same instant"))])
        store.add_samples_of_many([("other", 1.0, HealthSample(1.0))])
        store.add_samples("svc", [])
        assert store.samples("svc", 0.0) == tuple(seen)
        assert store.samples("svc", 1.0, 1.0) == (seen[1],)
        assert store.samples("nobody", 0.0) == ()

    def test_thousands_go_in_one_call_and_out_again_when_old(self, store: Store) -> None:
        store.add_samples("svc", [(float(t), HealthSample(float(t))) for t in range(2000)])
        assert len(store.samples("svc", 0.0)) == 2000
        assert store.prune_samples(1990.0) == 1990
        assert len(store.samples("svc", 0.0)) == 10


class TestSwitches:
    def test_nothing_is_on_by_default(self, store: Store) -> None:
        assert store.switches(DEPLOY.service, "develop", 0.0) == ()

    @pytest.mark.parametrize(
        ("name", "target", "on"),
        [
            ("hold", "acme/stagelog:develop", True),
            ("hold", "acme/stagelog:production", False),
            ("freeze", branch_target("acme/stagelog", "develop"), True),
            ("freeze", branch_target("acme/stagelog", "main"), False),
            ("kill", "acme/stagelog", True),
            ("kill", EVERYWHERE, True),
            ("kill", "acme/other", False),
        ],
    )
    def test_each_reaches_as_far_as_its_target(self, store: Store, name: str, target: str, on: bool) -> None:
        store.set_switch(name, target, actor="dana", reason="release day", now_s=1.0)
        found = store.switches("acme/stagelog:develop", "develop", 2.0)
        assert [(s.name, s.on, s.reason) for s in found] == (
            [(name, True, "dana: release day")] if on else []
        )

    def test_it_ends_by_itself_or_by_hand(self, store: Store) -> None:
        store.set_switch(SwitchName.HOLD, DEPLOY.service, actor="dana", reason="", now_s=1.0, until_s=10.0)
        assert len(store.switches(DEPLOY.service, None, 9.9)) == 1
        assert store.switches(DEPLOY.service, None, 10.0) == ()
        store.set_switch(SwitchName.HOLD, DEPLOY.service, actor="eve", reason="", now_s=11.0)
        (row,) = store.all_switches(99.0)
        assert (row.actor, row.until_s, row.name) == ("eve", None, SwitchName.HOLD)
        cleared = [store.clear_switch("hold", DEPLOY.service) for _ in range(2)]
        assert cleared == [True, False]
        assert store.all_switches(99.0) == ()

    def test_switches_that_cannot_be_read_are_one_that_is_on(self, tmp_path: Path) -> None:
        broken = tmp_path / "rollback.db"
        broken.write_bytes(b"this is no database" * 100)
        (switch,) = Store(f"sqlite:///{broken}").switches(DEPLOY.service, "develop", 1.0)
        assert switch.on
        assert "cannot be read" in switch.reason

    def test_the_audit_is_only_added_to(self, store: Store) -> None:
        for _ in range(2):
            store.audit("dana", "acme/stagelog#42", "/rollback hold", "held", 1.0, once="comment-1")
        store.audit(
            "eve", "slack", "/rollback \x00", "refused", 2.0, incident_id="inc-1", repository="acme/x"
        )
        rows = store.audit_rows()
        assert [(r.who, r.what, r.answer) for r in rows] == [
            ("eve", "/rollback �", "refused"),
            ("dana", "/rollback hold", "held"),
        ]
        assert [r.who for r in store.audit_rows(incident_id="inc-1", repository="acme/x")] == ["eve"]
        assert len(store.audit_rows(1)) == 1


class TestExecutors:
    def test_who_beats_is_alive_and_who_is_forgotten_is_gone(self, store: Store) -> None:
        assert store.last_beat_age_s() is None
        store.beat("w-1", host="here", version="1")
        store.beat("w-1")
        age_s = store.last_beat_age_s()
        assert age_s is not None
        assert age_s < 60.0
        assert store.silent_executors(60.0) == ()
        assert store.live_executors(60.0) == ("w-1",)
        assert store.silent_executors(-1.0) == ("w-1",)
        store.forget_executor("w-1")
        store.forget_executor("w-1")
        assert store.live_executors(60.0) == ()

    def test_one_that_stopped_beating_is_silent(self, store: Store) -> None:
        for name in ("w-1", "w-2"):
            store.beat(name)
        with store.transaction() as connection:
            connection.execute(sa.text("UPDATE executors SET beat_at_s = beat_at_s - 31 WHERE id = 'w-1'"))
        assert store.silent_executors(30.0) == ("w-1",)
        assert store.live_executors(30.0) == ("w-2",)
        assert store.silent_executors(30.0, role="web") == ()


class TestTheDatabaseItself:
    def test_an_unmigrated_one_is_a_sentence(self, database_url: str) -> None:
        store = Store(database_url)
        with pytest.raises(CannotStore, match="rollback-bot migrate"):
            store.incidents()
        with pytest.raises(BadSettings, match="rollback-bot migrate"):
            store.check_schema()
        migrate(database_url)
        store.check_schema()
        store.close()
        assert store.incidents() == ()

    def test_one_that_is_not_there_is_a_sentence_without_its_password(self) -> None:
        store = Store("postgresql://bot:hunter2@127.0.0.1:1/rollback")
        with pytest.raises(CannotStore) as raised:
            store.beat("w-1")
        assert "hunter2" not in raised.value.reason

    def test_sqlite_is_opened_the_way_the_engine_needs(self, tmp_path: Path) -> None:
        store = Store(f"sqlite:///{tmp_path / 'deep' / 'rollback.db'}")
        with store.reading() as connection:
            pragmas = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
        full = 2  # a 202 must survive a power cut, so every commit is synced
        assert pragmas == ["wal", full, 1, 5000]

    def test_a_child_process_opens_its_own_connections(self, store: Store) -> None:
        store.beat("parent")
        parents = store.engine
        child = os.fork()
        if child == 0:
            store.beat("child")
            os._exit(0 if store.engine is not parents else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        store.beat("parent")
        assert store.live_executors(60.0) == ("child", "parent")

    def test_all_of_a_transaction_or_nothing(self, store: Store) -> None:
        with pytest.raises(RuntimeError), store.transaction() as connection:
            store.note_deploy(DEPLOY, "succeeded", None, connection)
            raise RuntimeError("in the middle")
        assert store.services() == []


def test_the_newest_sample_of_each_service_comes_one_after_the_other(store: Store) -> None:
    seen = [
        (
            f"acme/service-{n}:develop",
            1000.0 + t_s,
            HealthSample(t_s, ProbeSample(3, 0, 200 + n % 5, 'it\u2019s "well"')),
        )
        for n in range(1100)
        for t_s in (0.0, 10.0)
    ]
    store.add_samples_of_many(seen)
    store.add_samples_of_many(seen)  # once more is nothing more
    newest = dict(store.latest_samples(1005.0))
    assert newest == {service: sample for service, at_s, sample in seen if at_s == 1010.0}
    assert dict(store.latest_samples(1011.0)) == {}
