"""Configuration is data: layered, explained, and every mistake named with its line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cli_config import schema_document
from bot.codec import decode, encode
from bot.config import CONFIG_PATH, environment_of, plan_of, resolve
from bot.config_file import read_config
from bot.config_model import RepositoryFile, ServerFile
from bot.failures import BadConfiguration
from policies.limits import Mode, Plan
from policies.verifications import BootLogCheck, ImageCheck, SmokeCheck, Verifications
from tests.fakes import DEPLOY

ROOT = Path(__file__).parent.parent
FULL = b"""\
version: 1
mode: auto
trigger: deployment_status
health: {interval: 10s, watch_for: 15m, budget: 120s, on_unknown: hold}
rollback: {method: push, max_merges: 5, unsafe_paths: ["**/migrations/**"], verify_within: 15m}
permissions: {rollback: write, freeze: maintain}
logs: {lines: 200, publish: auto, redact: ["internal-\\\\d+"]}
notify: ["slack://#deploys"]
environments:
  develop:
    branch: develop
    url: https://api.example.com/
    target_groups: [stagelog-dev]
    runtime: {container: stagelog-api}
    health: {budget: 60s}
    verify:
      image: {file: /app/config/settings.py, contains: [STATIC_ROOT]}
      boot_log: {contains: ["Booting worker"], never: ["Error"]}
      smoke: {method: POST, path: /api/presign, json: {filename: a.png}, expect: {jmespath: data.url}}
      env: [AWS_REGION]
  nightly:
    trigger: {workflow_run: "Deploy nightly"}
    url: https://nightly.example.com/
"""


def repository(data: bytes) -> RepositoryFile:
    return read_config(data, RepositoryFile, CONFIG_PATH)


def plan(data: bytes | None, environment: str = "develop", server: bytes = b"version: 1") -> Plan:
    own_server = read_config(server, ServerFile, "server.yml")
    own = repository(data) if data is not None else None
    deploy = replace(DEPLOY, environment=environment)
    return plan_of(
        resolve(own_server, own, environment),
        deploy,
        default_branch="main",
        private=True,
        server=own_server,
        file_found=data is not None,
    )


PLAN_OF_FULL = plan(FULL)


def test_the_whole_form_is_understood() -> None:
    made = plan(FULL)
    assert (made.mode, made.branch, made.url) == (Mode.AUTO, "develop", "https://api.example.com/")
    assert made.health.interval_s == 10.0 and made.health.watch_for_s == 900.0
    assert made.runtime.container == "stagelog-api" and made.target_groups == ("stagelog-dev",)
    assert made.logs.redact == ("internal-\\d+",)


def test_an_environment_wins_over_the_repository_and_maps_merge() -> None:
    assert plan(FULL).health.budget_s == 60.0
    assert plan(FULL).health.interval_s == 10.0
    assert plan(FULL, "nightly").health.budget_s == 120.0


def test_permissions_name_roles_teams_and_custom_roles_per_verb_and_environment() -> None:
    made = plan(
        b"""permissions: {rollback: [maintain, "@acme/oncall"], logs: "role:Auditor", freeze: [admin]}
environments:
  develop: {permissions: {approve: "@acme/sre", freeze: write}}
