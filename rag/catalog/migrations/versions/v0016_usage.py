"""Adds the ledger of what requests and documents use, and the processes that write it."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Makes the tables, and has jobs name who sent them; what was used before is not known."""
    op.create_table(
        "usage",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True),
        *(
            sa.Column(name, sa.String, nullable=False)
            for name in ("writer", "tenant", "key_id", "subject", "feature", "model", "outcome")
        ),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("input_tokens", "output_tokens", "cached_tokens")
        ),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("gpu_seconds", sa.Float, nullable=False),
        sa.Column("cost", sa.Float, nullable=False),
        sa.Column("outlier", sa.Boolean, nullable=False),
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("finished_at", sa.Float),
    )
    op.create_index("usage_by_tenant", "usage", ["tenant", "started_at"])
    under_way = sa.text("outcome = 'open'")
    op.create_index(
        "usage_open",
        "usage",
        ["writer"],
        sqlite_where=under_way,
        postgresql_where=under_way,
    )
    for name in ("key_id", "subject"):
        op.add_column("jobs", sa.Column(name, sa.String, nullable=False, server_default=""))
    op.create_table(
        "usage_writers",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("started_at", sa.Float, nullable=False),
    )
