"""Moves what an index holds into another one, with its vectors: nothing is embedded again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.sqlite_database import SqliteDatabase
from rag.catalog.tables import collections, content_versions, unsettled
from rag.operations.backup.packing import Copied
from rag.operations.backup.staging import files_of, link_files
from rag.process.private_folder import CATALOG, INDEX
from rag.protocols import MovableIndex, PersistentIndex
from rag.types import Scope
from retrieval.indexes.edge import EdgeIndex


async def copy_servers(
    data: Path, to: Path, *, index: MovableIndex, database: Database, kinds: dict[str, str]
) -> Copied:
    """Copies catalog and index of servers into a data folder of the embedded profile.

    The catalog is of one moment, and the index is read after it. Collections that were written
    since are `unsettled`. Only their current versions are copied.
    """
    await asyncio.to_thread(link_files, data, to)
    at = time.time()
    await database.copy_to(to / CATALOG)
    await asyncio.to_thread(link_files, data, to)
    copied = SqliteDatabase(to / CATALOG)
    try:
        scopes = await scopes_of(copied)
        before = await _versions(copied)
        for scope in scopes:
            await _fill(scope, index, to / INDEX)
        now = await _versions(database)
        busy = await _marked(database) | await _marked(copied)
    finally:
        await copied.close()
    changed = {scope for scope in scopes if before.get(scope) != now.get(scope)}
    return Copied(
        files={CATALOG: to / CATALOG, **dict(files_of(to))},
        made_at=at,
        kinds=kinds,
        unsettled=sorted(changed | (busy & set(scopes)), key=lambda scope: scope.collection),
    )


async def move(scopes: Iterable[Scope], source: MovableIndex, target: PersistentIndex) -> int:
    """Writes all points of these scopes to another index; returns their number."""
    moved = 0
    for scope in scopes:
        async for points in source.points(scope):
            await target.upsert(scope, points)
            moved += len(points)
        await target.maintain(scope)
    return moved


async def scopes_of(database: Database) -> list[Scope]:
    """Returns all collections that are not being removed."""
    kept = sa.select(collections).where(collections.c.removed_at.is_(None))
    rows = await database.rows(kept.order_by(collections.c.tenant, collections.c.collection))
    return [_scope(row) for row in rows]


async def _fill(scope: Scope, index: MovableIndex, folder: Path) -> None:
    """Copies a scope into an embedded index; its vectors have the length that they have there."""
    target: EdgeIndex | None = None
    try:
        async for points in index.points(scope):
            dense = points[0].dense if points else None
            if dense is None:
                continue
            target = target or EdgeIndex(folder, dim=len(dense))
            await target.upsert(scope, points)
    finally:
        if target is not None:
            await target.close()


async def _versions(database: Database) -> dict[Scope, str]:
    return {_scope(row): row["version"] for row in await database.rows(content_versions.select())}


async def _marked(database: Database) -> set[Scope]:
    rows = await database.rows(sa.select(unsettled.c.tenant, unsettled.c.collection).distinct())
    return {_scope(row) for row in rows}


def _scope(row: sa.RowMapping) -> Scope:
    return Scope(tenant=row["tenant"], collection=row["collection"])
