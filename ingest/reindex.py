"""Indexes all documents of a collection again, from their stored text, into a new version.

The searched version stays in use until the new one is complete. Documents may be added, changed and
deleted meanwhile: each is checked again, under its lock, before the switch, and each that is marked
as unsettled after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from ingest.pipeline import IngestPipeline
from ingest.retries import backoff
from ingest.settling import finish_switch
from rag.catalog.catalog import Catalog
from rag.catalog.unsettled import Mark
from rag.catalog.versions import is_of
from rag.errors import ConfigError, InputError, NotFoundError, StorageError, UpstreamError
from rag.protocols import Embedder, StoredIndex
from rag.records import ATTEMPTS, GONE, Cut, Switch
from rag.text.passages import passage_text
from rag.types import Chunk, Leg, Scope

AT_ONCE = 16
"""Documents in progress at once: enough to fill the embedder's batches, and a bound on memory."""
PAGE = 1_000
"""Chunks read at once."""
CHECKS = 3
"""Times that a version is filled and checked: documents may change in between."""
SAMPLE = 16
"""Chunks that must be found by their own text before a version is switched to."""
SAMPLE_DEPTH = 10
"""Matches among which the chunk must be: a graph is not exact, and others may have the same
text."""

Progress = Callable[[int, int], Any]
"""Called with the number of documents done, and of all."""
Cuts = dict[str, Cut]
"""The documents of a version, by id."""

_log = logging.getLogger(__name__)


