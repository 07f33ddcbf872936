"""Records changes of the index before they begin, so that a killed one can be repaired."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Makes the tables of changes under way, and adds the version that is being switched to."""
    op.create_table(
        "unsettled",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("collection", sa.String, primary_key=True),
        sa.Column("document_id", sa.String, primary_key=True),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("recipe", sa.String, nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
    )
    op.create_table(
        "staged",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("collection", sa.String, primary_key=True),
        sa.Column("document_id", sa.String, primary_key=True),
        sa.Column("cut", sa.JSON, nullable=False),
        sa.Column("seen", sa.String),
    )
    op.add_column("collections", sa.Column("next_version", sa.String))
    op.add_column("collections", sa.Column("next_embedder", sa.String))
