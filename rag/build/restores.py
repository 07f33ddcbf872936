"""Puts a backup back: into a data folder, and into the servers that the settings name."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from rag.build.backups import embedding_of, opened_index
from rag.build.model_folders import registry_of
from rag.build.storage import build_database
from rag.catalog.copying import check_empty, read_tables
from rag.errors import ConfigError
from rag.operations.backup import moving, restoring
from rag.operations.backup.manifest import Manifest
from rag.operations.backup.object_store import ObjectStore
from rag.operations.backup.packing import collections_of
from rag.operations.backup.pieces import Pieces
from rag.operations.backup.sealing import Seal
from rag.process.interruptible import interruptible
from rag.process.private_folder import CATALOG, INDEX
from rag.protocols import StoredIndex
from rag.settings.tree import Settings
from rag.types import Scope
from retrieval.indexes.edge import EdgeIndex

_EXISTING = 1
"""Length of vectors that is given for an index whose shards exist: they have their own."""


async def restore(
    settings: Settings, manifest: Manifest, store: ObjectStore, seal: Seal
) -> Sequence[Scope]:
    """Restores a backup into what the settings name; returns the collections to check.

    Raises:
        ConfigError: The data folder or a server is not empty, or the embedder differs.
        StorageError: The backup is damaged, or there is no room.
    """
    data = settings.data_dir.resolve()
    restoring.check_target(data)
    if settings.catalog.kind == "postgres" and await _has_rows(settings, manifest, data):
        _finish(data)
    else:
        await asyncio.to_thread(restoring.check_backup, manifest, Pieces(store, seal), data)
        async with _empty_server(settings, manifest, data) as server:
            on_servers = server is not None or settings.catalog.kind == "postgres"
            if on_servers or data.is_dir():
                await _restore_within(settings, manifest, store, seal, server)
            else:
                with restoring.new_folder(data, within=False) as folder:
                    await _unpack(manifest, store, seal, folder)
                    restoring.put_in_place(folder, data)
    registry_of(settings).relink()
    return [Scope(tenant=tenant, collection=name) for tenant, name in manifest.unsettled]


async def _restore_within(
    settings: Settings,
    manifest: Manifest,
    store: ObjectStore,
    seal: Seal,
    server: StoredIndex | None,
) -> None:
    """Fills an existing data folder, and the servers.

    Rows on a server are written last, in one transaction. If that fails, it may be unknown whether
    they are written: everything is left for the next restore, which finishes or begins anew.
    """
    data = settings.data_dir.resolve()
    restoring.begin(data)
    try:
        with restoring.new_folder(data, within=True) as folder:
            await _unpack(manifest, store, seal, folder)
            if server is not None:
                await _fill_index(server, manifest, folder / INDEX)
            restoring.move_in(folder, data)
    except BaseException:
        await asyncio.to_thread(restoring.give_up, data)
        raise
    if settings.catalog.kind == "postgres":
        await asyncio.to_thread(restoring.note_files_written, data, manifest.id)
        await _fill_catalog(settings, data)
        _finish(data)
    else:
        restoring.finish(data)


async def _unpack(manifest: Manifest, store: ObjectStore, seal: Seal, folder: Path) -> None:
    await interruptible(lambda stop: restoring.unpack(manifest, Pieces(store, seal, stop), folder))


def _finish(data: Path) -> None:
    """Removes the file with the rows that are on a server now, and the mark."""
    for left in data.glob(f"{CATALOG}*"):
        left.unlink()
    restoring.finish(data)


def _scopes(manifest: Manifest) -> Sequence[Scope]:
    return [Scope(tenant=c.tenant, collection=c.collection) for c in manifest.collections]


async def _has_rows(settings: Settings, manifest: Manifest, data: Path) -> bool:
    """Returns True if a restore was cut short once it had written the rows of this backup.

    Raises:
        ConfigError: The catalog has other rows, or newer tables.
    """
    database = build_database(settings.catalog, data)
    try:
        await database.open()
        async with database.write() as db:
            await check_empty(db)
    except ConfigError as error:
        written = restoring.written_backup(data)
        if written is None or error.code != "not_empty":
            raise
        if written != manifest.id:
            raise ConfigError(
                f"The catalog has the rows of the backup {written}, whose restore was cut short"
                f" just before its end. Run `rag restore {written}` to finish that one, or name"
                " another database in catalog.url.",
                code="restore_unfinished",
            ) from None
        if set(await collections_of(database)) != set(manifest.collections):
            raise
        return True
    finally:
        await database.close()
    return False


@contextlib.asynccontextmanager
async def _empty_server(
    settings: Settings, manifest: Manifest, data: Path
) -> AsyncIterator[StoredIndex | None]:
    """Opens the index on a server; yields None if the settings name none.

    Raises:
        ConfigError: The index is not empty, or its vectors would be of another embedder.
    """
    if settings.index.kind != "qdrant":
        yield None
        return
    dim, fingerprint = await embedding_of(settings)
    _check_embedder(manifest, fingerprint)
    async with opened_index(settings, data / INDEX, dim) as index:
        for scope in _scopes(manifest):
            if await index.holds(scope) and not restoring.is_unfinished(data):
                raise ConfigError(
                    f"The index is not empty: it has chunks of {scope.collection!r}. A backup"
                    " is restored into an empty one: set another index.prefix.",
                    code="not_empty",
                )
        yield index


def _check_embedder(manifest: Manifest, fingerprint: str) -> None:
    for each in manifest.collections:
        if each.embedder != fingerprint:
            raise ConfigError(
                f"The collection {each.collection!r} of the backup was embedded with"
                f" {each.embedder}, and the settings name {fingerprint}: set the embedder"
                " of then, and run `rag reindex` after the restore.",
                code="embedder_mismatch",
            )


async def _fill_index(server: StoredIndex, manifest: Manifest, folder: Path) -> None:
    """Moves the points of an embedded index to the server, and removes its folder."""
    scopes = _scopes(manifest)
    source = EdgeIndex(folder, dim=_EXISTING)
    try:
        for scope in scopes:
            await server.remove(scope)  # what an unfinished restore has left
        try:
            await moving.move(scopes, source, server)
        except BaseException:
            for scope in scopes:  # the next restore needs an empty index
                await server.remove(scope)
            raise
    finally:
        await source.close()
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _fill_catalog(settings: Settings, data: Path) -> None:
    """Writes the rows of the restored file to the server."""
    database = build_database(settings.catalog, data)
    try:
        await database.open()
        await read_tables(data / CATALOG, database)
    finally:
        await database.close()
