"""The secrets that StageLog's boot prints: made up anew for every run, in the shapes that real ones have."""

from __future__ import annotations

import base64
import json
import secrets
import string
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

RUN_LENGTH = 12
_DIGITS = string.digits
_ALNUM = string.ascii_letters + _DIGITS


def _random(length: int, alphabet: str = _ALNUM) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _jwt() -> str:
    def part(content: object) -> str:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        return base64.urlsafe_b64encode(text).rstrip(b"=").decode()

    claims = {"sub": "stagelog", "jti": secrets.token_hex(12), "scope": "uploads:write"}
    return ".".join((part({"alg": "HS256", "typ": "JWT"}), part(claims), part(secrets.token_bytes(32))))


def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


@dataclass(frozen=True)
class PlantedSecrets:
    """What is secret (`values`, by name) and the container's `environment` that carries it."""

    values: dict[str, str]
    environment: dict[str, str]

    @classmethod
    def generate(cls) -> PlantedSecrets:
        password = _random(20)
        key_id = "AKIA" + _random(16, string.ascii_uppercase + "234567")
        key_secret = _random(40, _ALNUM + "+/")
        github = "ghp_" + _random(36)
        jwt = _jwt()
        django = "django-insecure-" + _random(50, string.ascii_lowercase + _DIGITS + "!@$%^&*(-_=+)")
        upper = string.ascii_uppercase + _DIGITS
        slack_path = f"T{_random(10, upper)}/B{_random(10, upper)}"
        slack_key = _random(24)
        slack_token = f"xoxb-{_random(12, _DIGITS)}-{_random(13, _DIGITS)}-{_random(24)}"
        bearer = _random(43, _ALNUM + "-_")
        pem = _private_key()
        values = {
            "database password": password,
            "AWS access key id": key_id,
            "AWS secret access key": key_secret,
            "GitHub token": github,
            "JSON web token": jwt,
            "Django secret key": django,
            "Slack webhook": f"{slack_path}/{slack_key}",
            "Slack token": slack_token,
            "bearer token": bearer,
            "private key": "".join(line for line in pem.splitlines() if not line.startswith("-----")),
        }
        environment = {
            "DATABASE_URL": f"postgres://stagelog:{password}@stagelog.c9akciq.eu-central-1.rds.amazonaws.com/stage",
            "AWS_ACCESS_KEY_ID": key_id,
            "AWS_SECRET_ACCESS_KEY": key_secret,
            "GITHUB_TOKEN": github,
            "SESSION_JWT": jwt,
            "DJANGO_SECRET_KEY": django,
            "SLACK_WEBHOOK_URL": f"https://hooks.slack.com/services/{slack_path}/{slack_key}",
            "SLACK_BOT_TOKEN": slack_token,
            "UPSTREAM_TOKEN": bearer,
            "SIGNING_KEY_PEM": pem.strip().replace("\n", "\\n"),
        }
        return cls(values, environment)

    def found_in(self, text: str) -> list[str]:
        """Names of the secrets of which a run of twelve characters stands in a text."""
        return leaked(self.values, text)


def leaked(values: dict[str, str], text: str, run_length: int = RUN_LENGTH) -> list[str]:
    """Names of the values of which a run of that many characters stands in a text (line breaks aside)."""
    joined = text.replace("\n", "").replace("\r", "")
    found = []
    for name, value in values.items():
        runs = {value[at : at + run_length] for at in range(max(1, len(value) - run_length + 1))}
        if any(run in joined or run in text for run in runs):
            found.append(name)
    return found
