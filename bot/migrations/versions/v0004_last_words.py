"""Who said last what to do with a switch, so that an earlier word that arrives later changes nothing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "last_words",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("second", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("turned_on", sa.Integer(), nullable=False),
        sa.Column("was_on", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", "target", name=op.f("pk_last_words")),
    )


def downgrade() -> None:
    op.drop_table("last_words")
