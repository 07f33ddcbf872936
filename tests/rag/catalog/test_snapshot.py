"""The SQLite file of a backup: the catalog's own while it cannot change, or a copy."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rag.catalog.sqlite_database import SqliteDatabase
from rag.catalog.tables import content_versions
from rag.errors import StorageError

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "catalog.sqlite")
    await made.open()
    await insert(made, "before")
    yield made
    await made.close()


async def insert(database: SqliteDatabase, *names: str) -> None:
    async with database.write() as db:
        rows = [{"tenant": "t", "collection": name, "version": "1"} for name in names]
        await db.execute(content_versions.insert(), rows)


def names_in(file: Path, tmp_path: Path) -> list[str]:
    """Copies the file alone, as a backup does, and reads it."""
    alone = tmp_path / "alone.sqlite"
    shutil.copyfile(file, alone)
    with contextlib.closing(sqlite3.connect(alone)) as db:
        return [
            name for (name,) in db.execute("SELECT collection FROM content_versions ORDER BY 1")
        ]


async def test_the_file_stays_as_it_is_while_others_write_and_check_the_log_in(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    async with database.snapshot(tmp_path / "copy.sqlite") as file:
        assert file == tmp_path / "catalog.sqlite"
        before = file.read_bytes()
        await insert(database, *(f"c{n}" for n in range(5_000)))
        with contextlib.closing(sqlite3.connect(file)) as other:
            other.execute("PRAGMA busy_timeout=0")
            other.execute("PRAGMA wal_checkpoint(PASSIVE)")
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 1  # busy
        assert file.read_bytes() == before
        assert names_in(file, tmp_path) == ["before"]
    assert await database.trim()
    assert len(names_in(tmp_path / "catalog.sqlite", tmp_path)) == 5_001


async def test_a_log_that_cannot_be_emptied_is_copied(
    database: SqliteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "rag.catalog.sqlite_database._PRAGMAS", ("journal_mode=WAL", "busy_timeout=0")
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM content_versions").fetchone()
        await insert(database, "after")
        async with database.snapshot(tmp_path / "copy.sqlite") as file:
            assert file == tmp_path / "copy.sqlite"
            assert names_in(file, tmp_path) == ["after", "before"]


async def test_a_damaged_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"no database" * 1_000)
    database = SqliteDatabase(tmp_path / "catalog.sqlite")
    with pytest.raises(StorageError, match="catalog cannot be used"):
        async with database.snapshot(tmp_path / "copy.sqlite"):
            pytest.fail("it was read")
    with pytest.raises(StorageError, match="catalog cannot be used"):
        await database.copy_to(tmp_path / "copy.sqlite")
    await database.close()
