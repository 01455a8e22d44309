"""A study that waits for images that its sender has: when the sender said so, and the words.

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    with op.batch_alter_table("study", schema=None) as batch_op:
        batch_op.add_column(sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("waits", sa.Text(), nullable=True))


def downgrade() -> None:
    """Backward."""
    with op.batch_alter_table("study", schema=None) as batch_op:
        batch_op.drop_column("waits")
        batch_op.drop_column("asked_at")
