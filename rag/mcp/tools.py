"""The tools. Each calls routes of the REST API, which checks, limits, charges and audits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from rag.client.events import AnswerEvent, HitsEvent, TokenEvent
from rag.mcp import results
from rag.mcp.names import DocumentName, Shown, document_of, search_cursor, shown_before
from rag.mcp.rest import Json, RefusedError, Rest
from rag.mcp.tool_arguments import (
    AnswerArguments,
    Arguments,
    FetchArguments,
    IngestArguments,
    JobArguments,
    ListArguments,
    SearchArguments,
)
from rag.settings.tree import COLLECTION
from rag.text.validation_errors import shortened
from rag.types import Permission

PAGE = 100
"""Items of a page of a listing."""
MAX_PASSAGES = 100
"""Passages of a search on all its pages: as many as the REST API gives by default."""
FETCH_CHARS = 50_000
"""Characters of a document in one result: some 12,000 tokens, which clients still accept."""
INGEST_SECONDS = 20.0
"""Seconds that `ingest` waits for its job: many clients give up on a tool after 60."""
POLL_SECONDS = 0.2
"""Seconds before the second look at a job; each pause is twice the one before."""
PROGRESS_CHARS = 200
"""Characters of an answer between two reports."""
Progress = Callable[[float, float | None, str], Awaitable[None]]
"""Reports what is done, of how much, and a sentence for people."""
A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(Generic[A]):
    """A tool: what it takes and returns, what a key needs for it, and whether it changes data."""

    name: str
    title: str
    description: str
    permission: Permission
    arguments: type[A]
    result: type[BaseModel]
    run: Callable[[Rest, A, Progress], Awaitable[BaseModel]]
    read_only: bool = True


async def search(rest: Rest, asked: SearchArguments, _progress: Progress) -> results.SearchResult:
    """Finds passages."""
    body = asked.body(rest.collection)
    collection, question = body["collection"], json.dumps([body["query"], body["filters"]])
    if asked.cursor is None:
        response = await rest.post("/v1/search", body)
        hits = response["hits"]
        shown = Shown(len(hits), 0) if len(hits) == asked.top_k else None
    else:
        before = shown_before(collection, asked.cursor, question)
        response = await rest.post("/v1/search", body | {"top_k": MAX_PASSAGES})
        left = await _not_first(rest, body, response["hits"], before.first)
        hits = left[before.further : before.further + asked.top_k]
        after = before.further + len(hits)
        shown = Shown(before.first, after) if after < len(left) else None
    return results.SearchResult(
        results=results.found(hits, collection, rest.public_url),
        next_cursor=search_cursor(collection, shown, question) if shown else None,
        degraded=response["degraded"],
    )


async def _not_first(rest: Rest, body: Json, hits: list[Json], first: int) -> list[Json]:
    """Returns those of the longest search's hits that were not on the first page.

    A search for more passages may order them otherwise: the first page, of `first` passages, need
    not be its beginning.
    """
    shown = await rest.post("/v1/search", body | {"top_k": first})
    ids = {hit["chunk_id"] for hit in shown["hits"]}
    return [hit for hit in hits if hit["chunk_id"] not in ids][: MAX_PASSAGES - first]


async def fetch(rest: Rest, asked: FetchArguments, _progress: Progress) -> results.FetchResult:
    """Reads a document."""
    return await read(rest, document_of(asked.id), asked.start)


async def read(rest: Rest, name: DocumentName, start: int) -> results.FetchResult:
    """Returns the part of a document that begins at a character."""
    document = await rest.get(name.path, collection=name.collection)
    content = {"collection": name.collection, "as": "text"}
    text, characters = await rest.text(
        f"{name.path}/content", start=start, most=FETCH_CHARS, **content
    )
    if start > characters:
        raise RefusedError(f"start is {start:,}, and the document has {characters:,} characters.")
    end = start + len(text)
    kept = ("uri", "media_type", "version", "updated_at", "parent", "meta")
    return results.FetchResult(
        id=name.id,
        title=document["title"],
        text=text,
        url=results.url_of(name, document["uri"], rest.public_url),
        start=start,
        end=end,
        characters=characters,
        next_start=end if end < characters else None,
        metadata={field: document[field] for field in kept},
    )


async def answer(rest: Rest, asked: AnswerArguments, progress: Progress) -> results.AnswerResult:
    """Answers a question; the answer is streamed, so that progress can be told."""
    body = asked.body(rest.collection) | {"stream": True}
    characters = told = 0
    written: AnswerEvent | None = None
    headers = {"Cache-Control": "no-cache"} if asked.fresh else {}
    async with contextlib.aclosing(rest.events("/v1/query", body, headers)) as events:
        async for event in events:
            if isinstance(event, HitsEvent):
                await progress(1, None, f"{len(event.hits)} passages found")
            elif isinstance(event, TokenEvent):
                characters += len(event.text)
                if characters - told >= PROGRESS_CHARS:
                    told = characters
                    await progress(1 + characters, None, f"{characters} characters written")
            elif isinstance(event, AnswerEvent):
                written = event
    assert written is not None  # noqa: S101 - otherwise `events` has raised
    return results.answered(written.model_dump(), body["collection"], rest.public_url)


async def list_collections(
    rest: Rest, asked: ListArguments, _progress: Progress
) -> results.CollectionsResult:
    """Lists collections."""
    return await collections(rest, asked.cursor)


async def collections(rest: Rest, cursor: str | None) -> results.CollectionsResult:
    """Returns a page of the collections; a cursor is the name of the one before it."""
    if cursor is not None and not re.fullmatch(COLLECTION, cursor):
        raise RefusedError(
            f"The cursor {shortened(cursor)!r} is not one that this listing gave. Leave it out to"
            " begin at the first page."
        )
    response = await rest.get("/v1/collections")
    rest_of = [each for each in response["collections"] if each["name"] > (cursor or "")]
    page = [results.collection_item(each) for each in rest_of[:PAGE]]
    more = page[-1].name if len(rest_of) > PAGE else None
    return results.CollectionsResult(collections=page, next_cursor=more)


async def ingest(rest: Rest, asked: IngestArguments, progress: Progress) -> results.JobResult:
    """Adds documents, and waits for them for a while; a job that goes on is no failure."""
    accepted = await rest.post("/v1/documents", asked.body(rest.collection))
    try:
        job = await _waited(rest, accepted["job_id"], progress)
    except RefusedError as error:
        raise RefusedError(f"The job {accepted['job_id']} has the documents. {error}") from None
    return results.job(job, accepted["notices"])


async def _waited(rest: Rest, job_id: str, progress: Progress) -> Json:
    """Returns a job once it has ended, or as it is after `INGEST_SECONDS`."""
    deadline = time.monotonic() + INGEST_SECONDS
    told, pause = -1, POLL_SECONDS
    while True:
        job = await rest.get(f"/v1/jobs/{job_id}")
        total, counts = job["counts"]["total"], job["counts"]
        done = total - counts["pending"] - counts["running"]
        if done > told:  # the protocol wants each report to be of more
            told = done
            await progress(done, total, f"{done} of {total} documents")
        if job["state"] not in ("pending", "running") or time.monotonic() + pause > deadline:
            return job
        await asyncio.sleep(pause)
        pause *= 2


async def job_status(rest: Rest, asked: JobArguments, _progress: Progress) -> results.JobResult:
    """Looks at a job."""
    return results.job(await rest.get(f"/v1/jobs/{asked.job_id}"), [])


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        name="search",
        title="Search documents",
        description="Finds documents with passages that answer a question, best first. Cite them by"
        " `url`; read more of one by `fetch` with its `id`. `next_cursor` leads to further ones.",
        permission="ask",
        arguments=SearchArguments,
        result=results.SearchResult,
        run=search,
    ),
    Tool(
        name="fetch",
        title="Read a document",
        description=f"Returns the text of a document, up to {FETCH_CHARS:,} characters at once:"
        " call it again with `start` = `next_start` for the next part. `start` and `end` of"
        " passages and citations count the same characters.",
        permission="read",
        arguments=FetchArguments,
        result=results.FetchResult,
        run=fetch,
    ),
    Tool(
        name="answer",
        title="Answer a question",
        description="Answers a question from the documents. Each citation has the exact quote, and"
        " was checked. If the documents do not hold the answer, it abstains and says why: then do"
        " not make one up.",
        permission="ask",
        arguments=AnswerArguments,
        result=results.AnswerResult,
        run=answer,
    ),
    Tool(
        name="list_collections",
        title="List collections",
        description="Lists the collections of documents that can be searched.",
        permission="read",
        arguments=ListArguments,
        result=results.CollectionsResult,
        run=list_collections,
    ),
    Tool(
        name="ingest",
        title="Add documents",
        description="Adds documents to a collection, as texts or by uris to fetch. Waits up to"
        f" {INGEST_SECONDS:g} seconds; `job_status` tells the rest.",
        permission="write",
        arguments=IngestArguments,
        result=results.JobResult,
        run=ingest,
        read_only=False,
    ),
    Tool(
        name="job_status",
        title="Look at a job",
        description="Tells how far a job of `ingest` is, and which documents failed, and why.",
        permission="write",
        arguments=JobArguments,
        result=results.JobResult,
        run=job_status,
    ),
)
