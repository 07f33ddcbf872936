"""The embedded index: Qdrant's own engine in this process, one shard for each scope.

A shard for each scope separates tenants on disk, and IDF and mean length are the collection's own.
Qdrant Edge holds the interpreter lock during every call, so a thread would cost time and free
nothing: calls run in the caller and are kept short. The one long call, building the HNSW graph,
runs in a child process on a copy (`retrieval.indexes.edge_rebuild`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from rag.errors import StorageError, for_log
from rag.types import Chunk, Float32Array, Leg, Match, Point, Scope
from retrieval.indexes.edge_generations import (
    CURRENT,
    NEXT,
    PREVIOUS,
    beside,
    generations,
    home_of,
    note_origin,
    origin_of,
    owner_of,
    write_generations,
)
from retrieval.indexes.edge_rebuild import run_child
from retrieval.indexes.edge_shard import OWING, TOKENS_SLICE, WRITE_SLICE, Offset, Shard
from retrieval.indexes.sparse_files import check_room, copy_tree, size_of, storage_errors

INDEX_FROM = 5_000
"""Points from which a graph is built; with fewer, a full scan is exact and takes under 1 ms."""
STALE_SHARE = 0.25
"""Share of the points outside the graph above which a rebuild is due."""
ERASE_CHECK, ERASE_AGAIN = 5.0, 60.0
"""Seconds between checks for text to erase from disk, and after a check that failed."""
ERASE_AT_END = 60.0
"""Seconds for rebuilding small shards as a process ends; the next process does the rest."""
IDLE_SECONDS = 60.0
"""Seconds without use after which a previous version is closed: deletions come together, and
opening it takes long."""
_log = logging.getLogger(__name__)


class EdgeIndex:
    """`Index` on Qdrant Edge, under one folder. One event loop, one process.

    Each scope has a folder with generations of its shard and a file, `current`, that names the one
    that is searched and, on a second line, the previous version. A version that is being filled is
    named nowhere: it is lost when the process ends.
    """

    def __init__(self, folder: Path, *, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self._shards: dict[Scope, Shard] = {}
        self._writing: dict[Scope, asyncio.Lock] = {}
        self._rebuilds: dict[Scope, asyncio.Task[None]] = {}
        self._tidied: set[Path] = set()
        self._used: dict[Scope, float] = {}
        """Time of the last use of each open previous version."""

    async def upsert(self, scope: Scope, points: Sequence[Point]) -> None:
        """Writes points; those without vectors keep the ones they have."""
        async with self._lock(scope):
            shard = self._open(scope) or self._create(scope)
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
        async with self._lock(scope):
            for part in _slices(chunk_ids):
                if shard := self._open(scope):
                    await self._delete_before(scope, shard.document_ids(part))
                    shard.delete(part)
                    await asyncio.sleep(0)

    async def chunk_ids(self, scope: Scope, document_id: str | None) -> set[str]:
        """The ids of a document's chunks, or of all."""
        shard = self._open(scope)
        return shard.chunk_ids(document_id) if shard else set()

    async def fetch(self, scope: Scope, chunk_ids: Sequence[str]) -> list[Chunk]:
        """The chunks with these ids, in the order asked for."""
        shard = self._open(scope)
        return shard.fetch(chunk_ids) if shard else []

    async def vectors(self, scope: Scope, chunk_ids: Sequence[str]) -> dict[str, Float32Array]:
        """The dense vectors of these chunks, by id."""
        shard = self._open(scope)
        return shard.vectors(chunk_ids) if shard else {}

    async def max_sim(
        self, scope: Scope, question: Float32Array, chunk_ids: Sequence[str]
    ) -> dict[str, float]:
        """Late interaction with the stored token vectors of these chunks, by id."""
        shard = self._open(scope)
        return shard.max_sim(question, chunk_ids) if shard else {}

    async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
        """All legs in one batch; best first, ties by chunk id."""
        shard = self._open(scope)
        return shard.search(legs) if shard else [[] for _ in legs]

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        """Returns the weight that the index itself gives each term."""
        shard = self._open(scope)
        return shard.idf(terms) if shard else [0.0] * len(terms)

    async def version(self, scope: Scope) -> str:
        """Returns the generation's name, which also changes when the graph is rebuilt."""
        shard = self._open(scope)
        return shard.folder.name if shard else ""

    async def maintain(self, scope: Scope) -> None:
        """Flushes; rebuilds graph and BM25 weights if enough has changed. Searches continue.

        Deleted text that has reached its time limit on disk is also a reason to rebuild.
        """
        async with self._lock(scope):
            shard = self._open(scope)
            if shard is None:
                return
            shard.flush()
            due = shard.stats.rebuild_due(index_from=INDEX_FROM, stale_share=STALE_SHARE)
        await self._rebuilt(scope, shard if due or shard.erasure_due() else None)

    @contextlib.asynccontextmanager
    async def erasing(self) -> AsyncIterator[None]:
        """During the block, makes fresh shards, of points alone, to erase deleted text from disk.

        At its end small shards that hold such text are rebuilt at once, as the process may not
        start again soon. The next process does what the time does not allow.
        """
        task = asyncio.create_task(self._erase_for_ever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            try:
                async with asyncio.timeout(ERASE_AT_END):
                    await self._erase(lambda shard: shard.owes and shard.stats.points < INDEX_FROM)
            except TimeoutError:
                _log.warning("Deleted text stays in files of the index until the next start.")

    async def holds(self, scope: Scope) -> bool:
        """True if the scope was ever written to and its files still exist."""
        return (self._home(scope) / CURRENT).exists()

    async def name_of(self, scope: Scope) -> str:
        """Returns the version's first folder; rebuilds make other folders."""
        shard = self._open(scope)
        return origin_of(shard.folder) if shard else ""

    async def pages(self, scope: Scope) -> AsyncIterator[list[Chunk]]:
        """All chunks, in the order of their ids."""
        offset: Offset = None
        while shard := self._open(scope):
            chunks, offset = shard.page(offset)
            yield chunks
            if offset is None:
                return

    async def begin_version(self, scope: Scope) -> Scope:
        """Creates an empty version beside the one that is searched."""
        version = beside(scope, NEXT)
        home = self._home(scope)
        async with self._lock(version):
            self._drop(version)
            if home.is_dir():
                self._tidy(home)
            self._create(version)
        return version

    async def previous_version(self, scope: Scope) -> Scope | None:
        """Returns the version named on the second line of `current`."""
        has_one = len(generations(self._home(scope))) > 1
        return beside(scope, PREVIOUS) if has_one else None

    async def switch_version(self, scope: Scope, version: Scope) -> None:
        """Replaces one file; the shard that was searched is closed and stays on disk.

        Nothing else runs between the switch and the return, so that a caller can drop cached data
        of the old version before the next request.
        """
        home, previous = self._home(scope), beside(scope, PREVIOUS)
        async with self._lock(scope), self._lock(beside(scope, NEXT)), self._lock(previous):
            new = self._open(version)
            if new is None:
                raise StorageError(
                    f"The index has no version {version.collection!r} to switch to.",
                    detail=f"It lies in {home}.",
                )
            new.flush()
            old = generations(home)
            write_generations(home, new.folder.name, *old[:1])
            before = self._shards.pop(scope, None)
            self._shards[scope] = self._shards.pop(version)
            self._drop(previous)
            if before is not None:
                before.close()
        for name in set(old[1:]) - {new.folder.name}:
            shutil.rmtree(home / name, ignore_errors=True)

    async def close(self) -> None:
        """Stops rebuilds, flushes and closes every shard."""
        for task in list(self._rebuilds.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, StorageError):
                await task
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()

    async def _delete_before(self, scope: Scope, document_ids: set[str]) -> None:
        """Removes documents from the previous version of this scope, if there is one."""
        if await self.previous_version(scope) is None or "." in scope.collection:
            return
        previous = beside(scope, PREVIOUS)
        async with self._lock(previous):
            if shard := self._open(previous):
                ids = [id_ for each in document_ids for id_ in shard.chunk_ids(each)]
                for part in _slices(ids):
                    shard.delete(part)
                    await asyncio.sleep(0)

    async def _rebuilt(self, scope: Scope, shard: Shard | None) -> None:
        """Rebuilds a shard, or waits for a rebuild of the scope in progress."""
        if shard and scope not in self._rebuilds:
            task = asyncio.create_task(self._rebuild(scope, shard))
            self._rebuilds[scope] = task
            task.add_done_callback(lambda _: self._rebuilds.pop(scope, None))
        if task_ := self._rebuilds.get(scope):
            await asyncio.shield(task_)

    async def _erase_for_ever(self) -> None:
        whole = True
        while True:
            await asyncio.sleep(ERASE_CHECK if whole else ERASE_AGAIN)
            whole = await self._erase(Shard.erasure_due)
            self._close_unused()

    def _close_unused(self) -> None:
        """Closes previous versions that were not used lately and are not being changed."""
        for scope, at in list(self._used.items()):
            busy = self._lock(scope).locked() or scope in self._rebuilds
            if not busy and time.monotonic() - at >= IDLE_SECONDS:
                del self._used[scope]
                if shard := self._shards.pop(scope, None):
                    shard.close()

    async def _erase(self, due: Callable[[Shard], bool]) -> bool:
        """Rebuilds the shards with text to erase that are `due`; True if none failed."""
        whole = True
        for home in sorted(file.parent for file in self._folder.glob(f"*/*/{CURRENT}")):
            try:
                self._tidy(home)
                for mark in home.glob(f"*/{OWING}"):
                    if scope := owner_of(mark.parent):
                        async with self._lock(scope):
                            shard = self._open(scope)
                        await self._rebuilt(scope, shard if shard and due(shard) else None)
            except Exception as error:  # noqa: BLE001 - later erasures need this loop
                whole = False
                told, bug = for_log(error)
                _log.error(
                    "Deleted text stays on disk, in %s: %s It is tried again.",
                    home,
                    told,
                    exc_info=bug,
                )
        return whole

    def _lock(self, scope: Scope) -> asyncio.Lock:
        return self._writing.setdefault(scope, asyncio.Lock())

    def _home(self, scope: Scope) -> Path:
        return home_of(self._folder, scope)

    def _open(self, scope: Scope) -> Shard | None:
        if scope.collection.endswith(PREVIOUS):
            self._used[scope] = time.monotonic()
        if scope not in self._shards:
            home = self._home(scope)
            place = int(scope.collection.endswith(PREVIOUS))
            names = generations(home)[place : place + 1]
            if not names or scope.collection.endswith(NEXT):
                return None
            check_room(home)  # opening a shard writes too
            with storage_errors(home):
                self._shards[scope] = Shard(home / names[0], dim=self._dim)
                self._tidy(home)
        return self._shards[scope]

    def _create(self, scope: Scope) -> Shard:
        folder = self._home(scope) / uuid.uuid4().hex
        self._tidied.add(folder.parent)
        try:
            with storage_errors(folder):
                check_room(folder)
                folder.mkdir(parents=True)
                self._shards[scope] = Shard.create(folder, dim=self._dim)
                self._name(scope, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self._shards[scope]

    def _name(self, scope: Scope, folder: Path) -> None:
        """Records `folder` as the generation of a scope, or of one of its versions."""
        names = generations(folder.parent)
        if scope.collection.endswith(PREVIOUS):
            write_generations(folder.parent, names[0], folder.name)
        elif not scope.collection.endswith(NEXT):
            write_generations(folder.parent, folder.name, *names[1:])

    def _tidy(self, home: Path) -> None:
        """Removes what a killed rebuild or version left behind.

        Runs once, before this process can have made such folders itself.
        """
        if home not in self._tidied:
            self._tidied.add(home)
            named = set(generations(home))
            for entry in home.iterdir():
                if entry.is_dir() and entry.name not in named:
                    # A rebuild whose parent was killed may still write to it: what that leaves
                    # is removed at the next start.
                    shutil.rmtree(entry, ignore_errors=True)

    def _drop(self, version: Scope) -> None:
        """Closes a version and removes its folder, if it is open."""
        if shard := self._shards.pop(version, None):
            shard.close()
            shutil.rmtree(shard.folder, ignore_errors=True)

    async def _rebuild(self, scope: Scope, shard: Shard) -> None:
        """1. copy  2. make a fresh shard of the copy in a child  3. repeat what was written since
        4. switch.
        """  # noqa: D205
        source, folder = (self._home(scope) / uuid.uuid4().hex for _ in range(2))
        try:
            async with self._lock(scope):  # 1. writes wait for the copy, searches do not
                if self._shards.get(scope) is not shard:
                    return
                with storage_errors(folder):
                    shard.begin_copy()
                    check_room(shard.folder, needed=3 * size_of(shard.folder))  # and the graph
                    await asyncio.to_thread(copy_tree, shard.folder, source)
                    folder.mkdir()
            await run_child(source, folder, shard.stats.mean_length)  # 2.
            async with self._lock(scope):
                if self._shards.get(scope) is not shard:  # another version is searched since
                    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
                    return
                fresh = Shard(folder, dim=self._dim)
                for _ in shard.repeat_on(fresh):  # 3.
                    await asyncio.sleep(0)
                with storage_errors(folder):
                    note_origin(folder, origin_of(shard.folder))
                self._name(scope, folder)  # 4.
                self._shards[scope] = fresh
        except BaseException:
            shard.end_copy()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, source, ignore_errors=True)
        try:
            shard.close()
        finally:
            await asyncio.to_thread(shutil.rmtree, shard.folder, ignore_errors=True)


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for i in range(0, len(ids), WRITE_SLICE):
        yield ids[i : i + WRITE_SLICE]
