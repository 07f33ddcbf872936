"""Copies one collection into a data folder of its own: a process opens an index alone."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from rag.catalog.schema import metadata
from rag.catalog.tables import collections, document_readers, documents, texts
from rag.process.folder_lock import own
from rag.process.private_folder import CATALOG, INDEX
from rag.types import Scope
from retrieval.indexes.edge_generations import home_of
from retrieval.indexes.sparse_files import check_room, copy_tree, size_of

COPIED = (collections, documents, document_readers, texts)
"""The tables that questions read; all others are empty in a copy."""


def copy_collection(data: Path, scope: Scope, to: Path) -> None:
    """Makes a data folder of one collection: its index, and its part of the embedded catalog.

    Raises:
        ConfigError: Another process works on `data`.
        StorageError: The disk is full.
    """
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
    for table in reversed(metadata.sorted_tables):  # tables that refer to others go first
        delete = f"DELETE FROM {table.name}"  # noqa: S608 - our own name
        if table in COPIED:
            others = f"{delete} WHERE (tenant, collection) != (?, ?)"
            catalog.execute(others, (scope.tenant, scope.collection))
        else:
            catalog.execute(delete)
    catalog.commit()
    catalog.execute("VACUUM")
