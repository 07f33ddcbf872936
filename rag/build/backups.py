"""Opens what a backup is made of, and where it is stored; puts a backup back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from rag.build.embedding import build_embedder
from rag.build.model_folders import with_model_folders
from rag.build.storage import build_database, build_index
from rag.errors import ConfigError, NotFoundError, StorageError
from rag.operations.backup import moving, owner_copies, packing, staging
from rag.operations.backup.object_store import FolderStore, ObjectStore
from rag.operations.backup.packing import Copied, Made
from rag.operations.backup.restoring import refuse_unfinished
from rag.operations.backup.sealing import Encrypted, Plain, Seal
from rag.privacy.redaction import masked
from rag.process.extras import needing
from rag.process.folder_lock import own
from rag.process.private_folder import CATALOG, INDEX, OLD_SETTINGS
from rag.settings.backup import key_bytes
from rag.settings.storage import SqliteSettings
from rag.settings.tree import Settings, printable
from retrieval.bm25 import Bm25Encoder

if TYPE_CHECKING:
    from rag.protocols import StoredIndex

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_BUCKET = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*?))?/*")


def build_store(settings: Settings, place: str | None = None) -> ObjectStore:
    """Returns the place of the backups; `place` is one that replaces the setting's.

    Raises:
        ConfigError: None is named, or it is not valid.
    """
    place = place or settings.backup.to
    if not place:
        raise ConfigError(
            "No place for backups is named: set backup.to to a folder or s3://BUCKET/PREFIX, or"
            " name one with --place."
        )
    if _SCHEME.match(place) and not place.startswith("s3:"):
        raise ConfigError(
            f"{masked(place)} is no place for backups: name a folder or s3://BUCKET/PREFIX."
        )
    if not place.startswith("s3:"):
        folder = Path(place).expanduser().resolve()
        data = settings.data_dir.resolve()
        if folder == data or data in folder.parents:
            raise ConfigError(
                f"The folder of the backups, {folder}, lies in the data folder: a backup that is"
                " lost with its data is none."
            )
        return FolderStore(folder)
    bucket = _BUCKET.fullmatch(place)
    if bucket is None:
        raise ConfigError(f"{masked(place)} has not the form s3://BUCKET/PREFIX.")
    with needing("backup", for_=f"{place}"):
        from rag.operations.backup.s3_store import S3Store
    return S3Store(bucket[1], bucket[2] or "")


def build_seal(settings: Settings) -> Seal:
    """Returns what encrypts with `backup.key`; without a key, what does not."""
    key = settings.backup.key
    return Plain() if key is None else Encrypted(key_bytes(key))


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
    with owner_copies.alone(data) as folder:
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
            content = await packing.read_catalog(copied.files[CATALOG])
            return await asyncio.to_thread(packing.store, everything, content, store, seal)


@contextlib.asynccontextmanager
async def _copied(settings: Settings, data: Path, folder: Path) -> AsyncIterator[Copied]:
    """Yields the data of one moment, which stays as it is until the end of the block."""
    kinds: dict[str, str] = {"catalog": settings.catalog.kind, "index": settings.index.kind}
    if settings.index.kind == "qdrant":
        (copy := folder / "servers").mkdir()
        async with opened_index(settings, data / INDEX) as index:
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
        at, catalog = time.time(), folder / CATALOG  # nobody ingests: nothing else is copied
        database = build_database(settings.catalog, data)
        try:
            await database.copy_to(catalog)
        finally:
            await database.close()
        files = dict(staging.files_of(data)) | {CATALOG: catalog}
        yield Copied(files=files, made_at=at, kinds=kinds)


@contextlib.asynccontextmanager
async def opened_index(settings: Settings, folder: Path) -> AsyncIterator[StoredIndex]:
    """Opens the index that the settings name, without a model, and closes it."""
    embedder = await asyncio.to_thread(build_embedder, with_model_folders(settings).embedder)
    index = build_index(settings, folder, embedder.dim, Bm25Encoder())
    try:
        yield index
    finally:
        await index.close()
        embedder.close()
