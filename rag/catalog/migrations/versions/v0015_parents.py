"""Adds the ids of the documents that others are attached to."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Adds the column and its index; documents ingested before are attached to none."""
    op.add_column("documents", sa.Column("parent", sa.String))
    op.create_index("documents_by_parent", "documents", ["parent", "tenant", "collection"])
