from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest

from rag.catalog.answers import Answers
from rag.catalog.catalog import Catalog
from rag.catalog.collections import Collections
from rag.catalog.documents import Documents
from rag.catalog.jobs import Jobs
from rag.catalog.keys import Keys
from rag.catalog.sqlite_database import SqliteDatabase
from rag.catalog.staged import Staged
from rag.catalog.tasks import Tasks
from rag.catalog.unsettled import Unsettled
from rag.catalog.versions import Versions
from rag.errors import NotFoundError, StorageError
from rag.types import Scope
from tests.catalogs import store

pytestmark = pytest.mark.anyio


async def test_a_collection_keeps_the_embedder_it_was_made_with(
    catalog: Catalog, scope: Scope
) -> None:
    assert await catalog.collections.claim(scope, "first") == "first"
    assert await catalog.collections.claim(scope, "second") == "first"
    assert (await catalog.collections.get(scope)).embedder == "first"


async def test_an_unknown_collection_is_an_error_that_names_no_other_one(
    catalog: Catalog, scope: Scope
) -> None:
    await catalog.collections.claim(replace(scope, collection="notes"), "e")
    with pytest.raises(NotFoundError, match=r"'handbook'\. `rag status`") as caught:
        await catalog.collections.get(scope)
    assert "notes" not in str(caught.value)
    assert caught.value.code == "unknown_collection"


async def test_collections_count_their_documents_and_chunks_and_come_by_name(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    await store(catalog, scope, "b", duplicate_of="a")
    await catalog.collections.claim(replace(scope, collection="empty"), "e")
    await catalog.collections.claim(replace(scope, tenant="rival"), "e")
    listed = [(c.name, c.documents, c.chunks) for c in await catalog.collections.of(scope.tenant)]
    assert listed == [("empty", 0, 0), ("handbook", 2, 3)]
    assert [c.outdated for c in await catalog.collections.of(scope.tenant)] == [0, 2]


# Disk


async def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"this is no database at all" * 100)
    catalog = Catalog(SqliteDatabase(tmp_path / "catalog.sqlite"))
    with pytest.raises(StorageError, match="restore it from a backup") as caught:
        await catalog.open()
    assert "not a database" in caught.value.in_full()
    assert str(tmp_path) not in str(caught.value)
    await catalog.close()


# Tenants


@pytest.mark.parametrize(
    "part", [Answers, Collections, Documents, Jobs, Keys, Staged, Tasks, Unsettled, Versions]
)
def test_a_call_takes_a_tenant_or_says_that_it_serves_all(part: type) -> None:
    calls = {
        name: call
        for name, call in inspect.getmembers(part, inspect.isfunction)
        if not name.startswith("_")
    }
    assert calls
    for name, call in calls.items():
        takes = inspect.signature(call).parameters.keys() & {"scope", "tenant", "task", "caller"}
        assert takes or re.search("(all|any|several) tenants?", call.__doc__ or ""), name
