"""Conditions, keys and rows that the statements on several tables share."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from rag.catalog.tables import content_versions, documents, tasks
from rag.records import DocumentRecord, Task
from rag.types import Readers, Scope

OPEN = ("pending", "running")
"""States of tasks that have not ended."""
IS_OPEN = sa.or_(*(tasks.c.state == state for state in OPEN))
"""Condition on a task: it has not ended."""


def utc_now() -> str:
    """Returns the time in ISO 8601, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def scope_row(scope: Scope) -> dict[str, str]:
    """Returns the columns of a scope."""
    return {"tenant": scope.tenant, "collection": scope.collection}


def scope_of(row: sa.RowMapping) -> Scope:
    """Returns the scope of a row."""
    return Scope(tenant=row["tenant"], collection=row["collection"])


def in_scope(scope: Scope, table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Returns the condition of the rows of a scope."""
    return sa.and_(table.c.tenant == scope.tenant, table.c.collection == scope.collection)


def of_document(scope: Scope, document_id: str, table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Returns the condition of the rows of one document."""
    return sa.and_(in_scope(scope, table), _document_id(table) == document_id)


def same_scope(one: sa.FromClause, other: sa.FromClause) -> sa.ColumnElement[bool]:
    """Returns the condition that the rows of two tables are of one scope."""
    return sa.and_(one.c.tenant == other.c.tenant, one.c.collection == other.c.collection)


def same_document(one: sa.FromClause, other: sa.FromClause) -> sa.ColumnElement[bool]:
    """Returns the condition that the rows of two tables are of one document."""
    return sa.and_(same_scope(one, other), _document_id(one) == _document_id(other))


# Statements that every document needs are built once: building one takes longer than running it.


def the_scope(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Returns the same condition as `in_scope`, for the parameters that `scope_key` makes."""
    return sa.and_(
        table.c.tenant == sa.bindparam("of_tenant"),
        table.c.collection == sa.bindparam("of_collection"),
    )


def scope_key(scope: Scope) -> dict[str, str]:
    """Returns the parameters of `the_scope`."""
    return {"of_tenant": scope.tenant, "of_collection": scope.collection}


def the_document(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Returns the same condition as `of_document`, for the parameters that `document_key` makes."""
    return sa.and_(the_scope(table), _document_id(table) == sa.bindparam("of_document_id"))


def document_key(scope: Scope, document_id: str) -> dict[str, str]:
    """Returns the parameters of `the_document`."""
    return {**scope_key(scope), "of_document_id": document_id}


def key_columns(table: sa.Table) -> list[str]:
    """Returns the names of a table's key, which an insertion may conflict with."""
    return [column.name for column in table.primary_key]


def document_record(row: sa.RowMapping) -> DocumentRecord:
    """Returns the record of a row of `documents`."""
    values = {field.name: row[field.name] for field in fields(DocumentRecord)}
    return DocumentRecord(**values | {"acl": acl_of(row["acl"])})


def acl_text(acl: Readers | None) -> str | None:
    """Returns an ACL as it is stored: equal ones have equal texts."""
    return None if acl is None else json.dumps(sorted(acl), ensure_ascii=False)


def acl_of(text: str | None) -> Readers | None:
    """Returns the ACL that `acl_text` was given."""
    return None if text is None else frozenset(json.loads(text))


def spool_keys(rows: Iterable[sa.RowMapping]) -> set[str]:
    """Returns the keys of the bytes in the spool that the sources of these rows name."""
    return {key for row in rows for key in keys_of(row["source"])}


def keys_of(source: Mapping[str, Any]) -> set[str]:
    """Returns the keys of a source's bytes in the spool, and of its attachments' if it has some."""
    attached = (each["source"]["spool"] for each in source.get("attachments", ()))
    return {source["spool"], *attached} if "spool" in source else set(attached)


def new_version() -> str:
    """Returns a version of a collection's content that no other has had."""
    return secrets.token_hex(8)


def replace_version(db: sa.Connection, scope: Scope) -> None:
    """Gives a collection's content a new version; to be the last statement of a transaction.

    All transactions lock other rows before this one, so that none waits for another in a circle.
    """
    db.execute(_REPLACE_VERSION, scope_key(scope) | {"new_version": new_version()})


def _document_id(table: sa.FromClause) -> sa.ColumnElement[str]:
    return table.c.id if table is documents else table.c.document_id


# Statements that every document needs are built once: building one takes longer than running it.
THE_TASK = tasks.c.id == sa.bindparam("task_id")
CHANGE_OPEN_TASK = tasks.update().where(THE_TASK, IS_OPEN)
_REPLACE_VERSION = (
    content_versions.update()
    .where(the_scope(content_versions))
    .values(version=sa.bindparam("new_version"))
)
CHANGE_DOCUMENT = documents.update().where(the_document(documents))


def task_of(row: sa.RowMapping) -> Task:
    """Returns the task of a row that has its document's uri and its job's sender."""
    interrupted = row["state"] == "running"
    return Task(
        id=row["id"],
        job_id=row["job_id"],
        scope=scope_of(row),
        document_id=row["document_id"],
        uri=row["uri"],
        source=row["source"],
        attempts=row["attempts"] + interrupted,
        stage=row["stage"],
        accepted_at=datetime.fromisoformat(row["accepted_at"]).timestamp(),
        traceparent=row["traceparent"],
        interrupted=interrupted,
        bulk=row["bulk"],
        key_id=row["key_id"],
        subject=row["subject"],
        acl=acl_of(row["acl"]),
    )
