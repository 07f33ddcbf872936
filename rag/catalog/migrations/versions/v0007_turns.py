"""Adds indexes that find the next tasks without reading all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Makes the indexes."""
    op.drop_index("ix_tasks_state", "tasks", if_exists=True)
    op.create_index("tasks_by_turn", "tasks", ["state", "bulk", "id"], if_not_exists=True)
    unsent = sa.text("queued_at IS NULL")
    op.create_index(
        "tasks_unsent", "tasks", ["bulk", "id"], postgresql_where=unsent, if_not_exists=True
    )
