"""Collections that are removed, in the catalog."""

from __future__ import annotations

import pytest

from rag.catalog.catalog import Catalog
from rag.errors import BusyError, NotFoundError
from rag.types import Scope
from tests.catalogs import store, submission, submit

pytestmark = pytest.mark.anyio


async def test_a_collection_that_is_being_removed_is_as_none_and_takes_nothing(
    catalog: Catalog, scope: Scope
) -> None:
    other = Scope(tenant=scope.tenant, collection="kept")
    for each in (scope, other):
        await store(catalog, each, "a", "text")
    _, [begun] = await submit(catalog, scope, "b")
    assert await catalog.tasks.begin(begun)
    _, [claimed] = await submit(catalog, scope, "c")
    await catalog.removals.begin(scope)
    catalog.collections.forget(scope)
    assert await catalog.removals.begun() == [scope]
    assert not await catalog.tasks.begin(claimed)
    assert scope not in await catalog.collections.everywhere()
    assert [c.name for c in await catalog.collections.of(scope.tenant)] == ["kept"]
    with pytest.raises(NotFoundError):
        await catalog.collections.check_exists(scope)
    with pytest.raises(NotFoundError):
        await catalog.removals.begin(scope)
    with pytest.raises(BusyError, match="is being deleted"):
        await catalog.collections.claim(scope, "embedder-1")
    with pytest.raises(BusyError, match="is being deleted"):
        await catalog.jobs.submit(scope, [submission("d")])

    for _ in range(2):
        await catalog.removals.clear(scope)
        assert "b" in await catalog.removals.running(scope)
        assert await catalog.documents.page(scope, limit=9) == []
        assert await catalog.documents.text(scope, "a") == ""
    for _ in range(2):
        await catalog.removals.end(scope)
        assert await catalog.removals.begun() == []
        assert await catalog.removals.running(scope) == []
    assert await catalog.documents.text(other, "a") == "text"
    assert (await catalog.collections.get(other)).documents == 1


async def test_a_task_of_a_removed_collection_is_not_taken_for_a_new_one_with_its_number(
    catalog: Catalog, scope: Scope
) -> None:
    _, [stale] = await submit(catalog, scope, "a")
    await catalog.removals.begin(scope)
    await catalog.removals.clear(scope)
    await catalog.removals.end(scope)
    _, [fresh] = await submit(catalog, scope, "b")
    assert not await catalog.tasks.begin(stale)
    assert await catalog.tasks.begin(fresh)
