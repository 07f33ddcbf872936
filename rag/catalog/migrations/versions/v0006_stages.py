"""Supports parsing and embedding by different workers, and tasks that expire."""

import sqlalchemy as sa

from rag.catalog.migrations.steps import add_columns

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds the stage of a task, the result of parsing, and the time when the task expires."""
    add_columns(
        "tasks",
        sa.Column("stage", sa.String, nullable=False, server_default="parse"),
        sa.Column("draft", sa.JSON(none_as_null=True)),
        sa.Column("expires_at", sa.Float),
    )
