"""Removal of responses of batches when the documents that they have text of change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

from rag.catalog.batch_tables import batch_line_documents, batch_lines
from rag.catalog.sql import same_document, scope_key, scope_row, the_scope
from rag.catalog.tables import documents
from rag.types import Scope

LATE_SECONDS = 120.0
"""Seconds after which no transaction that changes a document can have missed a response."""
CHANGED = {
    "code": "document_changed",
    "message": "A document that the response had text of was deleted or replaced since, and the"
    " response was removed. Send the request again.",
}
_OF_LINE = sa.and_(
    same_document(documents, batch_line_documents),
    documents.c.version == batch_line_documents.c.version,
)

_FIND_DOCUMENTS = sa.select(documents.c.id, documents.c.version, documents.c.updated_at).where(
    the_scope(documents), documents.c.id.in_(sa.bindparam("ids", expanding=True))
)


def unchanged_since(
    db: sa.Connection, scope: Scope, document_ids: Collection[str], at: float
) -> Mapping[str, str] | None:
    """Returns the documents' versions by id; None if one has changed since `at`, or is deleted."""
    if not document_ids:
        return {}
    these = scope_key(scope) | {"ids": sorted(document_ids)}
    rows = db.execute(_FIND_DOCUMENTS, these).mappings().all()
    since = datetime.fromtimestamp(at, UTC)
    changed = any(datetime.fromisoformat(row["updated_at"]) >= since for row in rows)
    if changed or len(rows) < len(document_ids):
        return None
    return {row["id"]: row["version"] for row in rows}


def link(
    db: sa.Connection, scope: Scope, versions: Mapping[str, str], *, batch_id: str, line: int
) -> None:
    """Notes the documents that the response of a line has text of."""
    own = {**scope_row(scope), "batch_id": batch_id, "line": line}
    at = datetime.now(UTC).timestamp()
    if versions:
        rows = [{"document_id": id_, "version": v, "at": at} | own for id_, v in versions.items()]
        db.execute(batch_line_documents.insert(), rows)


def forget_lines(db: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Removes the responses that have text of documents, by a condition on their links."""
    theirs = sa.select(batch_line_documents.c.batch_id, batch_line_documents.c.line).where(which)
    keys = (batch_lines.c.batch_id, batch_lines.c.line)
    lines = sa.tuple_(*keys).in_(theirs)
    # Locked in one order: otherwise two transactions that share lines could deadlock.
    locked = sa.select(*keys).where(lines).order_by(*keys)
    if not db.execute(locked.with_for_update()).first():
        return
    db.execute(batch_lines.update().where(lines).values(response=None, error=CHANGED))
    db.execute(batch_line_documents.delete().where(which))


def forget_late_lines(db: sa.Connection, *, now: float) -> None:
    """Removes recent responses whose documents have changed while they were written."""
    recent = batch_line_documents.c.at >= now - LATE_SECONDS
    late = sa.and_(recent, ~sa.exists().where(_OF_LINE))
    forget_lines(db, late)
