from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from eval.offline.collection_copy import copy_collection
from rag.catalog.catalog import Catalog
from rag.catalog.schema import metadata
from rag.catalog.sqlite_database import SqliteDatabase
from rag.process.private_folder import CATALOG, INDEX
from rag.records import Submission
from rag.types import Scope
from retrieval.indexes.edge_generations import home_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def later() -> Iterator[str]:
    """Name of a table of the catalog whose rows belong to no collection."""
    table = sa.Table("later", metadata, sa.Column("id", sa.Integer, primary_key=True))
    yield table.name
    metadata.remove(table)


async def test_a_copy_has_one_collection_and_nothing_of_the_others(
    tmp_path: Path, later: str
) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    data.mkdir()
    mine, other = (Scope(tenant="default", collection=name) for name in ("mine", "other"))
    catalog = Catalog(SqliteDatabase(data / CATALOG))
    await catalog.open()
    for scope in (mine, other):
        home_of(data / INDEX, scope).mkdir(parents=True)
        await catalog.collections.claim(scope, "minilm")
        await catalog.jobs.submit(
            scope, [Submission(document_id=f"of {scope.collection}", uri="uri", source={})]
        )
    await catalog.close()
    with contextlib.closing(sqlite3.connect(data / CATALOG)) as db:
        db.execute(f"INSERT INTO {later} VALUES (1)")
        db.commit()
    copy_collection(data, mine, copy)
    copied = Catalog(SqliteDatabase(copy / CATALOG))
    await copied.open()
    assert [record.name for record in await copied.collections.of("default")] == ["mine"]
    assert (await copied.documents.get(mine, "of mine")).uri == "uri"
    await copied.close()
    assert b"of other" not in (copy / CATALOG).read_bytes()
    with contextlib.closing(sqlite3.connect(copy / CATALOG)) as db:
        for table in metadata.sorted_tables:
            (rows,) = db.execute(f"SELECT count(*) FROM {table.name}").fetchone()
            assert rows == (table.name in ("collections", "documents")), table.name
