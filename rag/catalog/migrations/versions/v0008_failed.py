"""Adds an index that counts failed documents without reading all documents."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Makes the index."""
    failed = sa.text("state = 'failed'")
    op.create_index(
        "documents_failed",
        "documents",
        ["id"],
        sqlite_where=failed,
        postgresql_where=failed,
        if_not_exists=True,
    )
