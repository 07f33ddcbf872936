"""Stores the documents that an answer was made of; its text is removed with any of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
_SLICE = 500
_answers = sa.table(
    "answers",
    sa.column("id", sa.String),
    sa.column("tenant", sa.String),
    sa.column("collection", sa.String),
    sa.column("content", sa.JSON(none_as_null=True)),
)


def upgrade() -> None:
    """Makes the table, and fills it from the stored answers."""
    made = op.create_table(
        "answer_documents",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("collection", sa.String, primary_key=True),
        sa.Column("document_id", sa.String, primary_key=True),
        sa.Column("answer_id", sa.String, primary_key=True),
        sa.Column("version", sa.String, nullable=False),
    )
    op.create_index("answer_documents_by_answer", "answer_documents", ["answer_id"])
    db, last = op.get_bind(), ""
    versions = sa.text(
        "SELECT version FROM documents WHERE tenant = :t AND collection = :c AND id = :d"
    )
    while rows := _next(db, last):
        last = rows[-1].id
        for answer in rows:
            for document in _documents(answer.content):
                found = {"t": answer.tenant, "c": answer.collection, "d": document}
                row = {
                    "tenant": answer.tenant,
                    "collection": answer.collection,
                    "document_id": document,
                    "answer_id": answer.id,
                    "version": db.scalar(versions, found) or "",
                }
                db.execute(made.insert(), row)
    # The text of answers made of documents that are deleted already is removed now.
    db.execute(
        sa.text(
            "UPDATE answers SET content = NULL, trace = NULL, comment = NULL, correction = NULL,"
            " to_score = false WHERE id IN"
            " (SELECT answer_id FROM answer_documents WHERE version = '')"
        )
    )
    db.execute(sa.text("DELETE FROM answer_documents WHERE version = ''"))


def _next(db: sa.Connection, last: str) -> Sequence[sa.Row[Any]]:
    query = _answers.select().where(_answers.c.id > last, _answers.c.content.is_not(None))
    return db.execute(query.order_by(_answers.c.id).limit(_SLICE)).all()


def _documents(content: Mapping[str, Any]) -> set[str]:
    both = [*content.get("passages", ()), *content.get("citations", ())]
    return {each["document_id"] for each in both}
