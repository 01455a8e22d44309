"""Which stored files have a row: asked for every file when storage and record are compared.

Revision: 0007, after 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    with op.batch_alter_table("instance", schema=None) as batch_op:
        batch_op.create_index(op.f("ix_instance_storage_key"), ["storage_key"], unique=False)


def downgrade() -> None:
    """Backward."""
    with op.batch_alter_table("instance", schema=None) as batch_op:
        batch_op.drop_index(op.f("ix_instance_storage_key"))
