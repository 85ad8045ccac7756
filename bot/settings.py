"""The process's settings: one frozen object, read once from the environment, refused in one sentence."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bot.failures import BadSettings

OWN_PREFIXES = (
    "DASHBOARD_",
    "DATABASE_",
    "DEPLOY_WEBHOOK",
    "GITHUB_API",
    "GITHUB_APP",
    "GITHUB_SERVER",
    "GITHUB_TOKEN",
    "GITHUB_WEBHOOK",
    "PROBE_",
    "ROLLBACK_",
    "SLACK_",
)
"""A variable that starts like ours and resembles one of ours is a typing mistake, not somebody else's."""

NEAR_ENOUGH, OWN_NEAR_ENOUGH = 0.9, 0.85
"""How much a name must resemble one of ours (difflib's ratio): whoever starts it unlike ours may mean another thing,
as BASE_URI (0.88)."""

OTHERS = re.compile(r"DATABASE_URI|[A-Z_]+?_?[0-9]+")
"""Names near ours that are somebody else's: Flask's address of a database, and the numbered ones (DATABASE_URL_2)."""


class Settings(BaseSettings):
    """Every setting of contract.md; durations in seconds. `Settings.load` is the way to make one."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", case_sensitive=False)

    data_dir: Path = Path("./var")
    database_url: str = ""
    port: int = Field(8080, ge=1, le=65535)
    bind_host: str = "0.0.0.0"  # noqa: S104  (GitHub must reach it)
    base_url: str | None = None
    github_api_url: str = "https://api.github.com"
    github_server_url: str = "https://github.com"
    github_webhook_secret: SecretStr | None = None
    github_app_id: int | None = None
    github_app_private_key: SecretStr | None = None
    github_token: SecretStr | None = None
    deploy_webhook_secret: SecretStr | None = None
    slack_signing_secret: SecretStr | None = None
    slack_bot_token: SecretStr | None = None
    slack_api_url: str = "https://slack.com/api"
    aws_region: str | None = None
    rollback_config: Path | None = None
    dashboard_token: SecretStr | None = None
    probe_allow: tuple[str, ...] = ()
    worker_dead_after_s: float = Field(30.0, gt=0)
    worker_guards: int = Field(10_000, ge=1)
    web_threads: int = Field(8, ge=1)
    log_format: str = Field("auto", pattern="^(auto|json|console)$")
    git_author_name: str | None = None
    git_author_email: str | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` was given: a test's environment must not be mixed with the process's."""
        return (init_settings,)

    @field_validator("probe_allow", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        for part in parts:
            ipaddress.ip_network(part, strict=False)
        return parts

    @field_validator("github_api_url", "github_server_url", "base_url", "slack_api_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http(s) address such as https://github.example.com")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must not carry credentials, a query or a fragment")
        return value.rstrip("/")

    @property
    def database(self) -> str:
        """The database's URL; by default a SQLite file in `data_dir`."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve()}/rollback.db"

    @property
    def on_sqlite(self) -> bool:
        return self.database.startswith("sqlite")

    @property
    def app_private_key(self) -> str | None:
        """The App's key as PEM text; the setting holds the text or the path of a file with it."""
        if self.github_app_private_key is None:
            return None
        given = self.github_app_private_key.get_secret_value()
        if "-----BEGIN" in given:
            return given.replace("\\n", "\n")
        try:
            return Path(given).read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            raise BadSettings(
                "GITHUB_APP_PRIVATE_KEY is neither a PEM text nor a readable file "
                f"({type(error).__name__}). Give the key's text or the path of its .pem file."
            ) from None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, role: str = "tool") -> Settings:
        """Read the settings. `role` is "web", "worker" or "tool"; the first two refuse missing secrets.
        Raises BadSettings with one sentence a problem."""
        environ = os.environ if environ is None else environ
        problems = _misspelt(environ)
        given = {
            name.lower(): value
            for name, value in environ.items()
            if name.isupper() and name.lower() in cls.model_fields and value.strip()
        }
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            problems += [
                f"{'.'.join(str(part) for part in e['loc']).upper()} cannot be used: {e['msg']}."
                for e in error.errors(include_input=False, include_url=False)
            ]
            raise BadSettings(" ".join(problems)) from None
        if role in ("web", "worker"):
            problems += _missing(settings)
        if problems:
            raise BadSettings(" ".join(problems))
        return settings


def _misspelt(environ: Mapping[str, str]) -> list[str]:
    known = {name.upper() for name in Settings.model_fields}
    unset = {name for name in known if not environ.get(name, "").strip()}
    found = []
    for name in environ:
        if name in known or OTHERS.fullmatch(name):
            continue
        near = []
        if name.startswith(OWN_PREFIXES):
            near = difflib.get_close_matches(name, known, n=1, cutoff=OWN_NEAR_ENOUGH)
        elif name.isupper() and name.removesuffix("S") not in known:  # AWS_REGIONS are a list of somebody's
            near = difflib.get_close_matches(name, unset, n=1, cutoff=NEAR_ENOUGH)
        if near:
            found.append(f"{name} is not a setting; did you mean {near[0]}?")
    return found


def _missing(settings: Settings) -> list[str]:
    missing = []
    if settings.github_webhook_secret is None:
        missing.append(
            "GITHUB_WEBHOOK_SECRET is not set: without it nobody could tell GitHub's webhooks from forged "
            "ones. Set it to the secret of the App's (or repository's) webhook."
        )
    with_app = settings.github_app_id is not None and settings.github_app_private_key is not None
    half_app = (settings.github_app_id is None) != (settings.github_app_private_key is None)
    if half_app:
        missing.append("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY belong together: only one of them is set.")
    elif not with_app and settings.github_token is None:
        missing.append(
            "No access to GitHub is configured: set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY (preferred), "
            "or GITHUB_TOKEN."
        )
    if (settings.slack_signing_secret is None) != (settings.slack_bot_token is None):
        missing.append("SLACK_SIGNING_SECRET and SLACK_BOT_TOKEN belong together: only one of them is set.")
    return missing
