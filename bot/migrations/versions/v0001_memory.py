"""The first memory: deliveries, deploys, samples, incidents, switches, audit, comments, executors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.Float(53)
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("once", sa.Text(), nullable=True),
        sa.Column("at_s", INSTANT, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=True),
        sa.Column("incident_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
        sa.UniqueConstraint("once", name=op.f("uq_audit_once")),
    )
    op.create_index(op.f("ix_audit_at_s"), "audit", ["at_s"], unique=False)
    op.create_index(op.f("ix_audit_incident_id"), "audit", ["incident_id"], unique=False)
    op.create_table(
        "comments",
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("comment_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("incident_id", "repository", "number", name=op.f("pk_comments")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("received_at_s", INSTANT, nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index(op.f("ix_deliveries_received_at_s"), "deliveries", ["received_at_s"], unique=False)
    op.create_table(
        "deploys",
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("deploy_id", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("sha", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at_s", INSTANT, nullable=True),
        sa.Column("completed_at_s", INSTANT, nullable=True),
        sa.Column("heard_at_s", INSTANT, nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("verdict_reason", sa.Text(), nullable=True),
        sa.Column("judged_at_s", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("repository", "environment", "deploy_id", name=op.f("pk_deploys")),
    )
    op.create_index(op.f("ix_deploys_heard_at_s"), "deploys", ["heard_at_s"], unique=False)
    op.create_index(
        op.f("ix_deploys_service_completed_at_s"), "deploys", ["service", "completed_at_s"], unique=False
    )
    op.create_index(op.f("ix_deploys_service_sha"), "deploys", ["service", "sha"], unique=False)
    op.create_table(
        "executors",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at_s", INSTANT, nullable=False),
        sa.Column("beat_at_s", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_executors")),
    )
    op.create_index(op.f("ix_executors_role_beat_at_s"), "executors", ["role", "beat_at_s"], unique=False)
    op.create_table(
        "incidents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("deploy_id", sa.Text(), nullable=False),
        sa.Column("sha", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("revert_sha", sa.Text(), nullable=True),
        sa.Column("opened_at_s", INSTANT, nullable=False),
        sa.Column("pushed_at_s", INSTANT, nullable=True),
        sa.Column("closed_at_s", INSTANT, nullable=True),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
    )
    op.create_index(op.f("ix_incidents_opened_at_s"), "incidents", ["opened_at_s"], unique=False)
    op.create_index(
        op.f("ix_incidents_repository_opened_at_s"), "incidents", ["repository", "opened_at_s"], unique=False
    )
    op.create_index(
        op.f("ix_incidents_repository_revert_sha"), "incidents", ["repository", "revert_sha"], unique=False
    )
    op.create_index(
        op.f("ix_incidents_service_pushed_at_s"), "incidents", ["service", "pushed_at_s"], unique=False
    )
    op.create_table(
        "samples",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("at_s", INSTANT, nullable=False),
        sa.Column("sample", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("service", "at_s", name=op.f("pk_samples")),
    )
    op.create_index(op.f("ix_samples_at_s"), "samples", ["at_s"], unique=False)
    op.create_table(
        "switches",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("until_s", INSTANT, nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_at_s", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name", "target", name=op.f("pk_switches")),
    )
    op.create_table(
        "incident_history",
        sa.Column("seq", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("at_s", INSTANT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incidents.id"],
            name=op.f("fk_incident_history_incident_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_incident_history")),
    )
    op.create_index(
        op.f("ix_incident_history_incident_id_seq"), "incident_history", ["incident_id", "seq"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_incident_history_incident_id_seq"), table_name="incident_history")
    op.drop_table("incident_history")
    op.drop_table("switches")
    op.drop_index(op.f("ix_samples_at_s"), table_name="samples")
    op.drop_table("samples")
    op.drop_index(op.f("ix_incidents_service_pushed_at_s"), table_name="incidents")
    op.drop_index(op.f("ix_incidents_repository_revert_sha"), table_name="incidents")
    op.drop_index(op.f("ix_incidents_repository_opened_at_s"), table_name="incidents")
    op.drop_index(op.f("ix_incidents_opened_at_s"), table_name="incidents")
    op.drop_table("incidents")
    op.drop_index(op.f("ix_executors_role_beat_at_s"), table_name="executors")
    op.drop_table("executors")
    op.drop_index(op.f("ix_deploys_service_sha"), table_name="deploys")
    op.drop_index(op.f("ix_deploys_service_completed_at_s"), table_name="deploys")
    op.drop_index(op.f("ix_deploys_heard_at_s"), table_name="deploys")
    op.drop_table("deploys")
    op.drop_index(op.f("ix_deliveries_received_at_s"), table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_table("comments")
    op.drop_index(op.f("ix_audit_incident_id"), table_name="audit")
    op.drop_index(op.f("ix_audit_at_s"), table_name="audit")
    op.drop_table("audit")
