"""Keeps the shards of the embedded index in order: graphs, BM25 weights, and text to erase.

Rebuilding a shard makes a fresh one of its points, in a child process (`edge_rebuild`), while the
old one is searched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from rag.errors import StorageError, for_log
from rag.types import Scope
from retrieval.indexes.edge_generations import (
    CURRENT,
    PREVIOUS,
    note_origin,
    origin_of,
    owner_of,
    sibling,
)
from retrieval.indexes.edge_open_shards import OpenShards
from retrieval.indexes.edge_rebuild import run_child
from retrieval.indexes.edge_shard import UNERASED_MARK, Shard
from retrieval.indexes.sparse_files import check_room, copy_tree, size_of, storage_errors

INDEX_FROM = 5_000
"""Points from which a graph is built; with fewer, a full scan is exact and takes under 1 ms."""
STALE_SHARE = 0.25
"""Share of the points outside the graph above which a rebuild is due."""
ERASE_CHECK, ERASE_AGAIN = 5.0, 60.0
"""Seconds between checks for text to erase from disk, and after a check that failed."""
ERASE_AT_END = 60.0
"""Seconds for rebuilding small shards as a process ends; the next process does the rest."""
_log = logging.getLogger(__name__)


class Upkeep:
    """Rebuilds shards when enough has changed, or when deleted text has reached its time limit."""

    def __init__(self, folder: Path, shards: OpenShards, *, dim: int) -> None:
        """Take the open shards, which the caller closes."""
        self._folder = folder
        self._shards = shards
        self._dim = dim
        self._rebuilds: dict[Scope, asyncio.Task[None]] = {}

    async def maintain(self, scope: Scope) -> None:
        """Flushes; rebuilds graph and BM25 weights if enough has changed. Searches continue.

        Deleted text that has reached its time limit on disk is also a reason to rebuild.
        """
        async with self._shards.changing(), self._shards.lock(scope):
            shard = self._shards.open(scope)
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
        task = asyncio.create_task(self._erase_repeatedly())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            try:
                async with asyncio.timeout(ERASE_AT_END):
                    await self._erase(
                        lambda shard: shard.has_unerased and shard.stats.points < INDEX_FROM
                    )
            except TimeoutError:
                _log.warning("Deleted text stays in files of the index until the next start.")

    async def stop(self, scope: Scope) -> None:
        """Stops the rebuilds of a scope and of its previous version."""
        for each in (scope, sibling(scope, PREVIOUS)):
            if task := self._rebuilds.get(each):
                await _stop(task)

    async def close(self) -> None:
        """Stops rebuilds."""
        for task in list(self._rebuilds.values()):
            await _stop(task)

    async def _rebuilt(self, scope: Scope, shard: Shard | None) -> None:
        """Rebuilds a shard, or waits for a rebuild of the scope in progress."""
        if shard and scope not in self._rebuilds:
            task = asyncio.create_task(self._rebuild(scope, shard))
            self._rebuilds[scope] = task
            task.add_done_callback(lambda _: self._rebuilds.pop(scope, None))
        if task_ := self._rebuilds.get(scope):
            await asyncio.wait({task_})  # it goes on if the caller is cancelled
            if not task_.cancelled():  # otherwise the scope was removed
                task_.result()

    async def _erase_repeatedly(self) -> None:
        whole = True
        while True:
            await asyncio.sleep(ERASE_CHECK if whole else ERASE_AGAIN)
            whole = await self._erase(Shard.erasure_due)
            self._shards.close_unused(self._rebuilds)

    async def _erase(self, due: Callable[[Shard], bool]) -> bool:
        """Rebuilds the shards with text to erase that are `due`; True if none failed."""
        whole = True
        for home in sorted(file.parent for file in self._folder.glob(f"*/*/{CURRENT}")):
            try:
                self._shards.tidy(home)
                for mark in home.glob(f"*/{UNERASED_MARK}"):
                    if scope := owner_of(mark.parent):
                        async with self._shards.changing(), self._shards.lock(scope):
                            shard = self._shards.open(scope)
                        await self._rebuilt(scope, shard if shard and due(shard) else None)
            except Exception as error:  # noqa: BLE001 - later erasures need this loop
                whole = False
                message, bug = for_log(error)
                _log.error(
                    "Deleted text stays on disk, in %s: %s It is tried again.",
                    home,
                    message,
                    exc_info=bug,
                )
        return whole

    async def _rebuild(self, scope: Scope, shard: Shard) -> None:
        """1. copy  2. make a fresh shard of the copy in a child  3. repeat what was written since
        4. switch.
        """  # noqa: D205
        source, folder = (self._shards.home(scope) / uuid.uuid4().hex for _ in range(2))
        try:
            async with (
                self._shards.changing(),
                self._shards.lock(scope),
            ):  # 1. writes wait for the copy, searches do not
                if not self._shards.has(scope, shard):
                    return
                with storage_errors(folder):
                    shard.begin_copy()
                    check_room(shard.folder, needed=3 * size_of(shard.folder))  # and the graph
                    await asyncio.to_thread(copy_tree, shard.folder, source)
                    folder.mkdir()
            graph = shard.stats.points >= INDEX_FROM
            await run_child(source, folder, shard.stats.mean_length, graph=graph)  # 2.
            async with self._shards.changing(), self._shards.lock(scope):
                if not self._shards.has(scope, shard):  # another version is searched since
                    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
                    return
                fresh = Shard(folder, dim=self._dim)
                for _ in shard.repeat_on(fresh):  # 3.
                    await asyncio.sleep(0)
                with storage_errors(folder):
                    note_origin(folder, origin_of(shard.folder))
                self._shards.replace(scope, fresh)  # 4.
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


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, StorageError):
        await task
