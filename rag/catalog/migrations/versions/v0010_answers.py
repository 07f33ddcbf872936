"""Stores the answers that were given, for scores, feedback, `rag eval collect` and drift."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "answers",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("collection", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("to_score", sa.Boolean, nullable=False),
        sa.Column("claimed_at", sa.Float),
        sa.Column("question_chars", sa.Integer, nullable=False),
        sa.Column("top_score", sa.Float),
        sa.Column("reason", sa.String),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("cost", sa.Float, nullable=False),
        sa.Column("spans", sa.JSON, nullable=False),
        sa.Column("content", sa.JSON(none_as_null=True)),
        sa.Column("trace", sa.JSON(none_as_null=True)),
        sa.Column("scores", sa.JSON, nullable=False),
        sa.Column("embedding", sa.LargeBinary),
        sa.Column("rating", sa.String),
        sa.Column("comment", sa.String),
        sa.Column("correction", sa.String),
        if_not_exists=True,
    )
    for column in ("trace_id", "at"):
        op.create_index(f"ix_answers_{column}", "answers", [column], if_not_exists=True)
    waiting = sa.text("to_score")
    op.create_index(
        "answers_to_score",
        "answers",
        ["claimed_at"],
        sqlite_where=waiting,
        postgresql_where=waiting,
        if_not_exists=True,
    )
