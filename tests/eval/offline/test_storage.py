from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from eval.offline.collection_copy import copy_collection
from rag.catalog.catalog import Catalog
from rag.catalog.database import SqliteDatabase
from rag.catalog.tables import metadata
from rag.process.private_folder import CATALOG, INDEX
from rag.records import Submission
from rag.types import Scope
from retrieval.indexes.edge_generations import home_of

pytestmark = pytest.mark.anyio


EMPTY = {"texts", "answers", "answer_documents", "unsettled", "staged"}
"""Tables in which submitting a document writes nothing."""


async def test_a_copy_has_one_collection_and_nothing_of_the_others(tmp_path: Path) -> None:
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
    copy_collection(data, mine, copy)
    copied = Catalog(SqliteDatabase(copy / CATALOG))
    await copied.open()
    assert [record.name for record in await copied.collections.of("default")] == ["mine"]
    assert (await copied.documents.get(mine, "of mine")).uri == "uri"
    await copied.close()
    assert b"of other" not in (copy / CATALOG).read_bytes()
    with contextlib.closing(sqlite3.connect(data / CATALOG)) as db:
        for name in metadata.tables.keys() - EMPTY:
            assert db.execute(f"SELECT count(*) FROM {name}").fetchone() == (2,)
