"""The tables of batches: their files, their lines, and the documents of their responses."""

from __future__ import annotations

import sqlalchemy as sa

from rag.catalog.schema import metadata, scope_columns

batch_files = sa.Table(
    "batch_files",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("key_id", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("filename", sa.String, nullable=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("batch_files_by_tenant", "tenant", "created_at"),
)
"""The files of requests that callers have sent."""
batch_file_parts = sa.Table(
    "batch_file_parts",
    metadata,
    sa.Column("file_id", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False, index=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)
"""Their content, in parts of bounded size, so that none is in memory as a whole when it is read."""
NOT_ENDED = sa.text("ended_at IS NULL")
"""The condition of the partial index; SQLite uses that index only for the same condition."""
batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("key_id", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("caller", sa.JSON, nullable=False),
    sa.Column("endpoint", sa.String, nullable=False),
    sa.Column("metadata", sa.JSON(none_as_null=True)),
    sa.Column("input_file_id", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("completed", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("cancelling_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("claimed_at", sa.Float, nullable=False),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Index("batches_by_tenant", "tenant", "created_at"),
    sa.Index("batches_open", "tenant", sqlite_where=NOT_ENDED, postgresql_where=NOT_ENDED),
)
"""Batches of requests. None of their lines is claimed before `due_at`."""
OPEN_LINE = sa.text("state = 'open'")
"""The condition of the partial index; SQLite uses that index only for the same condition."""
batch_lines = sa.Table(
    "batch_lines",
    metadata,
    sa.Column("batch_id", sa.String, primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False, index=True),
    sa.Column("custom_id", sa.String),
    sa.Column("body", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("token", sa.String),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("response", sa.String),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Index(
        "batch_lines_open",
        *("batch_id", "due_at", "line"),
        sqlite_where=OPEN_LINE,
        postgresql_where=OPEN_LINE,
    ),
)
"""The requests of batches. `due_at` is when an open line may be claimed: for one that is claimed,
by a `token`, the end of its lease.
"""
batch_line_documents = sa.Table(
    "batch_line_documents",
    metadata,
    *scope_columns(),
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("batch_id", sa.String, primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Index("batch_line_documents_by_line", "batch_id", "line"),
)
"""The documents that responses have text of, with their versions, until one of them changes."""
