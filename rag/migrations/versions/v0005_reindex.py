"""Documents can be chunked again from what is stored, and that can be taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds what a document is besides its text, and what the index before knew of it."""
    with op.batch_alter_table("texts") as texts:
        texts.add_column(sa.Column("structure", sa.JSON(none_as_null=True)))
    with op.batch_alter_table("documents") as documents:
        documents.add_column(sa.Column("previous", sa.JSON(none_as_null=True)))
    with op.batch_alter_table("collections") as collections:
        collections.add_column(sa.Column("previous_embedder", sa.String))
