"""The responses of the endpoints of documents, jobs and collections."""

from __future__ import annotations

from typing import Any, Literal

from .responses import Response

State = (
    Literal["pending", "running", "succeeded", "failed", "cancelled", "skipped", "partial"] | str
)


class AcceptedDocument(Response):
    """An accepted document."""

    id: str
    state: State


class Accepted(Response):
    """A job that will ingest documents. `notices` has what the sender should know."""

    job_id: str
    documents: list[AcceptedDocument]
    notices: list[str]


class Job(Response):
    """A job.

    `counts` has its documents by state and their `total`, `stages` the open ones by stage,
    `outcomes` the finished ones by their result, `failures` the first of the failed: document_id,
    uri, error. `per_second` is the documents that ended, since the job was made, and `eta_seconds`
    the time for the open ones at that rate.
    """

    id: str
    collection: str
    state: State
    counts: dict[str, int]
    stages: dict[str, int]
    outcomes: dict[str, int]
    failures: list[dict[str, str]]
    error: str | None
    per_second: float | None
    eta_seconds: float | None
    created_at: str
    updated_at: str

    @property
    def ended(self) -> bool:
        """True once no document of the job is waiting or being read."""
        return self.state not in ("pending", "running")


class JobPage(Response):
    """Jobs, newest first; `next_cursor` is None on the last page."""

    jobs: list[Job]
    next_cursor: str | None

    @property
    def items(self) -> list[Job]:
        """The jobs."""
        return self.jobs


class Document(Response):
    """A document and its state; `chunks` counts its searchable chunks.

    `parent` is the document that it is attached to.
    """

    id: str
    uri: str
    title: str
    media_type: str
    state: State
    error: str | None
    version: str
    meta: dict[str, Any]
    chunks: int
    duplicate_of: str | None
    parent: str | None
    created_at: str
    updated_at: str


class DocumentPage(Response):
    """Documents in the order of their ids; `next_cursor` is None on the last page."""

    documents: list[Document]
    next_cursor: str | None

    @property
    def items(self) -> list[Document]:
        """The documents."""
        return self.documents


class Chunk(Response):
    """A span of a document."""

    id: str
    position: int
    text: str
    page: int | None
    start: int
    end: int
    headings: list[str]


class ChunkPage(Response):
    """Chunks in the order of the text; `next_cursor` is None on the last page."""

    chunks: list[Chunk]
    next_cursor: str | None

    @property
    def items(self) -> list[Chunk]:
        """The chunks."""
        return self.chunks


class Acl(Response):
    """The callers who may read a document; `inherited` if it is the default of the collection."""

    users: list[str]
    groups: list[str]
    public: bool
    inherited: bool


class Collection(Response):
    """A collection and how much is in it.

    `rag reindex` would index the `outdated` documents better. An older reader read those in
    `reread`: ingest them again.
    """

    name: str
    embedder: str
    documents: int
    chunks: int
    outdated: int
    reread: int
    created_at: str


class CollectionList(Response):
    """All collections, by name."""

    collections: list[Collection]
