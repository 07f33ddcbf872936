"""A document's trace goes on in whoever ingests it."""

import sqlalchemy as sa

from rag.catalog.migrations.steps import add_columns

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Adds where in which trace a task was accepted."""
    add_columns("tasks", sa.Column("traceparent", sa.String))
