"""Documents are parsed by one worker and embedded by another; tasks that expire."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds the stage a task is in, what parsing left for the next, and when it is too late."""
    with op.batch_alter_table("tasks") as tasks:
        tasks.add_column(sa.Column("stage", sa.String, nullable=False, server_default="parse"))
        tasks.add_column(sa.Column("draft", sa.JSON(none_as_null=True)))
        tasks.add_column(sa.Column("expires_at", sa.Float))
