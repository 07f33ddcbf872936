"""Adds the turns of tasks, by which tenants share the queue."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Adds the column, and puts it into the indexes; tasks that wait come first."""
    unsent, waits = sa.text("queued_at IS NULL"), sa.text("state = 'pending'")
    op.add_column("tasks", sa.Column("turn", sa.Integer, nullable=False, server_default="0"))
    op.drop_index("tasks_by_turn", "tasks")
    op.drop_index("tasks_unsent", "tasks")
    op.create_index("tasks_by_turn", "tasks", ["state", "bulk", "turn", "id"])
    op.create_index("tasks_unsent", "tasks", ["bulk", "turn", "id"], postgresql_where=unsent)
    op.create_index(
        "tasks_of_tenant",
        "tasks",
        ["tenant", "bulk", "turn"],
        sqlite_where=waits,
        postgresql_where=waits,
    )
