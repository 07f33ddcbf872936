"""Makes a backup of a copy of the data."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from rag.catalog.catalog import Catalog
from rag.catalog.database import HEAD, Database
from rag.catalog.sqlite_database import SqliteDatabase
from rag.catalog.tables import documents
from rag.errors import StorageError
from rag.operations.backup import marks
from rag.operations.backup.manifest import (
    Manifest,
    StoredCollection,
    new_id,
    write_manifest,
)
from rag.operations.backup.object_store import ObjectStore
from rag.operations.backup.pieces import Pieces
from rag.operations.backup.sealing import Seal
from rag.process.private_folder import ORIGINALS, SPOOL
from rag.types import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """The data of one moment: its files by their paths in a backup.

    Attributes:
        files: they do not change; the catalog's is an SQLite file.
        made_at: the moment, in seconds since 1970.
        kinds: the kinds of catalog and index that were copied.
        unsettled: collections whose index may be of a later moment.
    """

    files: Mapping[str, Path]
    made_at: float
    kinds: Mapping[str, str]
    unsettled: Iterable[Scope] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """A new backup; bytes that it has written, and bytes that were stored before."""

    manifest: Manifest
    written: int
    reused: int


@dataclass(frozen=True, slots=True)
class CatalogSummary:
    """Collections of a catalog, and the paths of files in a backup that its documents name.

    Attributes:
        spooled: files with bytes to be ingested.
        named: these, and the documents' original files.
    """

    collections: tuple[StoredCollection, ...]
    spooled: set[str]
    named: set[str]


async def read_catalog(file: Path) -> CatalogSummary:
    """Returns what a backup says of a catalog; the file is brought to today's tables."""
    database = SqliteDatabase(file)
    catalog = Catalog(database)
    try:
        await catalog.open()
        found = tuple(await collections_of(database))
        spooled = await catalog.documents.all_spooled()
        kept = sa.select(documents.c.original).where(documents.c.original.is_not(None)).distinct()
        originals = {row["original"] for row in await database.rows(kept)}
    finally:
        await catalog.close()
    spooled_paths = {f"{SPOOL}/{key}" for key in spooled}
    return CatalogSummary(
        found, spooled_paths, spooled_paths | {f"{ORIGINALS}/{k}" for k in originals}
    )


async def collections_of(database: Database) -> list[StoredCollection]:
    """Returns the collections of an open catalog, by tenant and name."""
    from rag.catalog.tables import collections

    same = sa.and_(
        documents.c.tenant == collections.c.tenant,
        documents.c.collection == collections.c.collection,
    )
    counted = (
        sa.select(
            collections.c.tenant,
            collections.c.collection,
            collections.c.embedder,
            sa.func.count(documents.c.id).label("documents"),
            sa.func.coalesce(sa.func.sum(documents.c.chunks), 0).label("chunks"),
        )
        .select_from(collections.outerjoin(documents, same))
        .where(collections.c.removed_at.is_(None))
        .group_by(collections.c.tenant, collections.c.collection, collections.c.embedder)
        .order_by(collections.c.tenant, collections.c.collection)
    )
    return [StoredCollection(**row) for row in await database.rows(counted)]


def store_copy(
    copied: Copied, summary: CatalogSummary, store: ObjectStore, seal: Seal, stop: threading.Event
) -> Made:
    """Stores a copy: its pieces, and once they are safe its manifest. Blocks.

    Uploads that no document waits for are left out.

    Raises:
        BusyError: Old backups are being removed.
        StorageError: The place is full or lost pieces, or a file cannot be read.
        CancelledError: It was stopped.
    """
    files = {
        path: place
        for path, place in copied.files.items()
        if not path.startswith(f"{SPOOL}/") or path in summary.spooled
    }
    id_ = new_id(copied.made_at)
    with marks.making(store, id_):
        pieces = Pieces(store, seal, stop)
        stored = pieces.store(files)
        manifest = Manifest(
            id=id_,
            made_at=copied.made_at,
            catalog=HEAD,
            kinds=dict(copied.kinds),
            collections=summary.collections,
            unsettled=tuple((scope.tenant, scope.collection) for scope in copied.unsettled),
            missing=tuple(sorted(summary.named - files.keys())),
            files=tuple(stored),
        )
        store.settle()
        if lost := Pieces(store, seal).missing(manifest):  # `rag backup prune` ran beside it
            raise StorageError(
                f"Pieces of {len(lost):,} files were removed from the place of the backups while"
                f" this one was made, the first of {lost[0]}: no backup was made. Run it again.",
                code="backup_lost",
            )
        write_manifest(store, seal, manifest)
        store.settle()
        return Made(manifest, pieces.written, pieces.reused)
