"""What a destination said to each object that was sent to it, and the storage commitments that we asked for.

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "sent_object",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("stored", sa.Boolean(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("times_sent", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("commitment", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_sent_object_job_id_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sent_object")),
        sa.UniqueConstraint("job_id", "destination", "sop_instance_uid", name=op.f("uq_sent_object_job_id")),
    )
    with op.batch_alter_table("sent_object", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sent_object_job_id"), ["job_id"], unique=False)
    op.create_table(
        "commitment_request",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("instances", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("given_up", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_commitment_request_job_id_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment_request")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_commitment_request_transaction_uid")),
    )
    with op.batch_alter_table("commitment_request", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_commitment_request_job_id"), ["job_id"], unique=False)


def downgrade() -> None:
    """Backward."""
    with op.batch_alter_table("commitment_request", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_commitment_request_job_id"))
    op.drop_table("commitment_request")
    with op.batch_alter_table("sent_object", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sent_object_job_id"))
    op.drop_table("sent_object")
