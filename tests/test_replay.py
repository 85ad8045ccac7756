"""Replay: a stored incident decided again from its facts; with other limits, perhaps otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot import migrations
from bot.cli import main
from bot.cli_replay import decide_again, with_limits_of
from bot.codec import decode, encode
from bot.failures import BotFailure
from bot.guard import guard
from bot.store import Store
from policies.facts import Action, Baseline, Decision, Incident
from policies.judgement import Watch
from tests.fakes import BAD_BEFORE, DEPLOY, FAILING, GOOD_BEFORE, FakeWorld


async def incident_of(world: FakeWorld) -> Incident:
    await guard(DEPLOY, world)
    return world.recorded[-1]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    url = f"sqlite:///{tmp_path}/rollback.db"
    migrations.migrate(url)
    monkeypatch.setenv("DATABASE_URL", url)
    return Store(url)


@pytest.mark.parametrize("baseline", [GOOD_BEFORE, BAD_BEFORE, Baseline((), "")])
async def test_the_same_facts_give_the_same_bytes_also_after_storing(baseline: Baseline) -> None:
    incident = await incident_of(FakeWorld(baseline_=baseline))
    stored = decode(json.loads(json.dumps(encode(incident, Incident))), Incident)
    replayed = decide_again(stored, stored.plan)
    assert replayed.same and replayed.decision is not None
    assert encode(replayed.decision, Decision) == encode(incident.decision, Decision)


async def test_other_limits_may_give_another_decision(tmp_path: Path) -> None:
    incident = await incident_of(FakeWorld())
    patient = tmp_path / "patient.yml"
    patient.write_text("health: {budget: 30m, budget_before_first_good: 30m, budget_with_crash: 30m}\n")
    assert incident.plan is not None
    replayed = decide_again(incident, with_limits_of(incident.plan, patient, "develop"))
    assert replayed.decision is None and not replayed.same
    strict = tmp_path / "strict.yml"
    strict.write_text("health: {budget: 20s, budget_before_first_good: 20s}\n")
    replayed = decide_again(incident, with_limits_of(incident.plan, strict, "develop"))
    assert replayed.decision is not None and replayed.decision.action is Action.ROLL_BACK
    assert replayed.watched is not None and len(replayed.watched.samples) < len(FAILING.samples)


async def test_an_incident_that_ended_before_a_decision_says_so() -> None:
    incident = await incident_of(FakeWorld())
    with pytest.raises(BotFailure, match="nothing to replay"):
        decide_again(incident, None)


async def test_the_command_prints_every_gate(database: Store, capsys: pytest.CaptureFixture[str]) -> None:
    incident = await incident_of(FakeWorld(baseline_=BAD_BEFORE))
    database.save_incident(incident)
    with pytest.raises(SystemExit) as ended:
        main(["replay", incident.id])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "The same decision as then." in told and "[hold] baseline:" in told and "against 0.3" in told


async def test_the_command_speaks_json(database: Store, capsys: pytest.CaptureFixture[str]) -> None:
    incident = await incident_of(FakeWorld())
    database.save_incident(incident)
    with pytest.raises(SystemExit):
        main(["replay", incident.id, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["same"] is True and told["decision"]["action"] == "roll_back"


def test_an_unknown_incident_is_a_sentence(database: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", "nowhere"])
    assert ended.value.code == 1 and "There is no incident nowhere." in capsys.readouterr().err


def test_the_summary_counts(database: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["incidents", "--summary", "--json"])
    assert json.loads(capsys.readouterr().out)["precision"] is None


def test_a_watch_is_a_function_of_its_samples() -> None:
    one, two = (
        Watch(GOOD_BEFORE.samples, FakeWorld().plan_.health),
        Watch(  # type: ignore[union-attr]
            GOOD_BEFORE.samples,
            FakeWorld().plan_.health,  # type: ignore[union-attr]
        ),
    )
    assert [one.see(s) for s in FAILING.samples] == [two.see(s) for s in FAILING.samples]
