"""Lists accepted documents, each with the task that will ingest it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from rag.catalog.database import Database
from rag.catalog.sql import key_columns, scope_row, utc_now
from rag.catalog.tables import documents, tasks
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

    async def add(
        self,
        db: AsyncConnection,
        scope: Scope,
        job_id: str,
        submissions: Sequence[Submission],
        *,
        bulk: bool,
        expires_at: float | None = None,
    ) -> None:
        """Lists documents as pending; what is stored of them stays until they are ingested."""
        if not submissions:
            return
        now = utc_now()
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
            }
            for each in submissions
        ]
        await db.execute(self._list, listed)
        await db.execute(tasks.insert(), queued)
