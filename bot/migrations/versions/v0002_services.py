"""The services that are guarded, with the plan of their last guard: what background samples are taken of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INSTANT = sa.Float(53)


def upgrade() -> None:
    op.create_table(
        "services",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("guarded_at_s", INSTANT, nullable=False),
        sa.Column("sampled_at_s", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("service", name=op.f("pk_services")),
    )


def downgrade() -> None:
    op.drop_table("services")
