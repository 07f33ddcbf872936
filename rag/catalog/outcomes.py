"""The ends of tasks: what was stored of a document, or why nothing was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from rag.catalog.accepting import Accepting
from rag.catalog.acls import write_acl
from rag.catalog.database import Database
from rag.catalog.document_json import structure_of
from rag.catalog.forgetting import forget_versions
from rag.catalog.sql import (
    CHANGE_DOCUMENT,
    CHANGE_OPEN_TASK,
    IS_OPEN,
    document_key,
    key_columns,
    of_document,
    replace_version,
    same_document,
    scope_row,
    the_document,
    utc_now,
)
from rag.catalog.tables import documents, tasks, texts
from rag.catalog.unsettled import Unsettled
from rag.records import Submission, Task
from rag.telemetry import metrics
from rag.types import Document, State

_WANTED_AGAIN = sa.exists().where(
    same_document(documents, tasks), tasks.c.id > sa.bindparam("task_id"), IS_OPEN
)
"""Condition on a document: a task newer than the given one is open."""
_END_DOCUMENT = documents.update().where(the_document(documents), ~_WANTED_AGAIN)


class Outcomes:
    """Ends tasks, and records the state of their documents in the same transaction."""

    def __init__(self, database: Database, unsettled: Unsettled) -> None:
        self._db = database
        self._unsettled = unsettled
        self._accepting = Accepting(database)
        new = database.insert(texts)
        self._store_text = new.on_conflict_do_update(
            index_elements=key_columns(texts),
            set_={"text": new.excluded.text, "structure": new.excluded.structure},
        )

    async def succeed(
        self,
        task: Task,
        document: Document,
        *,
        recipe: str,
        chunks: int,
        duplicate_of: str | None,
        original: str | None = None,
        attachments: Sequence[Submission] = (),
    ) -> None:
        """Stores a document's new state and text, and settles its task as succeeded.

        In the same transaction, its attachments are added to its job.
        """
        values = {
            "title": document.title,
            "media_type": document.media_type,
            "version": document.version,
            "meta": dict(document.meta),
            "recipe": recipe,
            "chunks": chunks,
            "duplicate_of": duplicate_of,
            "original": original,
        }
        text = {
            **scope_row(task.scope),
            "document_id": task.document_id,
            "text": document.text,
            "structure": structure_of(document),
        }
        outcome = "duplicate" if duplicate_of else "stored"

        def store(db: sa.Connection) -> None:
            db.execute(self._store_text, text)
            forget_versions(db, task.scope, task.document_id, but=document.version)
            settle(db, task, "succeeded", outcome=outcome, document=values)
            self._unsettled.unmark(db, task.scope, task.document_id)
            if task.acl is not None:
                write_acl(db, task.scope, {task.document_id: task.acl})
            self._accepting.add(db, task.scope, task.job_id, attachments, bulk=task.bulk)
            replace_version(db, task.scope)

        await self._db.change(store)
        metrics.document(outcome, task.scope.tenant)

    async def unchanged(
        self,
        task: Task,
        document: Document,
        *,
        original: str = "",
        attachments: Sequence[Submission] = (),
    ) -> None:
        """Records that a document has not changed; stores what an older version did not store.

        In the same transaction, its attachments are added to its job.
        """
        mine = of_document(task.scope, task.document_id, texts)
        unkept = texts.update().where(mine, texts.c.structure.is_(None))
        kept = {"original": original} if original else None

        def store(db: sa.Connection) -> None:
            db.execute(unkept.values(structure=structure_of(document)))
            settle(db, task, "succeeded", outcome="unchanged", document=kept)
            self._accepting.add(db, task.scope, task.job_id, attachments, bulk=task.bulk)

        await self._db.change(store)
        metrics.document("unchanged", task.scope.tenant)

    async def skip(self, task: Task, why: str) -> None:
        """Records that nothing here can read a document; its earlier stored state stays."""
        await self._db.change(
            settle, task, "succeeded", error=why, outcome="skipped", listed="skipped"
        )
        metrics.document("skipped", task.scope.tenant)

    async def fail(self, task: Task, error: str) -> None:
        """Records that a document could not be ingested; its earlier stored state stays."""
        await self._db.change(settle, task, "failed", error=error)
        metrics.document("failed", task.scope.tenant)


def settle(
    db: sa.Connection,
    task: Task,
    state: State,
    *,
    error: str | None = None,
    outcome: str | None = None,
    document: Mapping[str, Any] | None = None,
    listed: State | None = None,
) -> None:
    """Ends a task and, unless a newer one is open, its document; `listed` is its state."""
    ended = {"state": state, "error": error, "updated_at": utc_now()}
    of_task = {"task_id": task.id}
    of_its_document = document_key(task.scope, task.document_id)
    db.execute(CHANGE_OPEN_TASK, of_task | ended | {"outcome": outcome, "draft": None})
    if document:
        db.execute(CHANGE_DOCUMENT, of_its_document | dict(document))
    db.execute(_END_DOCUMENT, of_task | of_its_document | ended | {"state": listed or state})
