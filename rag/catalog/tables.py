"""The catalog's tables."""

from __future__ import annotations

import sqlalchemy as sa

import rag.catalog.batch_tables  # noqa: F401 - its tables are among those of the metadata
from rag.catalog.schema import metadata, scope_columns

_BYTES = sa.String().with_variant(sa.String(collation="C"), "postgresql")
"""Text that is compared byte by byte, so that a prefix is a range."""
_FAILED = sa.text("state = 'failed'")
IS_PENDING = sa.text("state = 'pending'")
"""The condition of a partial index; PostgreSQL and SQLite use it only for the same condition."""
TO_SCORE = sa.text("to_score")
"""The condition of the partial index; SQLite uses that index only for the same condition."""
UNANNOUNCED = sa.text("NOT announced")
"""The same, of the jobs whose end was not made into messages yet."""
_RATED = sa.text("rating IS NOT NULL")
_ROLLED_OUT = sa.text("rollout IS NOT NULL")
collections = sa.Table(
    "collections",
    metadata,
    *scope_columns(),
    sa.Column("embedder", sa.String, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("previous_embedder", sa.String),
    sa.Column("next_version", sa.String),
    sa.Column("next_embedder", sa.String),
    sa.Column("acl", sa.String),
    sa.Column("removed_at", sa.String),
)
content_versions = sa.Table(
    "content_versions",
    metadata,
    *scope_columns(),
    sa.Column("version", sa.String, nullable=False),
)
"""The versions of collections' contents (`rag.catalog.content_versions`)."""
documents = sa.Table(
    "documents",
    metadata,
    *scope_columns(),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("uri", _BYTES, nullable=False),
    sa.Column("title", sa.String, nullable=False, default=""),
    sa.Column("media_type", sa.String, nullable=False, default=""),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("error", sa.String),
    sa.Column("version", sa.String, nullable=False, default=""),
    sa.Column("recipe", sa.String, nullable=False, default=""),
    sa.Column("meta", sa.JSON, nullable=False, default=dict),
    sa.Column("chunks", sa.Integer, nullable=False, default=0),
    sa.Column("duplicate_of", sa.String),
    sa.Column("source", sa.JSON, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("updated_at", sa.String, nullable=False),
    sa.Column("previous", sa.JSON(none_as_null=True)),
    sa.Column("original", sa.String),
    sa.Column("parent", sa.String),
    sa.Column("acl", sa.String),
    # SP-GiST takes uris of any length; a B-tree of PostgreSQL is limited to 2.7 kB.
    sa.Index("documents_by_uri", "uri", postgresql_using="spgist"),
    sa.Index("documents_by_version", "version", "tenant", "collection"),
    sa.Index("documents_by_original", "duplicate_of", "tenant", "collection"),
    sa.Index("documents_kept", "original"),
    sa.Index("documents_by_parent", "parent", "tenant", "collection"),
    sa.Index("documents_failed", "id", sqlite_where=_FAILED, postgresql_where=_FAILED),
)
document_readers = sa.Table(
    "document_readers",
    metadata,
    *scope_columns(),
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("reader", sa.String, primary_key=True),
    sa.Index("document_readers_by_reader", "reader", "tenant", "collection"),
)
"""The words in the ACLs of documents: those of `documents.acl`, a row for each."""
texts = sa.Table(
    "texts",
    metadata,
    *scope_columns(),
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("structure", sa.JSON(none_as_null=True)),
)
unsettled = sa.Table(
    "unsettled",
    metadata,
    *scope_columns(),
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("version", sa.String, nullable=False, default=""),
    sa.Column("recipe", sa.String, nullable=False, default=""),
    sa.Column("chunks", sa.Integer, nullable=False, default=0),
    sa.Column("switches", sa.Integer, nullable=False, server_default="0"),
)
staged = sa.Table(
    "staged",
    metadata,
    *scope_columns(),
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("cut", sa.JSON, nullable=False),
    sa.Column("seen", sa.String),
)
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("cancelled", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("key_id", sa.String, nullable=False, server_default=""),
    sa.Column("subject", sa.String, nullable=False, server_default=""),
    sa.Column("reader", sa.String),
    sa.Column("announced", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("jobs_unannounced", "id", sqlite_where=UNANNOUNCED, postgresql_where=UNANNOUNCED),
    sa.Index("jobs_by_tenant", "tenant", "created_at"),
)
webhook_messages = sa.Table(
    "webhook_messages",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("webhook", sa.String, nullable=False),
    sa.Column("body", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("not_before", sa.Float, nullable=False),
)
"""The messages that receivers have not taken yet."""
tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job_id", sa.String, sa.ForeignKey("jobs.id"), nullable=False, index=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("document_id", sa.String, nullable=False),
    sa.Column("source", sa.JSON, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("error", sa.String),
    sa.Column("outcome", sa.String),
    sa.Column("updated_at", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("not_before", sa.Float, nullable=False, server_default=sa.text("0")),
    sa.Column("bulk", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("queued_at", sa.Float),
    sa.Column("stage", sa.String, nullable=False, server_default="parse"),
    sa.Column("draft", sa.JSON(none_as_null=True)),
    sa.Column("expires_at", sa.Float),
    sa.Column("traceparent", sa.String),
    sa.Column("acl", sa.String),
    sa.Column("turn", sa.Integer, nullable=False, server_default="0"),
    sa.Index("tasks_by_turn", "state", "bulk", "turn", "id"),
    sa.Index("tasks_by_stage", "state", "stage", "bulk", "job_id"),
    sa.Index("tasks_unsent", "bulk", "turn", "id", postgresql_where=sa.text("queued_at IS NULL")),
    sa.Index(
        "tasks_of_tenant",
        *("tenant", "bulk", "turn"),
        sqlite_where=IS_PENDING,
        postgresql_where=IS_PENDING,
    ),
    sa.Index("tasks_by_document", "document_id", "tenant", "collection"),
)

answers = sa.Table(
    "answers",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("trace_id", sa.String, nullable=False, index=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("to_score", sa.Boolean, nullable=False),
    sa.Column("claimed_at", sa.Float),
    sa.Column("question_chars", sa.Integer, nullable=False),
    sa.Column("top_score", sa.Float),
    sa.Column("reason", sa.String),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("cost", sa.Float, nullable=False),
    sa.Column("spans", sa.JSON, nullable=False),
    sa.Column("content", sa.JSON(none_as_null=True)),
    sa.Column("trace", sa.JSON(none_as_null=True)),
    sa.Column("scores", sa.JSON, nullable=False, default=dict),
    sa.Column("embedding", sa.LargeBinary),
    sa.Column("rating", sa.String),
    sa.Column("comment", sa.String),
    sa.Column("correction", sa.String),
    sa.Column("reader", sa.String),
    sa.Column("degraded", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("input_tokens", sa.Integer, nullable=False, server_default="0"),
    sa.Column("output_tokens", sa.Integer, nullable=False, server_default="0"),
    sa.Column("variant", sa.String, nullable=False, server_default="base"),
    sa.Column("rollout", sa.String),
    sa.Column("rollout_version", sa.Integer),
    sa.Index(
        "answers_by_rollout",
        *("rollout", "rollout_version"),
        sqlite_where=_ROLLED_OUT,
        postgresql_where=_ROLLED_OUT,
    ),
    sa.Index("answers_to_score", "claimed_at", sqlite_where=TO_SCORE, postgresql_where=TO_SCORE),
    sa.Index("answers_by_tenant", "tenant", "at"),
    sa.Index("answers_rated", "tenant", "at", sqlite_where=_RATED, postgresql_where=_RATED),
)
answer_documents = sa.Table(
    "answer_documents",
    metadata,
    *scope_columns(),
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("answer_id", sa.String, primary_key=True),
    sa.Column("version", sa.String, nullable=False),
    sa.Index("answer_documents_by_answer", "answer_id"),
)
"""The documents that answers were made of, with their versions, until one of them changes."""
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("collections", sa.JSON(none_as_null=True)),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("groups", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float),
    sa.Column("revoked_at", sa.Float),
    sa.Column("last_used_at", sa.Float),
    sa.Column("previous_digest", sa.String),
    sa.Column("previous_until", sa.Float),
)
"""The keys of callers, by their digests: the keys themselves are stored nowhere."""
refused_tokens = sa.Table(
    "refused_tokens",
    metadata,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("value", sa.String, primary_key=True),
    sa.Column("refused_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)
"""Tokens that are refused before they expire: one by its id, or all earlier ones of a subject."""

OPEN_USAGE = sa.text("outcome = 'open'")
usage = sa.Table(
    "usage",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True),
    sa.Column("writer", sa.String, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("key_id", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("feature", sa.String, nullable=False),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False),
    sa.Column("estimated", sa.Boolean, nullable=False),
    sa.Column("gpu_seconds", sa.Float, nullable=False),
    sa.Column("cost", sa.Float, nullable=False),
    sa.Column("outlier", sa.Boolean, nullable=False),
    sa.Column("trace_id", sa.String, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float),
    sa.Index("usage_by_tenant", "tenant", "started_at"),
    sa.Index("usage_open", "writer", sqlite_where=OPEN_USAGE, postgresql_where=OPEN_USAGE),
)
"""The ledger: a row for each request and document, and another for each further model of it."""
usage_writers = sa.Table(
    "usage_writers",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("started_at", sa.Float, nullable=False),
)
"""The processes that write the ledger, until they have closed it."""
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.String, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("object", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("detail", sa.String, nullable=False),
    sa.Column("key_id", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("address", sa.String, nullable=False),
    sa.Column("request_id", sa.String, nullable=False),
    sa.Column("hash", sa.String, nullable=False),
    sa.Index("audit_by_id", "id", unique=True),
    sa.Index("audit_by_time", "tenant", "at_ms"),
)
"""The audit log: a chain of rows for each tenant, and one, of the tenant "", for the service."""
audit_heads = sa.Table(
    "audit_heads",
    metadata,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("hash", sa.String, nullable=False),
)
"""The last row of each chain."""
rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
)
"""The rollouts of variants, which are of the whole service."""
rollout_observations = sa.Table(
    "rollout_observations",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("variant", sa.String, nullable=False),
    sa.Column("paired", sa.Boolean, nullable=False),
    sa.Column("tallies", sa.JSON, nullable=False),
)
"""What processes saw of rollouts, until it is added to their evidence."""
rollout_writers = sa.Table(
    "rollout_writers",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
"""The processes that observe, with the number of the last batch of each that is stored."""
