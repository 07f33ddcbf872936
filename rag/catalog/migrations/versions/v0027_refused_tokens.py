"""Adds tokens of issuers that are refused before they expire."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "refused_tokens",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("value", sa.String, primary_key=True),
        sa.Column("refused_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
