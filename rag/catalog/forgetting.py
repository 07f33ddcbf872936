"""Removal of the text of stored answers when the documents that they were made of change."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from rag.catalog.database import Database
from rag.catalog.tables import answer_documents, answers, documents, tasks
from rag.types import Scope

FORGOTTEN_SECONDS = 60.0
"""Seconds after which no file of the data folder contains deleted or replaced text."""
_WITHOUT_WORDS = {
    "content": None,
    "trace": None,
    "comment": None,
    "correction": None,
    "to_score": False,
}
_OF_ANSWER = sa.and_(
    documents.c.tenant == answer_documents.c.tenant,
    documents.c.collection == answer_documents.c.collection,
    documents.c.id == answer_documents.c.document_id,
    documents.c.version == answer_documents.c.version,
)


async def forget_text(db: AsyncConnection, scope: Scope, document_id: str) -> None:
    """Removes the text of answers made of a document, and the errors of its tasks.

    Scores, ratings and other measurements of the answers stay. To be called in the transaction
    that deletes the document.
    """
    theirs = _of(scope, document_id)
    await _forget(db, theirs)
    errors = tasks.update().where(
        tasks.c.tenant == scope.tenant,
        tasks.c.collection == scope.collection,
        tasks.c.document_id == document_id,
        tasks.c.error.is_not(None),
    )
    await db.execute(errors.values(error=None))


async def forget_versions(db: AsyncConnection, scope: Scope, document_id: str, *, but: str) -> None:
    """Removes the text of answers made of versions of a document other than `but`."""
    await _forget(db, sa.and_(_of(scope, document_id), answer_documents.c.version != but))


async def forget_late(database: Database, *, since: float) -> None:
    """Removes the text of answers given since `since` whose documents have changed or are deleted.

    An answer may be stored shortly after one of its documents is deleted. If there is no such
    answer, nothing is written.
    """
    recent = answer_documents.c.answer_id.in_(sa.select(answers.c.id).where(answers.c.at >= since))
    late = sa.and_(recent, ~sa.exists().where(_OF_ANSWER))
    if await database.rows(sa.select(answer_documents.c.answer_id).where(late).limit(1)):
        async with database.write() as db:
            await _forget(db, late)


async def _forget(db: AsyncConnection, which: sa.ColumnElement[bool]) -> None:
    theirs = sa.select(answer_documents.c.answer_id).where(which)
    # Locked in one order: otherwise two transactions that share answers could deadlock.
    locked = sa.select(answers.c.id).where(answers.c.id.in_(theirs)).order_by(answers.c.id)
    if not (await db.execute(locked.with_for_update())).first():
        return
    await db.execute(answers.update().where(answers.c.id.in_(theirs)).values(_WITHOUT_WORDS))
    await db.execute(answer_documents.delete().where(which))


def _of(scope: Scope, document_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        answer_documents.c.tenant == scope.tenant,
        answer_documents.c.collection == scope.collection,
        answer_documents.c.document_id == document_id,
    )
