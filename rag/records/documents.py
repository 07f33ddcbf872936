"""Records of documents, their tasks, jobs and collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rag.types import (
    Readers,
    Scope,
    Stage,
    State,
    stored_acl,
)

ATTEMPTS = 5
"""Attempts to ingest a document; after the last one it has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A document that is accepted for ingestion: its id, its uri and the place of its bytes.

    `source` is JSON: `{"file": …}` for a file that is read in place, `{"spool": …}` for bytes that
    were sent, `{"url": …, "spool": …}` for bytes that are yet to be fetched. An attachment's source
    names the `parent` that it came with. `traceparent` is the W3C header of the span in which it
    was accepted. With an `acl`, its readers are those from the moment its content is stored;
    without one, it keeps the ACL that it has.
    """

    document_id: str
    uri: str
    source: Mapping[str, Any]
    title: str = ""
    traceparent: str | None = None
    acl: Readers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The ingestion of one document within a job.

    `stage` is the stage that it is in or waits for; `attempts` counts the failed attempts before.
    A task is `interrupted` if it was running when it was read: a process works on it, or died
    doing so. It was accepted at `accepted_at` (seconds since 1970), in the span of `traceparent`.
    No user waits for a `bulk` task. `key_id` and `subject` are those of the caller who sent it.
    """

    id: int
    job_id: str
    scope: Scope
    document_id: str
    uri: str
    source: Mapping[str, Any]
    attempts: int
    stage: Stage
    accepted_at: float
    traceparent: str | None
    interrupted: bool = False
    bulk: bool = False
    key_id: str = ""
    subject: str = ""
    acl: Readers | None = None


class DueTask(NamedTuple):
    """The data of a task that is sent to a broker."""

    id: int
    stage: Stage
    bulk: bool
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTasks:
    """Tasks that wait in a queue or run: their number, seconds since the oldest was accepted."""

    stage: Stage
    bulk: bool
    state: State
    tasks: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Open tasks by queue and state, and the number of documents that failed for good.

    `to_score` counts the answers that wait to be scored; `oldest_to_score_seconds` is the time
    since the oldest of them was given, 0 if there is none. `batch_lines` are those of batches that
    wait, or are under way; `batch_seconds_left` is the time until the first batch of them expires,
    None if there is none.
    """

    groups: tuple[OpenTasks, ...]
    dead_letters: int
    to_score: int
    oldest_to_score_seconds: float
    batch_lines: int
    batch_seconds_left: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRecord:
    """A document as it is listed; `chunks` is the number of its searchable chunks.

    `original` is the key of the file that it was read from, if that is kept. `parent` is the id of
    the document that it is attached to. If its `acl`
    is None, it follows the default of its collection.
    """

    id: str
    uri: str
    title: str
    media_type: str
    state: State
    error: str | None
    version: str
    recipe: str
    meta: Mapping[str, Any]
    chunks: int
    duplicate_of: str | None
    source: Mapping[str, Any]
    original: str | None
    parent: str | None
    acl: Readers | None
    created_at: str
    updated_at: str

    @property
    def words(self) -> Readers:
        """The words of its readers, as an index stores them."""
        return stored_acl(self.acl)

    @property
    def cut(self) -> Cut:
        """The document's version, recipe and chunks in the index."""
        return Cut(
            version=self.version,
            duplicate_of=self.duplicate_of,
            recipe=self.recipe,
            chunks=self.chunks,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A document in a version of the index: its bytes, how they were cut, the number of chunks.

    `duplicate_of` names the document that is indexed for the same bytes; then `chunks` is 0.
    """

    version: str
    duplicate_of: str | None
    recipe: str
    chunks: int


TERMS = "terms-3"
"""Identifies everything that decides the terms of a text; it is the last part of a recipe.

A document whose terms are of another build is found by those that both have.
"""
GONE = Cut(version="", duplicate_of=None, recipe="", chunks=0)
"""The cut of a document that a version of the index should not contain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A switch to another version of an index: its name, its embedder, its cuts by document id."""

    version: str
    embedder: str
    cuts: Mapping[str, Cut]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job: `counts` of its documents by state, `outcomes` of the finished ones by kind.

    `stages` counts the open ones by the stage that they are in or wait for.

    `failures` lists the first failed ones: document_id, uri and error of each. `per_second` is the
    rate of documents that ended since the job was created; `eta_seconds` is the time that the open
    ones take at that rate. Each is None if there is nothing to compute it from.
    """

    id: str
    collection: str
    state: State
    counts: Mapping[str, int]
    stages: Mapping[str, int]
    outcomes: Mapping[str, int]
    failures: Sequence[Mapping[str, str]]
    error: str | None
    per_second: float | None
    eta_seconds: float | None
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRecord:
    """A collection with its numbers of documents and chunks.

    `outdated` counts the documents whose terms another build made: `rag reindex` makes them anew.
    `reread` counts those that an older reader read: ingested again, they are read anew.
    """

    name: str
    embedder: str
    documents: int
    chunks: int
    outdated: int
    reread: int
    created_at: str
