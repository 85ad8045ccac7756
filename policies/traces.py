"""Causes that no line of a log tells alone: the fatal line leaves open of what, the lines of its trace say it.

"connect ECONNREFUSED 10.0.4.3:6000" is a database only if a database's driver stands in the trace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from policies.signatures import any_of


@dataclass(frozen=True, slots=True)
class Context:
    """A cause that no line tells alone: the fatal line leaves open of what, the lines of its trace say it."""

    headline: re.Pattern[str]
    nearby: re.Pattern[str]
    kind: str


CONTEXTS: Final = (
    Context(
        any_of(
            r"ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ConnectionRefusedError|[Cc]onnection refused",
            r"Connect call failed|Name or service not known|server misbehaving|no such host|nxdomain",
        ),
        any_of(
            r"[/\\](?:asyncpg|psycopg2?|pymysql|MySQLdb|aiomysql|redis|pymongo|motor|sqlalchemy)[/\\]",
            r"node_modules[/\\](?:pg|pg-pool|mysql2?|mariadb|ioredis|@redis|mongodb|mongoose|sequelize|typeorm"
            r"|knex|@prisma)\b",
            r"\b(?:org\.postgresql|com\.mysql|com\.zaxxer\.hikari|io\.lettuce|com\.mongodb)\.",
            r"/gems/(?:pg|mysql2|redis(?:-client)?|mongo|activerecord)-\d|\bPDO(?:Connection)?(?:->|::)",
            r"github\.com/(?:jackc/pgx|lib/pq|go-sql-driver|redis/go-redis)|\b(?:Npgsql|MySqlConnector)\.",
        ),
        "db_down",
    ),
    Context(
        any_of(r"self[- ]signed certificate|unable to (?:get local issuer|verify the first) certificate"),
        any_of(
            r"node_modules[/\\](?:pg|pg-pool|mysql2?|mariadb|typeorm|knex|sequelize|@prisma)\b",
            r"[/\\](?:asyncpg|psycopg2?|pymysql|MySQLdb|aiomysql)[/\\]|\b(?:org\.postgresql|com\.mysql|Npgsql)\.",
        ),
        "db_tls",
    ),
    Context(
        any_of(
            r"^(?:\[?ZodError|.{0,60}[Ii]nvalid environment|.{0,60}[Cc]onfig(?:uration)? validation error)"
        ),
        any_of(r"^\s*\"[A-Z][A-Z0-9_]{2,}\",?$|^\W*[A-Z][A-Z0-9_]{3,}\b.{0,40}(?:[Rr]equired|undefined)"),
        "missing_env",
    ),
)
