"""Documents of a catalog: submitted, claimed and stored."""

from __future__ import annotations

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
