"""Adds what listings of answers and of jobs read: indexes by tenant, tokens, degraded stages.

Of answers that were given before, neither tokens nor degraded stages are known: they have none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Adds the columns and the indexes."""
    rated = sa.text("rating IS NOT NULL")
    op.add_column("answers", sa.Column("degraded", sa.JSON, nullable=False, server_default="[]"))
    for name in ("input_tokens", "output_tokens"):
        op.add_column("answers", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    op.create_index("answers_by_tenant", "answers", ["tenant", "at"])
    op.create_index(
        "answers_rated", "answers", ["tenant", "at"], sqlite_where=rated, postgresql_where=rated
    )
    op.create_index("jobs_by_tenant", "jobs", ["tenant", "created_at"])
