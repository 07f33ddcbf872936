"""Adds ACLs of documents, defaults of collections, and the callers who sent jobs and asked.

Documents stored before follow the default of their collection: every caller of the tenant may read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Adds the columns and the table."""
    op.add_column("collections", sa.Column("acl", sa.String))
    op.add_column("collections", sa.Column("removed_at", sa.String))
    op.add_column("documents", sa.Column("acl", sa.String))
    op.add_column("tasks", sa.Column("acl", sa.String))
    op.add_column("jobs", sa.Column("reader", sa.String))
    op.add_column("answers", sa.Column("reader", sa.String))
    op.create_table(
        "document_readers",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("collection", sa.String, primary_key=True),
        sa.Column("document_id", sa.String, primary_key=True),
        sa.Column("reader", sa.String, primary_key=True),
    )