class Reindexer:
    """Fills a version, checks it, and switches to it."""

    def __init__(
        self, *, pipeline: IngestPipeline, embedder: Embedder, index: StoredIndex, catalog: Catalog
    ) -> None:
        self._pipeline = pipeline
        self._embedder = embedder
        self._index = index
        self._catalog = catalog

    async def reindex(self, scope: Scope, *, progress: Progress) -> Cuts:
        """Cuts and embeds all documents with this process's chunker and embedder.

        After a kill before the switch, the old version stays in use, and the next run starts over.
        After a kill at the switch, the catalog is brought in step at the next start.

        Returns:
            The documents of the version that is searched now.

        Raises:
            NotFoundError: There is no such collection.
            InputError: Of some documents only the text is stored.
            BusyError: The collection is being indexed again already.
            StorageError: The new version is not complete; the old one stays in use.
        """
        async with self._catalog.alone(scope, "reindex", wait=False):
            await self._catalog.collections.get(scope)
            await finish_switch(self._catalog, self._index, scope)
            await self._catalog.documents.check_complete(scope)
            version = await self._index.begin_version(scope)
            await self._index.upsert(version, [])  # it exists even if there is nothing to write
            return await self._switch(scope, version, {}, progress=progress)

    async def roll_back(self, scope: Scope, *, progress: Progress) -> Cuts:
        """Goes back to the previous version, updated with the documents that changed since.

        Raises:
            NotFoundError: There is no such collection.
            InputError: There is no previous version.
            ConfigError: The previous version was made with another embedder.
            BusyError: The collection is being indexed again already.
            StorageError: The previous version is not complete; the current one stays in use.
        """
        async with self._catalog.alone(scope, "reindex", wait=False):
            await self._catalog.collections.get(scope)
            await finish_switch(self._catalog, self._index, scope)
            version = await self._index.previous_version(scope)
            known = await self._catalog.versions.previous(scope)
            if version is None or known is None:
                raise InputError(
                    f"Collection {scope.collection!r} has no previous version to go back to.",
                    code="no_previous_version",
                )
            made_with, cuts = known
            self._check_embedder(scope, made_with)
            cuts = await self._intact_cuts(version, cuts)
            return await self._switch(scope, version, cuts, progress=progress)

    async def _switch(
        self, scope: Scope, version: Scope, cuts: Cuts, *, progress: Progress
    ) -> Cuts:
        """1. fill  2. again, for what changed meanwhile  3. stage  4. check  5. switch
        6. settle what has changed since, and what was being written at the switch.

        A change after staging is found through the staged record at a start after a kill, and a
        change before it by the check: then 2. to 4. are repeated.

        After the switch all workers write to the new version. A worker that began before it holds
        its document's lock until it is done, and the document's mark stays.
        """  # noqa: D205
        await self._fill(scope, version, cuts, progress=progress)  # 1.
        await self._index.maintain(version)
        for left in reversed(range(CHECKS)):
            await self._fill(scope, version, cuts)  # 2.
            await self._stage(scope, version, cuts)  # 3.
            try:
                await self._check(version, cuts)  # 4.
                break
            except StorageError:
                if not left:
                    await self._catalog.staged.drop(scope)
                    raise
        embedder = self._embedder.fingerprint
        async with self._catalog.versions.switching(scope, cuts, embedder=embedder):  # 5.
            await self._index.switch_version(scope, version)
        for mark in await self._catalog.unsettled.within(scope):  # 6.
            await self._again(mark.document_id, partial(self._settle, mark, cuts))
        return cuts

    async def _stage(self, scope: Scope, version: Scope, cuts: Cuts) -> None:
        """Records the version to switch to: after a kill from then on, the switch is finished."""
        name = await self._index.name_of(version)
        staged = Switch(version=name, embedder=self._embedder.fingerprint, cuts=cuts)
        await self._catalog.staged.add(scope, staged)

    async def _fill(
        self, scope: Scope, version: Scope, cuts: Cuts, *, progress: Progress | None = None
    ) -> None:
        """Brings a version that is not searched yet in step with the catalog."""
        ids = sorted({*cuts, *await self._catalog.versions.document_ids(scope)})
        coming = iter(ids)
        done = 0

        async def work() -> None:
            nonlocal done
            for id_ in coming:
                await self._again(id_, partial(self._sync_document, scope, version, id_, cuts))
                done += 1
                if progress:
                    progress(done, len(ids))

        workers = [asyncio.create_task(work()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _again(self, id_: str, work: Callable[[], Awaitable[None]]) -> None:
        """Works on a document, again if an outside service fails; it can be repeated safely."""
        for attempts in range(ATTEMPTS - 1):
            try:
                return await work()
            except UpstreamError as error:
                _log.warning("Document %s is tried again: %s", id_, error.in_full())
                await asyncio.sleep(backoff(attempts))
        return await work()

    async def _sync_document(self, scope: Scope, version: Scope, id_: str, cuts: Cuts) -> None:
        """Brings one document in step."""
        async with self._pipeline.settler.settled(scope, id_) as record:
            if record is None:
                await self._index.delete(version, sorted(await self._index.chunk_ids(version, id_)))
                cuts.pop(id_, None)
                return
            if id_ in cuts and is_of(cuts[id_], record) and await self._has(version, id_, cuts):
                return
            cuts[id_] = await self._pipeline.settler.write_again(scope, record, version)

    async def _settle(self, mark: Mark, cuts: Cuts) -> None:
        """Settles a document of the version that is searched now."""
        await self._pipeline.settler.settle(mark, wait=True)
        cuts.pop(mark.document_id, None)
        with contextlib.suppress(NotFoundError):
            record = await self._catalog.documents.get(mark.scope, mark.document_id)
            if record.version:
                cuts[record.id] = record.cut

    async def _intact_cuts(self, version: Scope, cuts: Mapping[str, Cut]) -> Cuts:
        """Returns a version's cuts that are as recorded, and `GONE` for its other documents.

        Going back to it may have been interrupted, after other documents were written to it.
        """
        held: dict[str, dict[str, int]] = {}
        for (id_, bytes_), count in (await self._counted(version)).items():
            held.setdefault(id_, {})[bytes_] = count
        kept = {
            id_: cut
            for id_, cut in cuts.items()
            if held.get(id_, {}) == ({cut.version: cut.chunks} if cut.chunks else {})
        }
        return dict.fromkeys(held, GONE) | kept

    async def _has(self, version: Scope, id_: str, cuts: Cuts) -> bool:
        """False if chunks are missing: cutting a document anew removes its previous ones."""
        return len(await self._index.chunk_ids(version, id_)) == cuts[id_].chunks

    def _check_embedder(self, scope: Scope, made_with: str) -> None:
        if made_with != self._embedder.fingerprint:
            raise ConfigError(
                f"The previous version of collection {scope.collection!r} was made with the"
                f" embedder {made_with}, and the settings name {self._embedder.fingerprint}. Set"
                " the embedder back and run it again.",
                code="embedder_mismatch",
            )

    async def _check(self, version: Scope, cuts: Mapping[str, Cut]) -> None:
        """Checks that each document has its chunks, and that chunks are found by their own text.

        Raises:
            StorageError: The version is not complete.
        """
        counted = await self._counted(version)
        expected = Counter({(id_, cut.version): cut.chunks for id_, cut in cuts.items()})
        for key in counted.keys() | expected.keys():
            if counted[key] != expected[key]:
                raise _incomplete(
                    f"of document {key[0]!r} {counted[key]} of {expected[key]} chunks are there"
                )
        ids = sorted(await self._index.chunk_ids(version, None))
        sample = ids[:: max(1, len(ids) // SAMPLE)][:SAMPLE]
        for chunk in await self._index.fetch(version, sample):
            if not await self._finds(version, chunk):
                raise _incomplete(f"chunk {chunk.id} is not found by its own text")

    async def _finds(self, version: Scope, chunk: Chunk) -> bool:
        """True if a search for a chunk's text finds it, or another with that text."""
        text = passage_text(chunk)
        [vector] = await self._embedder.embed([text], kind="passage")
        leg = Leg(name="dense", vector=vector, limit=SAMPLE_DEPTH)
        [matches] = await self._index.search(version, [leg])
        found = await self._index.fetch(version, [match.chunk_id for match in matches])
        return text in map(passage_text, found)

    async def _counted(self, version: Scope) -> Counter[tuple[str, str]]:
        """Counts the chunks of each document and version of its bytes."""
        ids = sorted(await self._index.chunk_ids(version, None))
        counted: Counter[tuple[str, str]] = Counter()
        for i in range(0, len(ids), PAGE):
            chunks = await self._index.fetch(version, ids[i : i + PAGE])
            counted.update((chunk.document_id, chunk.version) for chunk in chunks)
        return counted


def _incomplete(fault: str) -> StorageError:
    return StorageError(
        f"The new version of the index is not whole: {fault}. The old one stays in use. Run"
        " it again, and please report it if that does not help.",
        code="version_not_whole",
    )
