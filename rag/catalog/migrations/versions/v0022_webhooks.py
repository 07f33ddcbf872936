"""Adds messages to receivers of webhooks, and to jobs whether their end was announced."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Makes the table; of earlier jobs, nobody is told."""
    op.add_column(
        "jobs", sa.Column("announced", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.execute(sa.text("UPDATE jobs SET announced = true"))
    which = sa.text("NOT announced")
    op.create_index("jobs_unannounced", "jobs", ["id"], sqlite_where=which, postgresql_where=which)
    op.create_table(
        "webhook_messages",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("webhook", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Float, nullable=False),
    )
