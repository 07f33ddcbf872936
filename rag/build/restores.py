"""Puts a backup back: into a data folder, and into the servers that the settings name."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from rag.build.backups import opened_index
from rag.build.embedding import build_embedder
from rag.build.model_folders import registry_of, with_model_folders
from rag.build.storage import build_database
from rag.catalog.copying import check_empty, read_tables
from rag.errors import ConfigError
from rag.operations.backup import moving, restoring
from rag.operations.backup.manifest import Manifest
from rag.operations.backup.object_store import ObjectStore
from rag.operations.backup.pieces import Pieces
from rag.operations.backup.sealing import Seal
from rag.process.private_folder import CATALOG, INDEX
from rag.settings.tree import Settings
from rag.types import Scope
from retrieval.indexes.edge import EdgeIndex

_EXISTING = 1
"""Length of vectors that is given for an index whose shards exist: they have their own."""


async def restore(
    settings: Settings, manifest: Manifest, store: ObjectStore, seal: Seal
) -> Sequence[Scope]:
    """Restores a backup into what the settings name; returns the collections to check.

    A catalog on a server is written last, in one transaction.

    Raises:
        ConfigError: The data folder or a server is not empty, or the embedder differs.
        StorageError: The backup is damaged, or there is no room.
    """
    data = settings.data_dir.resolve()
    restoring.check_target(data)
    pieces = Pieces(store, seal)
    await asyncio.to_thread(restoring.check_backup, manifest, pieces, data)
    on_servers = (settings.catalog.kind, settings.index.kind) != ("sqlite", "edge")
    if on_servers:
        await _check_servers(settings, manifest, data)
    within = on_servers or data.is_dir()
    if not within:
        made = await asyncio.to_thread(restoring.unpack, manifest, pieces, data, within=False)
        restoring.put_in_place(made, data)
        registry_of(settings).relink()
        return _unsettled(manifest)
    restoring.begin(data)
    try:
        made = await asyncio.to_thread(restoring.unpack, manifest, pieces, data, within=True)
        if settings.index.kind == "qdrant":
            await _fill_index(settings, manifest, made / INDEX)
        if settings.catalog.kind == "postgres":
            await _fill_catalog(settings, data, made / CATALOG)
    except BaseException:
        await asyncio.to_thread(restoring.give_up, data)
        raise
    restoring.move_in(made, data)
    restoring.finish(data)
    registry_of(settings).relink()
    return _unsettled(manifest)


def _unsettled(manifest: Manifest) -> Sequence[Scope]:
    return [Scope(tenant=tenant, collection=name) for tenant, name in manifest.unsettled]


def _scopes(manifest: Manifest) -> Sequence[Scope]:
    return [Scope(tenant=c.tenant, collection=c.collection) for c in manifest.collections]


async def _check_servers(settings: Settings, manifest: Manifest, data: Path) -> None:
    """Raises ConfigError unless the servers are empty, and the vectors are of the embedder."""
    if settings.catalog.kind == "postgres":
        database = build_database(settings.catalog, data)
        try:
            await database.open()
            async with database.write() as db:
                await check_empty(db)
        finally:
            await database.close()
    if settings.index.kind == "qdrant":
        _check_embedder(settings, manifest)
        async with opened_index(settings, data / INDEX) as index:
            for scope in _scopes(manifest):
                if await index.holds(scope) and not restoring.is_unfinished(data):
                    raise ConfigError(
                        f"The index is not empty: it has chunks of {scope.collection!r}. A backup"
                        " is restored into an empty one: set another index.prefix.",
                        code="not_empty",
                    )


def _check_embedder(settings: Settings, manifest: Manifest) -> None:
    embedder = build_embedder(with_model_folders(settings).embedder)
    embedder.close()
    for each in manifest.collections:
        if each.embedder != embedder.fingerprint:
            raise ConfigError(
                f"The collection {each.collection!r} of the backup was embedded with"
                f" {each.embedder}, and the settings name {embedder.fingerprint}: set the embedder"
                " of then, and run `rag reindex` after the restore.",
                code="embedder_mismatch",
            )


async def _fill_index(settings: Settings, manifest: Manifest, folder: Path) -> None:
    """Moves the points of an embedded index to the server, and removes its folder."""
    source = EdgeIndex(folder, dim=_EXISTING)
    try:
        async with opened_index(settings, folder) as target:
            for scope in _scopes(manifest):
                await target.remove(scope)  # what an unfinished restore has left
            try:
                await moving.move(_scopes(manifest), source, target)
            except BaseException:
                for scope in _scopes(manifest):  # the next restore needs an empty index
                    await target.remove(scope)
                raise
    finally:
        await source.close()
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _fill_catalog(settings: Settings, data: Path, file: Path) -> None:
    """Writes the rows of a file to the server, and removes it."""
    database = build_database(settings.catalog, data)
    try:
        await database.open()
        await read_tables(file, database)
    finally:
        await database.close()
    await asyncio.to_thread(file.unlink)
