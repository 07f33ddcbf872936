"""Supports tasks that are tried again, and tasks that wait in a broker."""

import sqlalchemy as sa

from rag.catalog.migrations.steps import add_columns

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the columns about a task's attempts; times are seconds since the epoch."""
    zero, false = sa.text("0"), sa.false()
    add_columns(
        "tasks",
        sa.Column("attempts", sa.Integer, nullable=False, server_default=zero),
        sa.Column("not_before", sa.Float, nullable=False, server_default=zero),
        sa.Column("bulk", sa.Boolean, nullable=False, server_default=false),
        sa.Column("queued_at", sa.Float),
    )
