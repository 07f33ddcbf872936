"""Continues a document's trace in the process that ingests it."""

import sqlalchemy as sa

from rag.catalog.migrations.steps import add_columns

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Adds the trace and the span in which a task was accepted."""
    add_columns("tasks", sa.Column("traceparent", sa.String))
