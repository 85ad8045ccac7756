"""Secrets that a block of YAML, a sentence or a command tells, and sentences that only speak of them."""

from __future__ import annotations

import pytest

from policies.redaction import redact

BLOCKS = (  # a YAML block and what is left of it
    ("secret: |\n  hunter2\nnext: 1", "secret: |\n  [redacted]\nnext: 1"),
    ("a:\n  - password: >-\n      one two\n\n      three\n    user: bob",
     "a:\n  - password: >-\n      [redacted]\n\n      [redacted]\n    user: bob"),
    ("db:\n  root:\n    'password': !!str |2+ # why\n        pw\n    port: 1",
     "db:\n  root:\n    'password': !!str |2+ # why\n        [redacted]\n    port: 1"),
    ("api_key: >1-\r\n  Zk3m\r\nok: yes\r\n", "api_key: >1-\r\n  [redacted]\r\nok: yes\r\n"),
    ("db-1  | password: |\ndb-1  |   pw\ndb-1  | ready", "db-1  | password: |\ndb-1  |   [redacted]\ndb-1  | ready"),
    ("-  password: |\n-    pw\n+  user: bob", "-  password: |\n-    [redacted]\n+  user: bob"),
    ('{"c":"password: |\\n  pw ab\\nuser: bob"}', '{"c":"password: |\\n  [redacted]\\nuser: bob"}'),
)  # fmt: skip
NO_BLOCKS = (
    "| name | secret: |\n| foo  | bar |\n    indented",
    "secret: |\nnext line",
    "- password: |\n  user: x",
    "they keep the secret: |\n    deeper",
    "token: |\n  ${TOKEN}\n",
    "description: |\n  some words\n",
)
TOLD = (
    ("  password: !!str {}", "hunter2"),
    ("password is {}", "hunter2"),
    ("the password is: {}", "hunter2"),
    ("password was set to {}", "Hunter2!"),
    ("The password for user bob is {}.", "hunTer"),
    ("password is '{}'", "abc"),
    ("the passphrase has been changed to `{}`", "two words"),
    ("password is {} and the user is bob", "p@ss"),
    ("token is now {}, keep it", "abc12x"),
    ("your password is {}", "483920"),
    ('{{"msg":"password is {}"}}', "hunter2"),
    ("+ mysql -p{} -u root", "Secret1"),
    ("mysql -p{} -P3306 root", "Secret1"),
    ("mysqlimport -p{} app t.txt && mysql -u root", "Token2"),
)
NOT_TOLD = (
    *(f"password is {word}" for word in (
        "invalid", "required", "too short", "None", "None.", "NULL", "Required!", "case-sensitive", "**required**",
        "8 characters", "8-20 characters long", "bcrypt-hashed", "SHA-256 hashed", "base64 encoded", "required|min:8",
        "<required>", "***", "$DB_PASSWORD", "encodePassword(x1)", "at least 8", "MySQL-native", "incorrect?",
    )),
    *(f"token is {word}" for word in (
        "expired", "expired(401)", "5 minutes old", "InvalidToken", "JWT", "/var/run/secrets/x1", "OAuth2", "3600",
    )),
    "secret is missing",
    "token was issued at 2026-03-01T10:00:00Z",
    "app --password -u root",
    "mysql -p -u root",
)  # fmt: skip


@pytest.mark.parametrize(("text", "left"), [*BLOCKS, *((text, text) for text in NO_BLOCKS)])
def test_a_block_of_yaml_is_a_value(text: str, left: str) -> None:
    assert redact(text).text == left
    assert redact(left).text == left


@pytest.mark.parametrize(("sentence", "secret"), TOLD)
def test_a_secret_that_a_sentence_or_flag_tells_goes_alone(sentence: str, secret: str) -> None:
    assert redact(sentence.format(secret)).text == sentence.format("[redacted]")


@pytest.mark.parametrize("line", NOT_TOLD)
def test_a_sentence_about_a_secret_is_left(line: str) -> None:
    assert redact(line).text == line
