"""Adds batches of requests: their files, their lines, and the documents of their responses."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Makes the tables."""
    _add_files()
    _add_batches()
    _add_lines()
    op.create_table(
        "batch_line_documents",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("collection", sa.String, primary_key=True),
        sa.Column("document_id", sa.String, primary_key=True),
        sa.Column("batch_id", sa.String, primary_key=True),
        sa.Column("line", sa.Integer, primary_key=True),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False, index=True),
    )
    op.create_index("batch_line_documents_by_line", "batch_line_documents", ["batch_id", "line"])


def _add_files() -> None:
    op.create_table(
        "batch_files",
        sa.Column("id", sa.String, primary_key=True),
        *_owner(),
        sa.Column("filename", sa.String, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_index("batch_files_by_tenant", "batch_files", ["tenant", "created_at"])
    op.create_table(
        "batch_file_parts",
        sa.Column("file_id", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("tenant", sa.String, nullable=False, index=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )


def _add_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String, primary_key=True),
        *_owner(),
        sa.Column("caller", sa.JSON, nullable=False),
        sa.Column("endpoint", sa.String, nullable=False),
        sa.Column("metadata", sa.JSON),
        sa.Column("input_file_id", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("error", sa.JSON),
        *(_count(name) for name in ("total", "completed", "failed")),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("cancelling_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("claimed_at", sa.Float, nullable=False),
        sa.Column("due_at", sa.Float, nullable=False),
    )
    op.create_index("batches_by_tenant", "batches", ["tenant", "created_at"])
    which = sa.text("ended_at IS NULL")
    op.create_index(
        "batches_open", "batches", ["tenant"], sqlite_where=which, postgresql_where=which
    )


def _add_lines() -> None:
    op.create_table(
        "batch_lines",
        sa.Column("batch_id", sa.String, primary_key=True),
        sa.Column("line", sa.Integer, primary_key=True),
        sa.Column("tenant", sa.String, nullable=False, index=True),
        sa.Column("custom_id", sa.String),
        sa.Column("body", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("token", sa.String),
        sa.Column("due_at", sa.Float, nullable=False),
        _count("attempts"),
        sa.Column("status", sa.Integer),
        sa.Column("response", sa.String),
        sa.Column("error", sa.JSON),
    )
    which = sa.text("state = 'open'")
    op.create_index(
        "batch_lines_open",
        "batch_lines",
        ["batch_id", "due_at", "line"],
        sqlite_where=which,
        postgresql_where=which,
    )


def _owner() -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String, nullable=False) for name in ("tenant", "key_id", "subject")]


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)
