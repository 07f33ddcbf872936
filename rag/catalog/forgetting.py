"""Removes what goes with a document's text: the words of kept answers that were made of it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from rag.catalog.database import Database
from rag.catalog.tables import answer_documents, answers, documents, tasks
from rag.types import Scope

FORGOTTEN_SECONDS = 60.0
"""After so long no file of the data folder holds what was deleted or replaced."""
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
    """Removes the words of answers made of a document, and errors of its tasks.

    Scores, ratings and what else is counted of the answers stay. It is for the transaction that
    deletes the document.
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
    """Removes the words of answers made of other versions of a document than the one named."""
    await _forget(db, sa.and_(_of(scope, document_id), answer_documents.c.version != but))


async def forget_late(database: Database, *, since: float) -> None:
    """Removes the words of answers given since then whose documents are no more what they were.

    An answer may be kept a moment after a document that it was made of is deleted. Where none was,
    nothing is written.
    """
    recent = answer_documents.c.answer_id.in_(sa.select(answers.c.id).where(answers.c.at >= since))
    late = sa.and_(recent, ~sa.exists().where(_OF_ANSWER))
    if await database.rows(sa.select(answer_documents.c.answer_id).where(late).limit(1)):
        async with database.write() as db:
            await _forget(db, late)


async def _forget(db: AsyncConnection, which: sa.ColumnElement[bool]) -> None:
    theirs = sa.select(answer_documents.c.answer_id).where(which)
    # In one order: else two transactions that share answers could wait for each other for ever.
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
