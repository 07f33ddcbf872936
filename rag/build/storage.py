"""Builds the catalog and the index."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from rag.catalog.database import Database, PostgresDatabase, SqliteDatabase
from rag.catalog.tables import metadata
from rag.errors import ConfigError
from rag.process.folder_lock import own
from rag.process.private_folder import CATALOG, INDEX
from rag.settings.storage import EdgeSettings, PostgresSettings, QdrantSettings, SqliteSettings
from rag.settings.tree import Settings
from rag.types import Scope

if TYPE_CHECKING:
    from rag.protocols import StoredIndex
    from retrieval.bm25 import Bm25Encoder


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
    try:
        from retrieval.indexes.qdrant import QdrantIndex
        from retrieval.indexes.qdrant_points import Layout
        from retrieval.indexes.qdrant_server import connect
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`index.kind = 'qdrant'` needs the module {error.name!r}, which is not installed:"
            " run `pip install 'plumbline-rag[qdrant]'`."
        ) from None
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


def copy_collection(data: Path, scope: Scope, to: Path) -> None:
    """Makes a data folder of one collection: its index, and its part of the embedded catalog.

    Raises:
        ConfigError: Another process works on `data`.
        StorageError: The disk is full.
    """
    from retrieval.indexes.edge_generations import home_of
    from retrieval.indexes.sparse_files import check_room, copy_tree, size_of

    with own(data):
        index = home_of(data / INDEX, scope)
        check_room(to, needed=size_of(index) + (data / CATALOG).stat().st_size)
        copy_tree(index, home_of(to / INDEX, scope))
        with (
            contextlib.closing(sqlite3.connect(data / CATALOG)) as old,
            contextlib.closing(sqlite3.connect(to / CATALOG)) as new,
        ):
            old.backup(new)
            _keep_only(scope, new)


def _keep_only(scope: Scope, catalog: sqlite3.Connection) -> None:
    theirs = (scope.tenant, scope.collection)
    for table in reversed(metadata.sorted_tables):  # tables that refer to others go first
        others = f"DELETE FROM {table.name} WHERE (tenant, collection) != (?, ?)"  # noqa: S608
        catalog.execute(others, theirs)
    catalog.commit()
    catalog.execute("VACUUM")
