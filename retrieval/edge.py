"""The embedded index: Qdrant's own engine in this process, one shard for each scope.

A shard of its own keeps tenants apart on disk and makes IDF and mean length the collection's own.
Qdrant Edge holds the interpreter's lock for the length of every call, so a thread would add a hop
and free nothing: calls run where they are made and are kept short, and the one long call, building
the HNSW graph, runs in a child process on a copy (`retrieval.rebuild`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from rag.errors import StorageError
from rag.types import Chunk, Leg, Match, Point, Scope
from retrieval.files import check_room, copy_tree, size_of
from retrieval.shard import Shard, storage_errors

WRITE_SLICE = 256
"""Points written in one call: some 6 ms in which nothing else runs."""
INDEX_FROM = 5_000
"""Points from which a graph is built; below, a full scan is exact and takes under a millisecond."""
STALE_SHARE = 0.25
"""A rebuild is due when this share of the points is outside the graph."""
MEAN_DRIFT = 0.05
"""A rebuild is due when weights were made with a mean length this far from today's."""
CURRENT = "current"
_GENERATION = re.compile(r"[0-9a-f]{32}")


class EdgeIndex:
    """`Index` on Qdrant Edge, under one folder. One event loop, one process.

    Each scope has a folder with one generation of its shard and a file, `current`, that names it.
    """

    def __init__(self, folder: Path, *, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self._shards: dict[Scope, Shard] = {}
        self._writing: dict[Scope, asyncio.Lock] = {}
        self._rebuilds: dict[Scope, asyncio.Task[None]] = {}

    async def upsert(self, scope: Scope, points: Sequence[Point]) -> None:
        """Writes points; those without vectors keep the ones they have."""
        async with self._lock(scope):
            shard = self._open(scope) or self._create(scope)
            for i in range(0, len(points), WRITE_SLICE):
                check_room(self._folder)
                shard.write(points[i : i + WRITE_SLICE])
                await asyncio.sleep(0)

    async def delete(self, scope: Scope, chunk_ids: Sequence[str]) -> None:
        """Removes chunks; unknown ids are ignored."""
        async with self._lock(scope):
            if (shard := self._open(scope)) and chunk_ids:
                shard.delete(chunk_ids)

    async def chunk_ids(self, scope: Scope, document_id: str | None) -> set[str]:
        """The ids of a document's chunks, or of all."""
        shard = self._open(scope)
        return shard.chunk_ids(document_id) if shard else set()

    async def fetch(self, scope: Scope, chunk_ids: Sequence[str]) -> list[Chunk]:
        """The chunks with these ids, in the order asked for."""
        shard = self._open(scope)
        return shard.fetch(chunk_ids) if shard else []

    async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
        """All legs in one batch; best first, ties by chunk id."""
        shard = self._open(scope)
        return shard.search(legs) if shard else [[] for _ in legs]

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        """What the index itself weighs each term with."""
        shard = self._open(scope)
        return shard.idf(terms) if shard else [0.0] * len(terms)

    async def maintain(self, scope: Scope) -> None:
        """Flushes; rebuilds graph and BM25 weights if enough has changed. Searches go on."""
        async with self._lock(scope):
            shard = self._open(scope)
            if shard is None:
                return
            shard.flush()
            due = shard.stats.rebuild_due(
                index_from=INDEX_FROM, stale_share=STALE_SHARE, mean_drift=MEAN_DRIFT
            )
        if due and scope not in self._rebuilds:
            task = asyncio.create_task(self._rebuild(scope, shard))
            self._rebuilds[scope] = task
            task.add_done_callback(lambda _: self._rebuilds.pop(scope, None))
        if task_ := self._rebuilds.get(scope):
            await asyncio.shield(task_)

    async def close(self) -> None:
        """Stops rebuilds, flushes and releases every shard."""
        for task in list(self._rebuilds.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, StorageError):
                await task
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()

    def _lock(self, scope: Scope) -> asyncio.Lock:
        return self._writing.setdefault(scope, asyncio.Lock())

    def _home(self, scope: Scope) -> Path:
        return self._folder / scope.tenant / scope.collection

    def _open(self, scope: Scope) -> Shard | None:
        if scope not in self._shards:
            home = self._home(scope)
            if not (home / CURRENT).exists():
                return None
            check_room(home)  # opening a shard writes too
            with storage_errors(home):
                folder = home / _generation(home / CURRENT)
                self._shards[scope] = Shard(folder, dim=self._dim)
                for entry in home.iterdir():  # what a rebuild that was killed left behind
                    if entry.is_dir() and entry != folder:
                        shutil.rmtree(entry)
        return self._shards[scope]

    def _create(self, scope: Scope) -> Shard:
        folder = self._home(scope) / uuid.uuid4().hex
        try:
            with storage_errors(folder):
                check_room(folder)
                folder.mkdir(parents=True)
                self._shards[scope] = Shard.create(folder, dim=self._dim)
                _switch(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self._shards[scope]

    async def holds(self, scope: Scope) -> bool:
        """Whether the scope was ever written to, and its files are still there."""
        return (self._home(scope) / CURRENT).exists()

    async def _rebuild(self, scope: Scope, shard: Shard) -> None:
        """1. copy  2. rebuild the copy in a child  3. repeat what was written since  4. switch."""
        folder = self._home(scope) / uuid.uuid4().hex
        try:
            async with self._lock(scope):  # 1. writes wait for the copy, searches do not
                with storage_errors(folder):
                    shard.begin_copy()
                    check_room(shard.folder, needed=2 * size_of(shard.folder))  # copy and graph
                    await asyncio.to_thread(copy_tree, shard.folder, folder)
            await _run_child(folder, shard.stats.mean_length)  # 2.
            async with self._lock(scope):
                fresh = Shard(folder, dim=self._dim)
                shard.repeat_on(fresh)  # 3.
                _switch(folder)  # 4.
                self._shards[scope] = fresh
        except BaseException:
            shard.end_copy()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        shard.close()
        await asyncio.to_thread(shutil.rmtree, shard.folder, ignore_errors=True)


async def _run_child(folder: Path, mean_length: float) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "retrieval.rebuild", str(folder), repr(mean_length)),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, stderr = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise StorageError(
            f"Rebuilding the index in {folder.parent} failed; the old one stays in use."
            f" Cause: {stderr.decode(errors='replace').strip()[-500:]}"
        )


def _switch(folder: Path) -> None:
    """Names `folder` as its scope's generation, in one atomic step."""
    new = folder.parent / f"{CURRENT}.new"
    with new.open("w") as file:
        file.write(folder.name)
        file.flush()
        os.fsync(file.fileno())  # a power cut must not leave the new name on an empty file
    new.replace(folder.parent / CURRENT)


def _generation(file: Path) -> str:
    name = file.read_bytes().decode(errors="replace")
    if not _GENERATION.fullmatch(name):
        raise StorageError(
            f"{file} is damaged: it names no folder beside it. Restore the collection's folder from"
            " a backup, or delete it and ingest again."
        )
    return name
