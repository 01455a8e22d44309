"""Faults of our own are counted apart from failures that pass, and a row knows that it only waits for its destination.

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.add_column(sa.Column("faults", sa.Integer(), nullable=False, server_default=sa.text("0")))
        batch_op.add_column(sa.Column("put_off", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Backward."""
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_column("put_off")
        batch_op.drop_column("faults")
