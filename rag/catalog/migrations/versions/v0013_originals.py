"""Adds the keys of the original files that are kept of documents."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Adds the column and its index; of documents ingested before, no original is kept."""
    op.add_column("documents", sa.Column("original", sa.String))
    op.create_index("documents_kept", "documents", ["original"])