"""
    )
    assert made.permissions == (
        ("rollback", "maintain"),
        ("rollback", "@acme/oncall"),
        ("approve", "@acme/sre"),
        ("hold", "write"),
        ("freeze", "write"),
        ("logs", "role:Auditor"),
    )


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("wrtie", "names 'wrtie', which is no role (read, triage, write, maintain, admin), no team"),
        ("wrtie", "did you mean `write`?"),
        ("owner", 'no custom role ("role:NAME")'),
        ('[maintain, "acme/oncall"]', "names 'acme/oncall'"),
        ('"@acme"', "names '@acme'"),
        ('"@acme/on call"', "names '@acme/on call'"),
        ('"@../x"', "names '@../x'"),
        ("[]", "must name from 1 to 20 roles or teams"),
        ("3", "names '3'"),
        ("{team: acme/oncall}", 'no team ("@org/team")'),
        ("@acme/oncall", "Put quotation marks around it"),
    ],
)
def test_a_permission_that_means_nothing_is_named_with_its_line(written: str, says: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        repository(f"version: 1\npermissions:\n  rollback: {written}\n".encode())
    assert says in refused.value.reason and ":3: " in refused.value.reason
    assert "\n" not in refused.value.reason


def test_the_verifications_are_part_of_the_plan() -> None:
    made = plan(FULL)
    assert made.verify == Verifications(
        ImageCheck("/app/config/settings.py", ("STATIC_ROOT",)),
        BootLogCheck(("Booting worker",), ("Error",)),
        SmokeCheck("POST", "/api/presign", '{"filename": "a.png"}', 200, "data.url"),
        ("AWS_REGION",),
    )
    assert plan(FULL, "nightly").verify is None
    server = b"environments: {develop: {verify: {env: [B], image: {file: /b}}}}"
    mixed = plan(b"environments: {develop: {verify: {env: [A]}}}", server=server).verify
    assert mixed == Verifications(ImageCheck("/b"), env=("A",)), "maps merge, lists replace"


def test_a_plan_of_an_earlier_release_is_still_read() -> None:
    data = encode(PLAN_OF_FULL, Plan)
    assert decode(data, Plan) == PLAN_OF_FULL
    data.pop("verify")
    assert decode(data, Plan) == replace(PLAN_OF_FULL, verify=None)


def test_lists_replace() -> None:
    made = plan(b"rollback: {unsafe_paths: ['db/**']}")
    assert made.rollback.unsafe_paths == ("db/**",)


def test_the_servers_locked_keys_win_and_say_so() -> None:
    server = b"rollback: {max_per_day: 1}\nlocked: [rollback.max_per_day, mode]\n"
    made = plan(b"mode: auto\nrollback: {max_per_day: 50}", "production", server)
    assert made.rollback.max_per_day == 1
    assert made.mode is Mode.APPROVE, "a locked key that the server does not set keeps its default"
    own_server = read_config(server, ServerFile, "server.yml")
    assert (
        resolve(own_server, repository(b"rollback: {max_per_day: 9}"), "x")
        .values["rollback.max_per_day"]
        .origin
        == "server, locked"
    )


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ("develop", Mode.AUTO),
        ("prod", Mode.APPROVE),
        ("production-eu", Mode.APPROVE),
        ("Production", Mode.APPROVE),
    ],
)
def test_production_asks_first_unless_told_otherwise(environment: str, mode: Mode) -> None:
    assert plan(b"version: 1", environment).mode is mode
    assert plan(b"mode: auto", environment).mode is Mode.AUTO


def test_without_a_file_the_bot_only_observes_and_says_how_to_switch_it_on() -> None:
    made = plan(None)
    assert made.mode is Mode.OBSERVE
    assert "Add the file" in made.notices[0]


def test_with_nothing_to_watch_the_deploy_is_ignored() -> None:
    own = repository(b"version: 1")
    deploy = replace(DEPLOY, url=None)
    made = plan_of(
        resolve(None, own, "develop"),
        deploy,
        default_branch="main",
        private=True,
        server=None,
        file_found=True,
    )
    assert made.ignored is not None and made.ignored.startswith("Nothing to watch")


def test_a_workflow_run_belongs_to_the_environment_whose_trigger_it_is() -> None:
    run = replace(DEPLOY, environment="", source="workflow_run", workflow="Deploy nightly", branch="main")
    assert environment_of(None, repository(FULL), run) == "nightly"
    assert environment_of(None, repository(FULL), replace(run, workflow="Lint")) is None


def test_another_events_deploy_is_ignored_where_a_workflow_is_the_trigger() -> None:
    assert "so this event is not acted on" in (plan(FULL, "nightly").ignored or "")


MISTAKES = [
    (b"versio: 1", ":1: unknown key `versio`; did you mean `version`?"),
    (b"a: 1\n", ":1: unknown key `a`."),
    (
        b"mode: auto\nhealth:\n  intervall: 10s\n",
        ":3: unknown key `health.intervall`; did you mean `interval`?",
    ),
    (b"health:\n  interval: 10\n", ":2: `health.interval` needs a unit: write 10s, 10m or 10h (found 10)."),
    (b"health: {budget: -5s}", ":1: `health.budget` is not a duration; write for example 10s, 15m, 2h or 1d"),
    (b"mode: fast", ":1: `mode` input should be 'auto', 'approve' or 'observe' (found 'fast')."),
    (b"mode: auto\nmode: auto", ":2: not valid YAML: found duplicate key"),
    (b"a: &x 1\nb: *x", ":2: YAML aliases (*name) are not read; write the value out."),
    (b"- a", ":1: must be a map of keys"),
    (b"mode: [", ": not valid YAML"),
    (b"\xff", " is not UTF-8 (byte 0)."),
    (b"[" * 60_000, ":1: is nested more than 32 deep. Write it flatter."),
    (b"a: {" * 15_000, ":1: is nested more than 32 deep. Write it flatter."),
    (b"- " * 30_000, ":1: is nested more than 32 deep. Write it flatter."),
    (b"logs: {redact: ['(?=x)']}", "is not an RE2 pattern: invalid perl operator: (?="),
    (b"version: 2", ":1: `version` input should be 1 (found 2)."),
    (b"environments: {a: {branch: '--upload-pack=x'}}", "`environments.a.branch` is not a branch name"),
    (b"environments: {a: {branch: refs/heads/x}}", "`environments.a.branch` is not a branch name"),
    (b"environments: {a: {url: 'https://u:p@x/'}}", "must be an http(s) address without credentials"),
    (b"environments: {a: {runtime: {container: 'a; rm -rf /'}}}", "`environments.a.runtime.container`"),
    (b"x" * 70_000, "has 70,000 bytes; at most 65,536 are read."),
]


@pytest.mark.parametrize(("data", "sentence"), MISTAKES, ids=[m[1][:40] for m in MISTAKES])
def test_a_mistake_is_named_with_its_line(data: bytes, sentence: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        repository(data)
    assert sentence in refused.value.reason and CONFIG_PATH in refused.value.reason


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(BadConfiguration) as refused:
        repository(b"mode: x\nhelth: {}\nlogs: {lines: 0}\n")
    assert len(refused.value.reason.splitlines()) == 3


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_a_configuration_or_one_refusal(data: bytes) -> None:
    try:
        made = repository(data)
    except BadConfiguration as refused:
        assert refused.reason
    else:
        resolve(None, made, "develop")


def test_a_repository_cannot_say_what_only_the_server_may() -> None:
    for key in ("tenancy: single", "aws: {}", "locked: [mode]", "notify_targets: {}"):
        with pytest.raises(BadConfiguration):
            repository(key.encode())


def test_the_published_schema_is_todays() -> None:
    published = json.loads((ROOT / "docs" / "rollback.schema.json").read_text("utf-8"))
    assert published == schema_document(), "run `make schema`"
