"""Indexes tasks by state and stage: a backlog is counted without reading the tasks themselves."""

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Makes the index."""
    op.create_index("tasks_by_stage", "tasks", ["state", "stage", "bulk", "job_id"])
