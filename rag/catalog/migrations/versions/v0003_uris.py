"""Adds the index to list documents by the prefix of their uris."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Makes the index; PostgreSQL compares uris by their bytes from now on, as SQLite does."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("documents", "uri", type_=sa.String(collation="C"))
    op.create_index(
        "documents_by_uri", "documents", ["uri"], postgresql_using="spgist", if_not_exists=True
    )
