"""Opens the catalog, and builds the index."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.catalog.answers import Answers
from rag.catalog.catalog import Catalog
from rag.catalog.database import Database, PostgresDatabase
from rag.catalog.sqlite_database import SqliteDatabase
from rag.errors import ConfigError, NotFoundError
from rag.operations.backup.restoring import refuse_unfinished
from rag.process.extras import needing
from rag.process.folder_lock import own
from rag.process.private_folder import CATALOG, is_shared, make_private, tighten
from rag.settings.storage import EdgeSettings, PostgresSettings, QdrantSettings, SqliteSettings
from rag.settings.tree import Settings

if TYPE_CHECKING:
    from rag.protocols import StoredIndex
    from retrieval.bm25 import Bm25Encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The catalog of a process that may change it."""

    settings: Settings
    database: Database
    catalog: Catalog
    alone: bool
    """True if no other process ingests into this catalog."""
    announce: Callable[[str], None]
    """Tells other processes the URL under which this one serves its data folder."""


@contextlib.asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Storage]:
    """Opens the catalog, and no model, index or broker; closes it at the end.

    Owns the data folder, unless everything that only one process may have is on servers. Tasks that
    a dead process left are pending again.

    Raises:
        ConfigError: Another process owns the folder.
        StorageError: The catalog is damaged.
    """
    data = settings.data_dir.resolve()
    refuse_unfinished(data)
    on_servers = (settings.index.kind, settings.catalog.kind) == ("qdrant", "postgres")
    alone = settings.queue.in_process and not on_servers
    async with contextlib.AsyncExitStack() as stack:
        announce = _no_announcement if on_servers else stack.enter_context(own(data))
        if not is_shared(settings):
            tighten(data)
            stack.callback(tighten, data)
        database = build_database(settings.catalog, data)
        catalog = Catalog(database)
        stack.push_async_callback(catalog.close)
        await catalog.open()
        if settings.queue.in_process:
            await catalog.tasks.release(died=alone)
        yield Storage(
            settings=settings, database=database, catalog=catalog, alone=alone, announce=announce
        )


@contextlib.asynccontextmanager
async def open_beside(settings: Settings) -> AsyncIterator[Storage]:
    """Opens the catalog beside a server that may be running on it, for rows that no server owns.

    Raises:
        ConfigError: The data folder cannot be used.
    """
    data = settings.data_dir.resolve()
    refuse_unfinished(data)
    try:
        make_private(data)
    except OSError as error:
        raise ConfigError(f"The data folder {data} cannot be used: {error.strerror}.") from error
    database = build_database(settings.catalog, data)
    try:
        await database.open()
        yield Storage(
            settings=settings,
            database=database,
            catalog=Catalog(database),
            alone=False,
            announce=_no_announcement,
        )
    finally:
        await database.close()


def attributes_of(opened: Storage) -> dict[str, Any]:
    """Returns the attributes of an opened part, by name, for the part that is built on it."""
    return {field.name: getattr(opened, field.name) for field in fields(opened)}


def _no_announcement(_url: str) -> None:
    """Does nothing: nobody looks into a shared folder, and servers are found by their address."""


@contextlib.asynccontextmanager
async def open_answers(settings: Settings) -> AsyncIterator[tuple[Catalog, Answers]]:
    """Opens the catalog and the stored answers for reading; a server may be running on them.

    Raises:
        NotFoundError: There is no catalog.
    """
    data = settings.data_dir.resolve()
    if isinstance(settings.catalog, SqliteSettings) and not (data / CATALOG).is_file():
        raise NotFoundError(
            f"No answers are kept in {data}: there is no catalog. `rag serve` makes one.",
            code="no_catalog",
        )
    database = build_database(settings.catalog, data)
    try:
        await database.open()
        yield Catalog(database), Answers(database)
    finally:
        await database.close()


def build_database(settings: SqliteSettings | PostgresSettings, data: Path) -> Database:
    """Returns the catalog's database, not yet opened."""
    match settings:
        case SqliteSettings():
            return SqliteDatabase(data / CATALOG)
        case PostgresSettings(url=url):
            return PostgresDatabase(url.get_secret_value())


def build_index(settings: Settings, folder: Path, dim: int, encoder: Bm25Encoder) -> StoredIndex:
    """Returns the index that the settings name, not yet opened.

    Raises:
        ConfigError: `rank_bm25` is set for an index on a server, where others may write too.
    """
    inner = _build_stored(settings.index, folder, dim)
    if settings.retrieval.lexical == "sparse":
        return inner
    if settings.index.kind == "qdrant":
        raise ConfigError(
            "`retrieval.lexical = 'rank_bm25'` keeps a collection in memory and would not see what"
            " other processes write to Qdrant: set it to 'sparse', or `index.kind` to 'edge'."
        )
    from retrieval.indexes.rank_bm25 import RankBm25Index

    return RankBm25Index(inner, encoder=encoder)


def _build_stored(settings: EdgeSettings | QdrantSettings, folder: Path, dim: int) -> StoredIndex:
    match settings:
        case EdgeSettings():
            from retrieval.indexes.edge import EdgeIndex

            return EdgeIndex(folder, dim=dim)
        case QdrantSettings():
            return _build_qdrant(settings, dim)


def _build_qdrant(settings: QdrantSettings, dim: int) -> StoredIndex:
    with needing("qdrant", for_="`index.kind = 'qdrant'`"):
        from retrieval.indexes.qdrant import QdrantIndex
        from retrieval.indexes.qdrant_points import Layout
        from retrieval.indexes.qdrant_server import connect
    key = settings.api_key
    server = connect(
        *settings.urls,
        api_key=key.get_secret_value() if key else None,
        grpc_port=settings.grpc_port,
        prefer_grpc=settings.prefer_grpc,
        timeout=settings.timeout,
        spread=settings.spread_reads,
    )
    layout = Layout(
        shards=settings.shards,
        replicas=settings.replicas,
        hnsw_m=settings.hnsw_m,
        hnsw_ef_construct=settings.hnsw_ef_construct,
        on_disk=settings.on_disk,
        quantization=settings.quantization,
    )
    return QdrantIndex(server, dim=dim, prefix=settings.prefix, layout=layout)
