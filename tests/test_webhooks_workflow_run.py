"""Event workflow_run: which runs are deploys for us, and what is taken from them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deliveries import Web, workflow_run

SHA = "c0ffee" * 6 + "c0ff"


class TestWorkflowRun:
    def test_a_completed_one_is_guarded_under_its_workflow_s_name(self, web: Web) -> None:
        answer = web.github("workflow_run", workflow_run(), "d-1")
        assert (answer.status_code, answer.get_json()) == (202, {"delivery": "d-1", "action": "guard"})
        ((name, _, deploy),) = web.work()
        assert name == "guard"
        assert deploy == {
            "id": "run-99",
            "repository": "acme/stagelog",
            "sha": SHA,
            "branch": "develop",
            "started_at_s": 1767322985.0,
            "completed_at_s": 1767323045.0,
            "environment": "",
            "url": None,
            "source": "workflow_run",
            "workflow": "Deploy",
        }
        assert web.store.services() == [], "which service it is, only configuration knows"

    @pytest.mark.parametrize("action", ["requested", "in_progress"])
    def test_a_starting_one_takes_the_baseline(self, web: Web, action: str) -> None:
        answer = web.github("workflow_run", workflow_run(action, None))
        assert (answer.status_code, answer.get_json()["action"]) == (202, "baseline")

    @pytest.mark.parametrize(
        ("payload", "why"),
        [
            (workflow_run(conclusion="failure"), "failure"),
            (workflow_run(conclusion="cancelled"), "cancelled"),
            (workflow_run(conclusion=None), "no conclusion"),
            (workflow_run("requested", "action_required"), "action_required"),
            (workflow_run("deleted"), "deleted"),
            (workflow_run(action=...), "without an action"),  # type: ignore[arg-type]
            (workflow_run(workflow_run__event="pull_request"), "pull request"),
            (workflow_run(workflow_run__head_repository={"full_name": "mallory/stagelog"}), "fork"),
            (workflow_run(workflow_run__id=None), "workflow_run.id"),
            (workflow_run(workflow_run__name=""), "workflow_run.name"),
            (workflow_run(workflow_run__head_sha="x"), "commit id"),
            (workflow_run(workflow_run=[]), "no conclusion"),
        ],
    )
    def test_what_deploys_nothing_is_ignored(self, web: Web, payload: dict[str, Any], why: str) -> None:
        if payload["action"] is ...:
            del payload["action"]
        answer = web.github("workflow_run", payload)
        assert answer.status_code == 200
        assert why in answer.get_json()["ignored"]
        assert web.work() == []

    def test_a_second_attempt_is_another_deploy(self, web: Web) -> None:
        for attempt in (1, 2, 2):
            web.github("workflow_run", workflow_run(workflow_run__run_attempt=attempt))
        assert sorted(deploy["id"] for _, _, deploy in web.work()) == ["run-99", "run-99.2"]
