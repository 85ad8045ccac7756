"""Settings: a process that lacks a secret does not start, and says which and how to give it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.failures import BadSettings
from bot.settings import Settings

ENOUGH = {"GITHUB_WEBHOOK_SECRET": "a-secret", "GITHUB_TOKEN": "a-token"}


def refusal(environ: dict[str, str], role: str = "web") -> str:
    with pytest.raises(BadSettings) as refused:
        Settings.load(environ, role=role)
    return refused.value.reason


def test_the_defaults_need_nothing_but_two_secrets() -> None:
    settings = Settings.load(ENOUGH, role="web")
    assert settings.port == 8080 and settings.on_sqlite
    assert settings.database.endswith("/var/rollback.db")


@pytest.mark.parametrize("role", ["web", "worker"])
@pytest.mark.parametrize("missing", [{"GITHUB_WEBHOOK_SECRET": ""}, {"GITHUB_WEBHOOK_SECRET": "  "}])
def test_no_process_starts_without_the_webhook_secret(role: str, missing: dict[str, str]) -> None:
    assert "GITHUB_WEBHOOK_SECRET is not set" in refusal({**ENOUGH, **missing}, role)


def test_tools_need_no_secret() -> None:
    assert Settings.load({}, role="tool").github_token is None


CASES = [
    ({"GITHUB_WEBHOOK_SECRET": "x"}, "No access to GitHub is configured"),
    ({**ENOUGH, "GITHUB_APP_ID": "7"}, "GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY belong together"),
    ({**ENOUGH, "SLACK_BOT_TOKEN": "x"}, "SLACK_SIGNING_SECRET and SLACK_BOT_TOKEN belong together"),
    ({**ENOUGH, "PORT": "eighty"}, "PORT cannot be used"),
    ({**ENOUGH, "PORT": "70000"}, "PORT cannot be used"),
    ({**ENOUGH, "PROBE_ALLOW": "everything"}, "PROBE_ALLOW cannot be used"),
    ({**ENOUGH, "BASE_URL": "ftp://x"}, "BASE_URL cannot be used"),
    ({**ENOUGH, "SLACK_API_URL": "slack.com"}, "SLACK_API_URL cannot be used"),
    ({**ENOUGH, "GITHUB_SERVER_URL": "https://u:p@ghe"}, "must not carry credentials"),
    ({**ENOUGH, "GITHUB_WEBHOOK_SECERT": "x"}, "did you mean GITHUB_WEBHOOK_SECRET?"),
    ({**ENOUGH, "DASHBOARD_TOKN": "x"}, "did you mean DASHBOARD_TOKEN?"),
    ({**ENOUGH, "DATABSE_URL": "x"}, "DATABSE_URL is not a setting; did you mean DATABASE_URL?"),
    ({**ENOUGH, "DATABSE_URL": "x", "DATABASE_URL": " "}, "did you mean DATABASE_URL?"),
    ({**ENOUGH, "DASHBORD_TOKEN": "x"}, "did you mean DASHBOARD_TOKEN?"),
    ({"GITHUB_WEBHOOK_SECRET": "x", "GITHUB_TOKN": "x"}, "did you mean GITHUB_TOKEN?"),
    ({**ENOUGH, "DEPLOY_WEBHOK_SECRET": "x"}, "did you mean DEPLOY_WEBHOOK_SECRET?"),
    ({**ENOUGH, "BAS_URL": "x"}, "did you mean BASE_URL?"),
    ({**ENOUGH, "WEB_THREAD": "4"}, "did you mean WEB_THREADS?"),
    ({**ENOUGH, "DTA_DIR": "x"}, "did you mean DATA_DIR?"),
    ({**ENOUGH, "GIT_AUTOR_NAME": "x"}, "did you mean GIT_AUTHOR_NAME?"),
]


@pytest.mark.parametrize(("environ", "sentence"), CASES)
def test_what_cannot_be_used_is_said(environ: dict[str, str], sentence: str) -> None:
    assert sentence in refusal(environ)


@pytest.mark.parametrize("role", ["tool", "web", "worker"])
def test_what_platforms_set_stops_nobody(role: str) -> None:
    theirs = (
        "PATH HOME HOST HOSTNAME PORT_80 PGPORT BASE_URI BASE_URLS DATABASE_URI DATABASE_URL_2 TEST_DATABASE_URL "
        "GITHUB_TOKENS_DIR GITHUB_REPOSITORY GITHUB_ACTIONS GIT_AUTHOR_DATE GIT_COMMITTER_NAME AWS_REGIONS "
        "AWS_DEFAULT_REGION AWS_PROFILE XDG_DATA_DIRS LOG_LEVEL WEB_CONCURRENCY data_dirr"
    )
    assert Settings.load({**ENOUGH, **dict.fromkeys(theirs.split(), "x")}, role=role).port == 8080


def test_a_near_name_beside_the_setting_itself_is_somebody_elses() -> None:
    assert Settings.load({**ENOUGH, "BASE_URL": "https://bot.example", "BASES_URL": "x"}, role="web").base_url


def test_a_refusal_shows_no_value() -> None:
    assert "hunter2" not in refusal({**ENOUGH, "PORT": "hunter2", "DATABASE_URL": "x://hunter2@h"})


def test_secrets_do_not_print() -> None:
    assert "a-token" not in repr(Settings.load(ENOUGH, role="web"))


def test_the_apps_key_is_a_text_or_a_path(tmp_path: Path) -> None:
    pem = "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n"
    (tmp_path / "app.pem").write_text(pem)
    base = {"GITHUB_WEBHOOK_SECRET": "x", "GITHUB_APP_ID": "7"}
    for given in (pem, pem.replace("\n", "\\n"), str(tmp_path / "app.pem")):
        settings = Settings.load({**base, "GITHUB_APP_PRIVATE_KEY": given}, role="worker")
        assert settings.app_private_key == pem
    with pytest.raises(BadSettings, match="neither a PEM text nor a readable file"):
        _ = Settings.load({**base, "GITHUB_APP_PRIVATE_KEY": "/nowhere.pem"}, role="worker").app_private_key


def test_the_process_environment_is_not_mixed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "from-outside")
    assert Settings.load({}, role="tool").github_token is None
