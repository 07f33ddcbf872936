"""Supports chunking documents again from their stored text, and undoing that."""

import sqlalchemy as sa

from rag.catalog.migrations.steps import add_columns

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds columns for a document's structure and for its cut in the previous index."""
    add_columns("texts", sa.Column("structure", sa.JSON(none_as_null=True)))
    add_columns("documents", sa.Column("previous", sa.JSON(none_as_null=True)))
    add_columns("collections", sa.Column("previous_embedder", sa.String))
