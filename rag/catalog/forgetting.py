"""Removal of the text of stored answers when the documents that they were made of change."""

from __future__ import annotations

import sqlalchemy as sa

from rag.catalog.batch_forgetting import forget_lines
from rag.catalog.batch_tables import batch_line_documents
from rag.catalog.database import Database, Transaction
from rag.catalog.sql import document_key, of_document, same_document, the_document
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
    same_document(documents, answer_documents),
    documents.c.version == answer_documents.c.version,
)
IS_STALE = sa.exists().where(
    answer_documents.c.answer_id == answers.c.id,
    ~sa.exists().where(_OF_ANSWER).correlate(answer_documents),
)
"""Condition on an answer: a document of it was changed or deleted, and its text not removed yet."""
_FIND_OTHER_VERSION = (
    sa.select(answer_documents.c.answer_id)
    .where(the_document(answer_documents), answer_documents.c.version != sa.bindparam("but"))
    .limit(1)
)
_FIND_LINKED_LINE = (
    sa.select(batch_line_documents.c.line)
    .where(
        the_document(batch_line_documents), batch_line_documents.c.version != sa.bindparam("but")
    )
    .limit(1)
)


async def forget_text(db: Transaction, scope: Scope, document_id: str) -> None:
    """Removes the text of answers and of responses of batches, and the errors of its tasks.

    Scores, ratings and other measurements of the answers stay. To be called in the transaction
    that deletes the document.
    """
    await db.run_sync(_forget, of_document(scope, document_id, answer_documents))
    await db.run_sync(forget_lines, of_document(scope, document_id, batch_line_documents))
    its = of_document(scope, document_id, tasks)
    errors = tasks.update().where(its, tasks.c.error.is_not(None))
    await db.execute(errors.values(error=None))


def forget_versions(db: sa.Connection, scope: Scope, document_id: str, *, but: str) -> None:
    """Removes the text of answers made of versions of a document other than `but`."""
    other = document_key(scope, document_id) | {"but": but}
    if db.execute(_FIND_LINKED_LINE, other).first():
        linked = of_document(scope, document_id, batch_line_documents)
        forget_lines(db, linked & (batch_line_documents.c.version != but))
    if db.execute(_FIND_OTHER_VERSION, other).first():
        its = of_document(scope, document_id, answer_documents)
        _forget(db, its & (answer_documents.c.version != but))


async def forget_late(database: Database, *, since: float) -> None:
    """Removes the text of answers given since `since` whose documents have changed or are deleted.

    They are of all tenants. An answer may be stored shortly after one of its documents is deleted.
    If there is no such answer, nothing is written.
    """
    recent = answer_documents.c.answer_id.in_(sa.select(answers.c.id).where(answers.c.at >= since))
    late = sa.and_(recent, ~sa.exists().where(_OF_ANSWER))
    if await database.rows(sa.select(answer_documents.c.answer_id).where(late).limit(1)):
        async with database.write() as db:
            await db.run_sync(_forget, late)


def _forget(db: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    theirs = sa.select(answer_documents.c.answer_id).where(which)
    # Locked in one order: otherwise two transactions that share answers could deadlock.
    locked = sa.select(answers.c.id).where(answers.c.id.in_(theirs)).order_by(answers.c.id)
    if not db.execute(locked.with_for_update()).first():
        return
    db.execute(answers.update().where(answers.c.id.in_(theirs)).values(_WITHOUT_WORDS))
    db.execute(answer_documents.delete().where(which))
