"""Indexes tasks by document; no index begins with a value that all rows share.

Before PostgreSQL has analysed a table, it may use such an index for one row and read all rows.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Makes the indexes."""
    for index, column in (("version", "version"), ("original", "duplicate_of")):
        op.drop_index(f"documents_by_{index}", "documents", if_exists=True)
        op.create_index(f"documents_by_{index}", "documents", [column, "tenant", "collection"])
    op.create_index(
        "tasks_by_document", "tasks", ["document_id", "tenant", "collection"], if_not_exists=True
    )
