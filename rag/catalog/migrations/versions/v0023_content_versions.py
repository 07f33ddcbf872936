"""Adds the versions of collections' contents, by which answers are cached."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Makes the table, and finds documents by their readers."""
    op.create_table(
        "content_versions",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("collection", sa.String, primary_key=True),
        sa.Column("version", sa.String, nullable=False),
    )
    op.execute(
        sa.text("INSERT INTO content_versions SELECT tenant, collection, '' FROM collections")
    )
    op.create_index(
        "document_readers_by_reader", "document_readers", ["reader", "tenant", "collection"]
    )
