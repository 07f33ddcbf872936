"""Documents of a catalog: submitted, claimed and stored. Its tables, described."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rag.catalog.catalog import Catalog
from rag.records import Submission, Task
from rag.types import Document, Scope


def submission(name: str, **source: str) -> Submission:
    return Submission(
        document_id=name, uri=f"file:///{name}", source=source or {"path": f"/{name}"}, title=name
    )


def document(name: str, text: str = "text") -> Document:
    return Document(
        id=name,
        version=f"sha of {text}",
        uri=f"file:///{name}",
        media_type="text/plain",
        title=f"Title of {name}",
        text=text,
        meta={"n": 1, "tags": ("x", "y"), "draft": True},
    )


async def submit(catalog: Catalog, scope: Scope, *names: str) -> tuple[str, list[Task]]:
    """A job whose tasks are claimed."""
    await catalog.collections.claim(scope, "embedder-1")
    job = await catalog.jobs.submit(scope, [submission(name) for name in names])
    return job, await catalog.tasks.claim(100)


async def store(
    catalog: Catalog, scope: Scope, name: str, text: str = "text", duplicate_of: str | None = None
) -> None:
    _, [task] = await submit(catalog, scope, name)
    await succeed(catalog, task, text, duplicate_of=duplicate_of)


async def succeed(
    catalog: Catalog, task: Task, text: str = "text", *, duplicate_of: str | None = None
) -> None:
    await catalog.outcomes.succeed(
        task,
        document(task.document_id, text),
        recipe="recipe",
        chunks=0 if duplicate_of else 3,
        duplicate_of=duplicate_of,
    )


def described(connection: sa.Connection) -> dict[str, Any]:
    """Returns each table's columns, keys and indexes; columns that came later may be the last."""
    inspector, known = sa.inspect(connection), sa.MetaData()
    known.reflect(connection)
    return {
        name: (
            sorted(repr(column) for column in inspector.get_columns(name)),
            inspector.get_pk_constraint(name),
            inspector.get_foreign_keys(name),
            inspector.get_unique_constraints(name),
            sorted(
                str(sa.schema.CreateIndex(index).compile(connection)) for index in table.indexes
            ),
        )
        for name, table in known.tables.items()
    }
