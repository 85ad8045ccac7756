"""Slack: who is who on GitHub, links on their way, and the message of each incident in each channel."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INSTANT = sa.Float(53)


def upgrade() -> None:
    op.create_table(
        "slack_users",
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("linked_at_s", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("team_id", "user_id", name=op.f("pk_slack_users")),
    )
    op.create_index(op.f("ix_slack_users_login"), "slack_users", ["login"], unique=False)
    op.create_table(
        "slack_connects",
        sa.Column("code_hash", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("answer_to", sa.Text(), nullable=False),
        sa.Column("expires_at_s", INSTANT, nullable=False),
        sa.Column("login", sa.Text(), nullable=True),
        sa.Column("proved_by", sa.Text(), nullable=True),
        sa.Column("ended", sa.Text(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_slack_connects")),
    )
    op.create_index(
        op.f("ix_slack_connects_team_id_user_id"), "slack_connects", ["team_id", "user_id"], unique=False
    )
    op.create_table(
        "slack_messages",
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=True),
        sa.Column("ts", sa.Text(), nullable=True),
        sa.Column("said", sa.Text(), nullable=True),
        sa.Column("pending", sa.Text(), nullable=True),
        sa.Column("at_s", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("incident_id", "channel", name=op.f("pk_slack_messages")),
    )


def downgrade() -> None:
    op.drop_table("slack_messages")
    op.drop_index(op.f("ix_slack_connects_team_id_user_id"), table_name="slack_connects")
    op.drop_table("slack_connects")
    op.drop_index(op.f("ix_slack_users_login"), table_name="slack_users")
    op.drop_table("slack_users")
