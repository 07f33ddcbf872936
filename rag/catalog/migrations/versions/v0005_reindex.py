"""Documents can be chunked again from what is stored, and that can be taken back."""

import sqlalchemy as sa

from rag.catalog.migrations.steps import add_columns

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds what a document is besides its text, and what the index before knew of it."""
    add_columns("texts", sa.Column("structure", sa.JSON(none_as_null=True)))
    add_columns("documents", sa.Column("previous", sa.JSON(none_as_null=True)))
    add_columns("collections", sa.Column("previous_embedder", sa.String))
