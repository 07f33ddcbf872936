"""The catalog. Its tables may be there already: they are older than the migrations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "collections",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("collection", sa.String, primary_key=True),
        sa.Column("embedder", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "documents",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("collection", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("uri", sa.String, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("media_type", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("error", sa.String),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("recipe", sa.String, nullable=False),
        sa.Column("meta", sa.JSON, nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("duplicate_of", sa.String),
        sa.Column("source", sa.JSON, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "texts",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("collection", sa.String, primary_key=True),
        sa.Column("document_id", sa.String, primary_key=True),
        sa.Column("text", sa.String, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("collection", sa.String, nullable=False),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("job_id", sa.String, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("collection", sa.String, nullable=False),
        sa.Column("document_id", sa.String, nullable=False),
        sa.Column("source", sa.JSON, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("error", sa.String),
        sa.Column("outcome", sa.String),
        sa.Column("updated_at", sa.String, nullable=False),
        if_not_exists=True,
    )
    for name, table, columns in (
        ("documents_by_version", "documents", ["tenant", "collection", "version"]),
        ("documents_by_original", "documents", ["tenant", "collection", "duplicate_of"]),
        ("ix_tasks_job_id", "tasks", ["job_id"]),
        ("ix_tasks_state", "tasks", ["state"]),
    ):
        op.create_index(name, table, columns, if_not_exists=True)
