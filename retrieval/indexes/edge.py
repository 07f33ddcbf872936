"""The embedded index: Qdrant's own engine in this process, one shard for each scope.

A shard for each scope separates tenants on disk, and IDF and mean length are the collection's own.
Qdrant Edge holds the interpreter lock during every call, so a thread would cost time and free
nothing: calls run in the caller and are kept short. The one long call, building the HNSW graph,
runs in a child process on a copy (`edge_upkeep`).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from rag.errors import StorageError
from rag.protocols import Resting
from rag.types import Chunk, Float32Array, Leg, Match, Point, Scope
from rag.types.acl import Readers
from retrieval.indexes.edge_generations import (
    CURRENT,
    NEXT,
    PREVIOUS,
    generations,
    origin_of,
    sibling,
)
from retrieval.indexes.edge_open_shards import OpenShards
from retrieval.indexes.edge_reads import Offset
from retrieval.indexes.edge_shard import TOKENS_SLICE, WRITE_SLICE
from retrieval.indexes.edge_upkeep import Upkeep
from retrieval.indexes.sparse_files import check_room

REMOVE_ATTEMPTS, REMOVE_PAUSE = 50, 0.1
"""Attempts to remove a scope's folder, and seconds between them: a rebuild whose parent was killed
ends within seconds."""


class EdgeIndex:
    """`StoredIndex` on Qdrant Edge, under one folder. One event loop, one process.

    Each scope has a folder with generations of its shard and a file, `current`, that names the one
    that is searched and, on a second line, the previous version. A version that is being filled is
    named nowhere: it is lost when the process ends.
    """

    def __init__(self, folder: Path, *, dim: int) -> None:
        self._folder = folder
        self._shards = OpenShards(folder, dim=dim)
        self._upkeep = Upkeep(folder, self._shards, dim=dim)

    async def upsert(self, scope: Scope, points: Sequence[Point]) -> None:
        """Writes points; those without vectors keep the ones they have."""
        async with self._shards.changing(), self._shards.lock(scope):
            shard = self._shards.open(scope) or self._shards.create(scope)
            size = TOKENS_SLICE if any(p.tokens is not None for p in points) else WRITE_SLICE
            mean = shard.mean_with(points)
            for i in range(0, len(points), size):
                check_room(self._folder)
                shard.write(points[i : i + size], mean=mean)
                await asyncio.sleep(0)

    async def delete(self, scope: Scope, chunk_ids: Sequence[str]) -> None:
        """Removes chunks; unknown ids are ignored.

        All chunks of their documents are removed from the previous version first, so that a
        repeated call completes an interrupted one. Files may hold the text until it is erased (see
        `erasing`).
        """
        async with self._shards.changing(), self._shards.lock(scope):
            for part in _slices(chunk_ids):
                if shard := self._shards.open(scope):
                    await self._delete_before(scope, shard.document_ids(part))
                    shard.delete(part)
                    await asyncio.sleep(0)

    async def set_acl(self, scope: Scope, document_id: str, acl: Readers) -> None:
        """Replaces the ACL of a document's chunks, in every version."""
        for version in (sibling(scope, NEXT), sibling(scope, PREVIOUS), scope):
            async with self._shards.changing(), self._shards.lock(version):
                if shard := self._shards.open(version):
                    for part in _slices(sorted(shard.chunk_ids(document_id))):
                        shard.set_acl(part, acl)
                        await asyncio.sleep(0)

    async def remove(self, scope: Scope) -> None:
        """Removes all versions of a scope from memory and disk."""
        await self._upkeep.stop(scope)
        lock = self._shards.lock
        async with (
            self._shards.changing(),
            lock(scope),
            lock(sibling(scope, NEXT)),
            lock(sibling(scope, PREVIOUS)),
        ):
            for _ in range(REMOVE_ATTEMPTS):
                if self._shards.remove(scope):
                    return
                await asyncio.sleep(REMOVE_PAUSE)
        raise StorageError(
            f"The index of {scope.collection!r} cannot be removed from disk. It is tried again.",
            detail=f"It lies in {self._shards.home(scope)}.",
        )

    async def chunk_ids(self, scope: Scope, document_id: str | None) -> set[str]:
        """The ids of a document's chunks, or of all; waits while the index is copied.

        Ingestion begins with them: it waits, too, whether the collection is open or not.
        """
        async with self._shards.changing():
            shard = self._shards.open(scope.whole)
            return shard.chunk_ids(document_id, scope.readers) if shard else set()

    async def fetch(self, scope: Scope, chunk_ids: Sequence[str]) -> list[Chunk]:
        """The chunks with these ids, in the order asked for."""
        shard = await self._shards.reading(scope.whole)
        return shard.fetch(chunk_ids, scope.readers) if shard else []

    async def vectors(self, scope: Scope, chunk_ids: Sequence[str]) -> dict[str, Float32Array]:
        """The dense vectors of these chunks, by id."""
        shard = await self._shards.reading(scope.whole)
        return shard.vectors(chunk_ids, scope.readers) if shard else {}

    async def max_sim(
        self, scope: Scope, question: Float32Array, chunk_ids: Sequence[str]
    ) -> dict[str, float]:
        """Late interaction with the stored token vectors of these chunks, by id."""
        shard = await self._shards.reading(scope.whole)
        return shard.max_sim(question, chunk_ids, scope.readers) if shard else {}

    async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
        """All legs in one batch; best first, ties by chunk id."""
        shard = await self._shards.reading(scope.whole)
        return shard.search(legs, scope.readers) if shard else [[] for _ in legs]

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        """Returns the weight that the index itself gives each term."""
        shard = await self._shards.reading(scope.whole)
        return shard.idf(terms, scope.readers) if shard else [0.0] * len(terms)

    async def version(self, scope: Scope) -> str:
        """Returns the generation's name, which also changes when the graph is rebuilt."""
        shard = await self._shards.reading(scope.whole)
        return shard.folder.name if shard else ""

    async def maintain(self, scope: Scope) -> None:
        """Flushes; rebuilds graph and BM25 weights if enough has changed. Searches continue."""
        await self._upkeep.maintain(scope)

    def erasing(self) -> AbstractAsyncContextManager[None]:
        """During the block, erases deleted text from disk: see `Upkeep.erasing`."""
        return self._upkeep.erasing()

    async def holds(self, scope: Scope) -> bool:
        """True if the scope was ever written to and its files still exist."""
        return (self._shards.home(scope) / CURRENT).exists()

    async def name_of(self, scope: Scope) -> str:
        """Returns the version's first folder; rebuilds make other folders."""
        shard = await self._shards.reading(scope.whole)
        return origin_of(shard.folder) if shard else ""

    async def pages(self, scope: Scope) -> AsyncIterator[list[Chunk]]:
        """All chunks, in the order of their ids."""
        offset: Offset = None
        while shard := await self._shards.reading(scope.whole):
            chunks, offset = shard.page(offset, scope.readers)
            yield chunks
            if offset is None:
                return

    async def points(self, scope: Scope) -> AsyncIterator[list[Point]]:
        """All points with their vectors."""
        offset: Offset = None
        while shard := await self._shards.reading(scope.whole):
            points, offset = shard.page_of_points(offset)
            yield points
            if offset is None:
                return
            await asyncio.sleep(0)

    def still(self) -> AbstractAsyncContextManager[Resting]:
        """Questions to a collection that is not open wait while its own files are copied."""
        return self._shards.still()

    async def begin_version(self, scope: Scope) -> Scope:
        """Creates an empty version beside the one that is searched."""
        version = sibling(scope, NEXT)
        home = self._shards.home(scope)
        async with self._shards.changing(), self._shards.lock(version):
            self._shards.drop(version)
            if home.is_dir():
                self._shards.tidy(home)
            self._shards.create(version)
        return version

    async def previous_version(self, scope: Scope) -> Scope | None:
        """Returns the version named on the second line of `current`."""
        has_one = len(generations(self._shards.home(scope))) > 1
        return sibling(scope, PREVIOUS) if has_one else None

    async def switch_version(self, scope: Scope, version: Scope) -> None:
        """Replaces one file; the shard that was searched is closed and stays on disk.

        Nothing else runs between the switch and the return, so that a caller can drop cached data
        of the old version before the next request.
        """
        home = self._shards.home(scope)
        lock = self._shards.lock
        async with (
            self._shards.changing(),
            lock(scope),
            lock(sibling(scope, NEXT)),
            lock(sibling(scope, PREVIOUS)),
        ):
            new = self._shards.open(version)
            if new is None:
                raise StorageError(
                    f"The index has no version {version.collection!r} to switch to.",
                    detail=f"It lies in {home}.",
                )
            new.flush()
            old = self._shards.switch(scope, version)
        for name in set(old[1:]) - {new.folder.name}:
            shutil.rmtree(home / name, ignore_errors=True)

    async def close(self) -> None:
        """Stops rebuilds, flushes and closes every shard."""
        await self._upkeep.close()
        self._shards.close()

    async def _delete_before(self, scope: Scope, document_ids: set[str]) -> None:
        """Removes documents from the previous version of this scope, if there is one."""
        if await self.previous_version(scope) is None or "." in scope.collection:
            return
        previous = sibling(scope, PREVIOUS)
        async with self._shards.lock(previous):
            if shard := self._shards.open(previous):
                ids = [id_ for each in document_ids for id_ in shard.chunk_ids(each)]
                for part in _slices(ids):
                    shard.delete(part)
                    await asyncio.sleep(0)


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for i in range(0, len(ids), WRITE_SLICE):
        yield ids[i : i + WRITE_SLICE]
