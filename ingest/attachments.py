"""The attachments of a document: each becomes a document of its own, with an id below the first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from urllib.parse import quote

from ingest.sources.files import TenantSpool
from rag.records import Submission, Task
from rag.types import Document

FOLDER = "attachments"
_LONGEST_NAME = 120


def submissions(task: Task, document: Document, spool: TenantSpool) -> list[Submission]:
    """Returns the submissions of a document's attachments; `store` writes their bytes."""
    depth = task.source.get("depth", 0) + 1
    below = f"{task.uri}{'#' if depth == 1 else '/'}{FOLDER}"
    taken: set[str] = set()
    found = []
    for attachment in document.attachments:
        place = _place(attachment.name, taken)
        source = {
            "spool": spool.new_key(),
            "name": attachment.name,
            "parent": task.document_id,
            "depth": depth,
            "meta": {**attachment.meta, "parent": task.document_id},
        }
        found.append(
            Submission(
                document_id=f"{task.document_id}/{FOLDER}/{place}",
                uri=f"{below}/{quote(place, safe='')}",
                source=source,
                title=attachment.name,
            )
        )
    return found


def noted(task: Task) -> list[Submission]:
    """Returns the submissions that an earlier stage noted in a task."""
    return [Submission(**each) for each in task.source.get("attachments", ())]


def store(document: Document, submitted: Sequence[Submission], spool: TenantSpool) -> None:
    """Writes the attachments' bytes.

    Raises:
        StorageError: The disk is full.
    """
    for attachment, submission in zip(document.attachments, submitted, strict=True):
        spool.write(submission.source["spool"], attachment.data)


def _place(name: str, taken: set[str]) -> str:
    """Returns a name that no other attachment has: the second `a.txt` is `2-a.txt`.

    It depends on the attachments of the same name alone, so that others may come and go.
    """
    plain = name.replace("/", "_")[-_LONGEST_NAME:]
    for number in count(1):
        place = plain if number == 1 else f"{number}-{plain}"
        if place not in taken:
            break
    taken.add(place)
    return place
