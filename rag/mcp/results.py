"""The results of the tools, and the functions that make them of responses of the REST API."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field

from rag.mcp.names import DocumentName, collection_uri
from rag.mcp.rest import Json

_SCHEME = re.compile("[A-Za-z][A-Za-z0-9+.-]*:")
CLOSEST = 3
"""Passages beside an abstention: what comes closest to an answer."""


class Passage(BaseModel):
    """A passage: characters `start` to `end` of the document's text."""

    text: str
    page: int | None
    start: int
    end: int
    headings: list[str]


class Found(BaseModel):
    """A document with the passages that answer, best first."""

    id: str = Field(description="`fetch` takes it.")
    title: str
    url: str = Field(description="To cite it by.")
    passages: list[Passage]


class SearchResult(BaseModel):
    """A page of passages with their documents, the one with the best passage first."""

    results: list[Found]
    next_cursor: str | None = Field(description="For further passages; null: there are no more.")
    degraded: list[str] = Field(description="Stages of the search that were left out.")


class FetchResult(BaseModel):
    """Characters `start` to `end` of the text of a document, which has `characters`."""

    id: str
    title: str
    text: str
    url: str
    start: int
    end: int
    characters: int
    next_start: int | None = Field(description="`start` of the next part; null: this is the last.")
    metadata: dict[str, Any]


class Cited(BaseModel):
    """A checked citation: `quote` is characters `start` to `end` of the document's text."""

    marker: int = Field(description="The [n] in the answer.")
    id: str
    title: str
    url: str
    page: int | None
    quote: str
    start: int
    end: int
    support: float = Field(description="How well the quote supports the sentence, 0 to 1.")


class FromCache(BaseModel):
    """An earlier answer that is given again."""

    question: str
    age_seconds: float


class AnswerResult(BaseModel):
    """An answer with checked citations, or an abstention: then the answer is empty."""

    answer: str
    abstained: bool
    reason: str | None = Field(description="Why it abstained.")
    missing: list[str] = Field(description="Words of the question that no passage has.")
    confidence: float
    citations: list[Cited]
    uncited: list[str] = Field(description="Sentences of the answer without a citation.")
    closest: list[Found] = Field(description="If it abstained: what comes closest.")
    degraded: list[str]
    cached: FromCache | None = Field(description="If an earlier question had this answer.")
    answer_id: str


class CollectionItem(BaseModel):
    """A collection, and how much is in it."""

    name: str
    documents: int
    chunks: int
    uri: str = Field(description="The resource that lists its documents.")


class CollectionsResult(BaseModel):
    """Collections, by name."""

    collections: list[CollectionItem]
    next_cursor: str | None


class DocumentItem(BaseModel):
    """A document of a collection."""

    id: str
    title: str
    url: str
    uri: str = Field(description="The resource with its text.")
    state: str


class DocumentsResult(BaseModel):
    """A collection, and a page of its documents by their ids; `next` is the URI of the next."""

    collection: str
    documents: list[DocumentItem]
    next: str | None


class JobResult(BaseModel):
    """A job that ingests documents; `counts` has them by state."""

    job_id: str
    collection: str
    state: str
    counts: dict[str, int]
    failures: list[dict[str, str]] = Field(description="The first of those that failed, and why.")
    notices: list[str]


def found(hits: Iterable[Json], collection: str, public_url: str | None) -> list[Found]:
    """Returns hits as documents with their passages, in the order of their best ones."""
    documents: dict[str, Found] = {}
    for hit in hits:
        name = DocumentName(collection, hit["document_id"])
        document = documents.setdefault(
            name.id,
            Found(
                id=name.id,
                title=hit["title"],
                url=url_of(name, hit["uri"], public_url),
                passages=[],
            ),
        )
        document.passages.append(Passage.model_validate(hit))
    return list(documents.values())


def cited(citation: Json, collection: str, public_url: str | None) -> Cited:
    """Returns a citation of an answer."""
    name = DocumentName(collection, citation["document_id"])
    url = url_of(name, citation["uri"], public_url, page=citation["page"])
    return Cited.model_validate(citation | {"id": name.id, "url": url})


def answered(answer: Json, collection: str, public_url: str | None) -> AnswerResult:
    """Returns an answer; of its passages, only those closest to one that it abstained from."""
    closest = answer["hits"][:CLOSEST] if answer["abstained"] else []
    own = {
        "citations": [cited(each, collection, public_url) for each in answer["citations"]],
        "closest": found(closest, collection, public_url),
    }
    return AnswerResult.model_validate(answer | own)


def collection_item(collection: Json) -> CollectionItem:
    """Returns a collection of a listing."""
    return CollectionItem.model_validate(collection | {"uri": collection_uri(collection["name"])})


def document_item(document: Json, collection: str, public_url: str | None) -> DocumentItem:
    """Returns a document of a listing."""
    name = DocumentName(collection, document["id"])
    own = {"id": name.id, "url": url_of(name, document["uri"], public_url), "uri": name.uri}
    return DocumentItem.model_validate(document | own)


def job(found: Json, notices: list[str]) -> JobResult:
    """Returns a job."""
    return JobResult.model_validate(found | {"job_id": found["id"], "notices": notices})


def url_of(name: DocumentName, uri: str, public_url: str | None, *, page: int | None = None) -> str:
    """Returns the address to cite a document by.

    That is its uri. If no browser can open that, it is the original at the service's public URL.
    Where nobody knows of one, a document without a uri has that of its resource.
    """
    if uri.startswith(("http://", "https://")):
        return uri
    if not public_url:
        return uri if _SCHEME.match(uri) else name.uri
    place = f"#page={page}" if page else ""
    collection = quote(name.collection, safe="")
    return f"{public_url.rstrip('/')}{name.path}/content?collection={collection}{place}"
