"""Lists accepted documents, each with the task that will ingest it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import sqlalchemy as sa

from rag.catalog.acls import write_readers
from rag.catalog.database import Database
from rag.catalog.sql import acl_of, acl_text, in_scope, key_columns, scope_row, utc_now
from rag.catalog.tables import documents, tasks
from rag.catalog.turns import next_turn
from rag.records import Submission
from rag.types import Scope


class Accepting:
    """Adds documents to a job, in a transaction of the caller."""

    def __init__(self, database: Database) -> None:
        new = database.insert(documents)
        again = {"state": "pending", "error": None}
        sent = {name: new.excluded[name] for name in ("updated_at", "source", "parent")}
        self._list = new.on_conflict_do_update(
            index_elements=key_columns(documents), set_=again | sent
        )

    def add(
        self,
        db: sa.Connection,
        scope: Scope,
        job_id: str,
        submissions: Sequence[Submission],
        *,
        bulk: bool,
        expires_at: float | None = None,
    ) -> None:
        """Lists documents as pending; what is stored of them stays until they are ingested.

        The tenant takes turns with the others (see `rag.catalog.turns`).
        """
        if not submissions:
            return
        now, turns = utc_now(), count(next_turn(db, scope.tenant, bulk=bulk))
        stamp = {**scope_row(scope), "state": "pending", "updated_at": now}
        listed: list[dict[str, object]] = [
            stamp
            | {
                "id": each.document_id,
                "uri": each.uri,
                "title": each.title,
                "source": dict(each.source),
                "parent": each.source.get("parent"),
                "created_at": now,
                "meta": {},
                "acl": acl_text(each.acl),
            }
            for each in submissions
        ]
        queued: list[dict[str, object]] = [
            stamp
            | {
                "job_id": job_id,
                "document_id": each.document_id,
                "source": dict(each.source),
                "bulk": bulk,
                "expires_at": expires_at,
                "traceparent": each.traceparent,
                "turn": next(turns),
                "acl": acl_text(each.acl),
            }
            for each in submissions
        ]
        db.execute(self._list, listed)
        _write_readers(db, scope, [each.document_id for each in submissions if each.acl])
        db.execute(tasks.insert(), queued)


def _write_readers(db: sa.Connection, scope: Scope, document_ids: Sequence[str]) -> None:
    """Writes the readers of documents that were sent with an ACL.

    A document that was there before keeps its ACL until its new content is stored.
    """
    if document_ids:
        theirs = in_scope(scope, documents) & documents.c.id.in_(document_ids)
        rows = db.execute(sa.select(documents.c.id, documents.c.acl).where(theirs))
        write_readers(db, scope, {row.id: acl_of(row.acl) for row in rows})
