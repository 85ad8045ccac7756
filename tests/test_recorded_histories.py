"""The order of steps is a schema: guards that an earlier release began are finished by today's code."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS

from bot.codec import decode, encode
from bot.durable import CheckpointedWorld
from bot.guard import guard
from bot.queues import GUARD, ORDERS
from policies.facts import Baseline, Deploy, PersonOrder
from policies.limits import Plan
from tests.fakes import DEPLOY
from tests.recorded_histories import FOLDER, TALES, RecordedWorld, Routed, Stage, cut, record_all, steps_of

HISTORIES = sorted(path.stem for path in FOLDER.glob("*.json"))


def history(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.stop()


def tale_of(workflow_id: str) -> str:
    return workflow_id.partition(".")[0]


def finish(stage: Stage, routed: Routed) -> None:
    """Start the engine and take over from the dead worker."""
    stage.start(routed)
    stage.client.hand_back(("dead",))


def test_every_way_a_guard_can_go_has_a_recorded_history() -> None:
    assert sorted(TALES) == HISTORIES


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])
def test_a_recorded_guard_is_finished_by_todays_code_from_wherever_it_was_cut_off(
    stage: Stage, every: int
) -> None:
    expected: dict[str, str] = {}
    for name in HISTORIES:
        recorded = history(name)
        steps = steps_of(recorded["rows"])
        for count in range(0, len(steps) + 1, every):
            workflow_id = f"{name}.after.{count}"
            stage.put(cut(recorded["rows"], count, workflow_id))
            heard = any(
                row["function_name"] == "DBOS.recv" and row["output"] != "null" for row in steps[:count]
            )
            for order in () if heard else TALES[name].says:
                stage.raw.send(workflow_id, encode(order, PersonOrder), ORDERS)
            expected[workflow_id] = recorded["ended"]
    finish(stage, Routed(lambda workflow_id: TALES[tale_of(workflow_id)].world()))
    ended = {workflow_id: stage.ended(workflow_id) for workflow_id in expected}
    assert ended == {workflow_id: ("SUCCESS", said) for workflow_id, said in expected.items()}
    assert len(expected) >= 150 / every


def test_a_whole_history_replays_without_doing_anything_again(stage: Stage) -> None:
    class Untouchable(RecordedWorld):
        def __getattribute__(self, asked: str) -> Any:
            raise AssertionError(f"{asked} was done again")

    for name in HISTORIES:
        stage.put(cut(history(name)["rows"], None, f"{name}.whole"))
    finish(stage, Routed(lambda _id: Untouchable()))
    for name in HISTORIES:
        assert stage.ended(f"{name}.whole") == ("SUCCESS", history(name)["ended"]), name


def test_today_writes_the_same_steps(tmp_path: Path) -> None:
    """A step that is added without `DBOS.patch` shows here even where a replay would get by."""

    def names(rows: dict[str, list[dict[str, Any]]]) -> list[tuple[int, str]]:
        """Without the timers: a wait that is over before its timer was written leaves none."""
        steps = sorted((int(row["function_id"]), str(row["function_name"])) for row in steps_of(rows))
        return [step for step in steps if step[1] not in ("DBOS.sleep", "DBOS.recv")]

    for name, made in record_all(TALES, tmp_path).items():
        assert made["ended"] == history(name)["ended"]
        assert names(made["rows"]) == names(history(name)["rows"]), name


def test_a_changed_order_of_steps_would_be_found(stage: Stage) -> None:
    """The check can fail: swap two steps of a history, as a careless edit would."""
    recorded = copy.deepcopy(history("rolled_back"))
    swapped = {"change": "rails", "rails": "change"}
    for row in steps_of(recorded["rows"]):
        row["function_name"] = swapped.get(row["function_name"], row["function_name"])
    stage.put(cut(recorded["rows"], None, "swapped"))
    finish(stage, Routed(lambda _id: TALES["rolled_back"].world()))
    assert stage.ended("swapped") != ("SUCCESS", recorded["ended"])


def test_behind_a_patch_the_order_may_change_and_old_guards_go_the_old_way(stage: Stage) -> None:
    went: dict[str, str] = {}

    class Tomorrow(CheckpointedWorld):
        """The next release looks at the baseline twice."""

        async def baseline(self, deploy: Deploy, plan: Plan) -> Baseline:
            is_new = await DBOS.patch_async("look at the baseline twice")
            went[str(DBOS.workflow_id)] = "new" if is_new else "old"
            if is_new:
                await super().baseline(deploy, plan)
            return await super().baseline(deploy, plan)

    def register_tomorrow(routed: Routed) -> None:
        world = Tomorrow(routed, routed, routed, routed)  # type: ignore[arg-type]

        @DBOS.workflow(name=GUARD, max_recovery_attempts=None)
        async def run_guard(deploy: Any) -> str:
            return await guard(decode(deploy, Deploy), world)

    recorded = history("healthy")
    stage.put(cut(recorded["rows"], 4, "healthy.begun before"))
    stage.start(Routed(lambda _id: TALES["healthy"].world()), register_tomorrow)
    stage.client.hand_back(("dead",))
    with stage.store.transaction() as connection:
        stage.client.enqueue(connection, GUARD, "healthy.begun after", DEPLOY)
    for workflow_id in ("healthy.begun before", "healthy.begun after"):
        assert stage.ended(workflow_id) == ("SUCCESS", recorded["ended"])
    assert went == {"healthy.begun before": "old", "healthy.begun after": "new"}
