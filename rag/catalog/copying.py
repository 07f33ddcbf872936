"""Copies of all tables between databases: rows of PostgreSQL in an SQLite file, and back.

Rows go through the tables' own types, so that either kind of database has them as if it had written
them itself. Unlike a dump of `pg_dump`, the file restores into both, by any version of its tools.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from rag.catalog import tables
from rag.catalog.database import Database, Transaction
from rag.catalog.sqlite_database import SqliteDatabase
from rag.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

ROWS = 500
"""Rows read and written at once; some have the text of a document."""
_ALL = tables.collections.metadata.sorted_tables
"""All tables, those that others refer to first."""
_OF_PROCESSES = (tables.usage_writers, tables.rollout_writers)
"""Tables of running processes: they may have rows in a catalog that was never used."""


async def write_tables(db: AsyncConnection, file: Path) -> None:
    """Writes all rows that a transaction sees into a new SQLite file."""
    target = SqliteDatabase(file)
    try:
        await target.open()
        for table in _ALL:
            found = await db.stream(table.select())
            async for rows in found.mappings().partitions(ROWS):
                async with target.write() as writing:
                    await writing.execute(table.insert(), [dict(row) for row in rows])
    finally:
        await target.close()


async def read_tables(file: Path, database: Database) -> None:
    """Writes all rows of an SQLite file into an empty database: all of them, or none.

    The file is brought to today's tables first.

    Raises:
        ConfigError: The database is not empty.
    """
    source = SqliteDatabase(file)
    try:
        await source.open()
        async with database.write() as db:
            await check_empty(db)
            for table in _ALL:
                await _copy(source, table, db)
    finally:
        await source.close()


async def check_empty(db: Transaction) -> None:
    """Raises ConfigError if any table has rows but those of running processes."""
    for table in _ALL:
        if table not in _OF_PROCESSES and (await db.execute(table.select().limit(1))).first():
            raise ConfigError(
                f"The catalog is not empty: its table {table.name} has rows. A backup is restored"
                " into an empty database: name another one in catalog.url.",
                code="not_empty",
            )


async def _copy(source: SqliteDatabase, table: sa.Table, db: Transaction) -> None:
    """Copies a table in the order of its key, a page at a time."""
    key = sa.tuple_(*table.primary_key)
    last: tuple[Any, ...] | None = None
    while True:
        page = table.select().order_by(*table.primary_key).limit(ROWS)
        if last is not None:
            page = page.where(key > sa.tuple_(*map(sa.literal, last)))
        rows = [dict(row) for row in await source.rows(page)]
        if not rows:
            break
        await db.execute(table.insert(), rows)
        last = tuple(rows[-1][column.name] for column in table.primary_key)
    counted = table.autoincrement_column
    if counted is not None and last is not None and not counted.foreign_keys:
        sequence = sa.func.pg_get_serial_sequence(table.name, counted.name)
        await db.execute(sa.select(sa.func.setval(sequence, last[0])))
