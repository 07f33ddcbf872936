"""Adds rollouts of variants, what was observed of them, and to answers their variant."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Makes the tables; earlier answers are the base's."""
    op.add_column("answers", sa.Column("variant", sa.String, nullable=False, server_default="base"))
    op.add_column("answers", sa.Column("rollout", sa.String))
    op.add_column("answers", sa.Column("rollout_version", sa.Integer))
    which = sa.text("rollout IS NOT NULL")
    op.create_index(
        "answers_by_rollout",
        "answers",
        ["rollout", "rollout_version"],
        sqlite_where=which,
        postgresql_where=which,
    )
    op.create_table(
        "rollouts",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
    )
    op.create_table(
        "rollout_observations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("rollout", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("variant", sa.String, nullable=False),
        sa.Column("paired", sa.Boolean, nullable=False),
        sa.Column("tallies", sa.JSON, nullable=False),
    )
    op.create_table(
        "rollout_writers",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
