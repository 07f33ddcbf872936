"""A document's trace goes on in whoever ingests it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Adds where in which trace a task was accepted."""
    with op.batch_alter_table("tasks") as tasks:
        tasks.add_column(sa.Column("traceparent", sa.String))
