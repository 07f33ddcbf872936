"""Adds to a mark the number of switches of the index that it has outlived."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Adds the column; no switch is under way."""
    op.add_column(
        "unsettled", sa.Column("switches", sa.Integer, nullable=False, server_default="0")
    )
