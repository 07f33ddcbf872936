"""Makes a backup of what the settings name."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rag.build.embedding import build_embedder
from rag.build.model_folders import with_model_folders
from rag.build.storage import build_database, build_index
from rag.errors import ConfigError, NotFoundError, StorageError
from rag.operations.backup import moving, owner_copies, packing, staging
from rag.operations.backup.object_store import ObjectStore
from rag.operations.backup.packing import Copied, Made
from rag.operations.backup.restoring import refuse_unfinished
from rag.operations.backup.sealing import Seal
from rag.process.folder_lock import own
from rag.process.interruptible import interruptible
from rag.process.private_folder import CATALOG, INDEX, OLD_SETTINGS
from rag.settings.storage import SqliteSettings
from rag.settings.tree import Settings, printable
from retrieval.bm25 import Bm25Encoder

if TYPE_CHECKING:
    from rag.protocols import StoredIndex


async def make_backup(settings: Settings, store: ObjectStore, seal: Seal) -> Made:
    """Copies the data as it is at one moment, beside a running service, and stores the copy.

    Raises:
        NotFoundError: There is no data.
        ConfigError: The data folder or the settings cannot be used.
        StorageError: The place is full, or the data is damaged.
    """
    data = settings.data_dir.resolve()
    refuse_unfinished(data)
    if isinstance(settings.catalog, SqliteSettings) and not (data / CATALOG).is_file():
        raise NotFoundError(f"There is nothing to back up in {data}: it has no catalog.")
    with owner_copies.locked_folder(data) as folder:
        async with _copied(settings, data, folder) as copied:
            old = folder / OLD_SETTINGS
            old.write_text(json.dumps(printable(settings), indent=2))
            everything = Copied(
                files={**copied.files, OLD_SETTINGS: old},
                made_at=copied.made_at,
                kinds=copied.kinds,
                unsettled=copied.unsettled,
            )
            if not copied.files[CATALOG].is_file():  # opened, it would be a new and empty one
                raise StorageError("The copy of the data has no catalog: run it again.")
            summary = await packing.read_catalog(copied.files[CATALOG])
            return await interruptible(
                partial(packing.store_copy, everything, summary, store, seal)
            )


@contextlib.asynccontextmanager
async def _copied(settings: Settings, data: Path, folder: Path) -> AsyncIterator[Copied]:
    """Yields the data of one moment, which stays as it is until the end of the block."""
    kinds: dict[str, str] = {"catalog": settings.catalog.kind, "index": settings.index.kind}
    if settings.index.kind == "qdrant":
        (copy := folder / "servers").mkdir()
        dim, _ = await embedding_of(settings)
        async with opened_index(settings, data / INDEX, dim) as index:
            database = build_database(settings.catalog, data)
            try:
                yield await moving.copy_servers(
                    data, copy, index=index, database=database, kinds=kinds
                )
            finally:
                await database.close()
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(own(data))
        except ConfigError as error:
            if error.code != "data_folder_in_use":
                raise
            copy = await owner_copies.copy_of_owner(data, folder)
            files = dict(staging.files_of(copy)) | {CATALOG: copy / CATALOG}
            yield Copied(files=files, made_at=staging.moment_of(copy), kinds=kinds)
            return
        at = time.time()  # nobody ingests: the files are stored as they lie there
        database = build_database(settings.catalog, data)
        try:
            async with database.snapshot(folder / CATALOG) as catalog:
                files = dict(staging.files_of(data)) | {CATALOG: catalog}
                yield Copied(files=files, made_at=at, kinds=kinds)
        finally:
            await database.close()


async def embedding_of(settings: Settings) -> tuple[int, str]:
    """Loads the embedder that the settings name; returns its dimension and its fingerprint."""

    def load() -> tuple[int, str]:
        embedder = build_embedder(with_model_folders(settings).embedder)
        try:
            return embedder.dim, embedder.fingerprint
        finally:
            embedder.close()

    return await asyncio.to_thread(load)


@contextlib.asynccontextmanager
async def opened_index(settings: Settings, folder: Path, dim: int) -> AsyncIterator[StoredIndex]:
    """Opens the index that the settings name, for vectors of a dimension, and closes it."""
    index = build_index(settings, folder, dim, Bm25Encoder())
    try:
        yield index
    finally:
        await index.close()
