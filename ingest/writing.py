"""Writes a document's chunks to the index, and moves them between documents with the same bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from ingest.chunkers.strategies import rehome
from ingest.readers import versions
from rag.catalog.catalog import Catalog
from rag.errors import NotFoundError
from rag.protocols import (
    Chunker,
    Embedder,
    Index,
    PassageEmbedder,
    SparseEncoder,
    VectorCache,
)
from rag.records import Cut, DocumentRecord
from rag.telemetry.trace import Trace
from rag.text.passages import passage_text
from rag.types import Chunk, Document, Float32Array, Point, Readers, Scope, Usage

UsageOf = Callable[[Sequence[str]], Usage]
WRITE_CHUNKS = 256
"""Chunks embedded and written at once: limits the memory that one long document takes."""


class Writer:
    """Chunks, embeds and stores documents; the caller holds the document's lock."""

    def __init__(
        self,
        *,
        chunker: Chunker,
        embedder: Embedder,
        encoder: SparseEncoder,
        index: Index,
        catalog: Catalog,
        passages: PassageEmbedder | None,
        usage_of: UsageOf | None = None,
        cache: VectorCache | None = None,
    ) -> None:
        """Make a writer; with `passages`, token vectors are stored beside a chunk's own.

        `usage_of` returns what the embedder uses for texts, for documents that somebody is charged
        for. The `cache` keeps vectors; token vectors are made anew.
        """
        self._chunker = chunker
        self._embedder = embedder
        self._encoder = encoder
        self._index = index
        self._catalog = catalog
        self._passages = passages
        self._usage_of = usage_of
        self._cache = cache
        self._recipe = f"{chunker.fingerprint} {embedder.fingerprint} {encoder.fingerprint}"

    def recipe(self, document: Document) -> str:
        """Returns how a document that was read now becomes chunks."""
        return versions.recipe(self._recipe, document.media_type)

    def recipe_again(self, before: str) -> str:
        """Returns how a stored text becomes chunks, whose recipe was `before`."""
        return versions.recipe_again(self._recipe, before)

    async def chunk(self, document: Document, trace: Trace) -> list[Chunk]:
        """Chunks a document in a thread."""
        with trace.span("chunk") as span:
            chunks = await asyncio.to_thread(self._chunker.chunk, document)
            span.attributes["chunks"] = len(chunks)
            return chunks

    async def stored(self, scope: Scope, document_id: str) -> DocumentRecord | None:
        """Returns a document that was read; None if there is none, or it could never be read."""
        with contextlib.suppress(NotFoundError):
            record = await self._catalog.documents.get(scope, document_id)
            return record if record.version else None
        return None

    async def holds_chunks(self, scope: Scope, original: DocumentRecord, version: str) -> bool:
        """True if a document holds these bytes itself, and the index has all of its chunks."""
        if original.duplicate_of or original.version != version:
            return False
        return len(await self._index.chunk_ids(scope, original.id)) == original.chunks

    async def hand_over(self, scope: Scope, document_id: str, held: Cut, trace: Trace) -> None:
        """Gives the chunks of a document that goes or changes to one with the same bytes.

        If the index does not have the chunks that it should have (`held`), the heir's chunks are
        made from its own stored text. An heir that is deleted meanwhile is skipped.
        """
        heirs = await self._catalog.documents.duplicates(scope, document_id)
        for place in range(len(heirs)):
            with trace.span("hand over"), contextlib.suppress(NotFoundError):
                if await self._give(scope, document_id, held, heirs[place:], trace):
                    return

    async def _give(
        self,
        scope: Scope,
        document_id: str,
        held: Cut,
        heirs: Sequence[DocumentRecord],
        trace: Trace,
    ) -> bool:
        """Gives a document's chunks to the first heir; False if that one is deleted by now.

        Raises:
            NotFoundError: The heir was deleted before.
        """
        heir, recipe = heirs[0], held.recipe
        await self._catalog.unsettled.add(scope, heir.id)
        ids = await self._index.chunk_ids(scope, document_id)
        found = await self._index.fetch(scope, sorted(ids))
        chunks = rehome(found, document_id=heir.id, uri=heir.uri)
        if [chunk.version for chunk in found] != [held.version] * held.chunks:
            chunks = await self.chunk(await self._catalog.documents.stored(scope, heir.id), trace)
            recipe = self.recipe_again(heir.recipe)
        await self.store(scope, heir.id, chunks, trace, acl=heir.words)
        return await self._catalog.documents.inherit(
            scope, heirs, chunks=len(chunks), recipe=recipe
        )

    async def store(
        self,
        scope: Scope,
        document_id: str,
        chunks: Sequence[Chunk],
        trace: Trace,
        *,
        acl: Readers,
        recipe: str = "",
    ) -> None:
        """Replaces the document's chunks: writes new ones, then deletes those that are gone.

        All get the words of `acl`. Of the chunks that stay, only the span may have moved; if the
        `recipe` of the stored ones has other terms, none stays as it is.
        """
        with trace.span("compare") as span:
            stored = await self._index.chunk_ids(scope, document_id)
            usable = stored if not recipe or self._same_terms(recipe) else set()
            kept = [Point(chunk=chunk, acl=acl) for chunk in chunks if chunk.id in usable]
            span.attributes["kept"] = len(kept)
            for i in range(0, len(kept), WRITE_CHUNKS):
                await self._index.upsert(scope, kept[i : i + WRITE_CHUNKS])
        new = [chunk for chunk in chunks if chunk.id not in usable]
        await self._write(scope, new, trace, acl)
        if gone := stored - {chunk.id for chunk in chunks}:
            with trace.span("delete") as span:
                span.attributes["points"] = len(gone)
                await self._index.delete(scope, sorted(gone))

    def _same_terms(self, recipe: str) -> bool:
        return self._encoder.fingerprint in recipe.split()  # the reader may stand behind it

    async def clear(self, scope: Scope, document_id: str) -> None:
        """Removes all chunks of a document."""
        await self._index.delete(scope, sorted(await self._index.chunk_ids(scope, document_id)))

    async def _write(
        self, scope: Scope, chunks: Sequence[Chunk], trace: Trace, acl: Readers
    ) -> None:
        """Embeds and writes chunks that are new."""
        for i in range(0, len(chunks), WRITE_CHUNKS):
            embedded = await self._embed(scope, chunks[i : i + WRITE_CHUNKS], trace)
            points = [replace(point, acl=acl) for point in embedded]
            with trace.span("upsert") as span:
                span.attributes["points"] = len(points)
                await self._index.upsert(scope, points)

    async def _embed(self, scope: Scope, chunks: Sequence[Chunk], trace: Trace) -> list[Point]:
        with trace.span("embed", "embedding") as span:
            span.attributes["texts"] = len(chunks)
            span.attributes["embedder"] = self._embedder.fingerprint
            points = await self._points(scope, chunks)
            if self._usage_of and trace.meter.charges:
                texts = [passage_text(chunk) for chunk in chunks]
                usage = await asyncio.to_thread(self._usage_of, texts)
                trace.meter.spend(self._embedder.fingerprint, usage)
            return points

    async def _points(self, scope: Scope, chunks: Sequence[Chunk]) -> list[Point]:
        texts = [passage_text(chunk) for chunk in chunks]
        sparse = await asyncio.to_thread(self._encoder.encode, texts)
        if self._passages is None:
            dense = await self._dense(scope, texts)
            parts = zip(chunks, dense, sparse, strict=True)
            return [Point(chunk=c, dense=d, sparse=s) for c, d, s in parts]
        both = zip(chunks, await self._passages.embed_passages(texts), sparse, strict=True)
        return [
            Point(chunk=c, dense=e.dense, sparse=s, tokens=e.tokens if len(e.tokens) else None)
            for c, e, s in both
        ]

    async def _dense(self, scope: Scope, texts: Sequence[str]) -> Float32Array:
        if self._cache is None:
            return await self._embedder.embed(texts, kind="passage")
        vectors, _ = await self._cache.embed(
            self._embedder, texts, kind="passage", tenant=scope.tenant
        )  # a fault is counted and logged; the document has what it needs
        return vectors

    @contextlib.asynccontextmanager
    async def contents(self, scope: Scope, *versions: str) -> AsyncIterator[None]:
        """Locks these bytes: meanwhile no document comes to share them, or ceases to."""
        async with contextlib.AsyncExitStack() as stack:
            for version in sorted(set(filter(None, versions))):  # one order: no deadlock
                await stack.enter_async_context(self._catalog.alone(scope, "content", version))
            yield
