"""Tasks are found by their documents, and no index begins with what all rows share.

PostgreSQL, before it knows a table, may take such an index for one row and read them all.
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
