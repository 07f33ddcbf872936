from __future__ import annotations

from dataclasses import replace

import pytest

from rag.catalog.catalog import Catalog
from rag.catalog.unsettled import Mark
from rag.records import GONE, Cut, Switch
from rag.types import Scope
from tests.catalogs import document, store, submit, succeed

pytestmark = pytest.mark.anyio


def cut(text: str, *, recipe: str, chunks: int, duplicate_of: str | None = None) -> Cut:
    version = document("any", text).version
    return Cut(version=version, duplicate_of=duplicate_of, recipe=recipe, chunks=chunks)


async def test_a_switch_is_recorded_with_the_way_back(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a")
    await store(catalog, scope, "b", duplicate_of="a")
    await store(catalog, scope, "changed", "since it was cut")
    assert await catalog.versions.previous(scope) is None
    assert await catalog.versions.document_ids(scope) == ["a", "b", "changed"]
    before = {d.id: d for d in await catalog.documents.page(scope, limit=9)}
    cuts = {
        "a": cut("text", recipe="new", chunks=7),
        "b": cut("text", recipe="new", chunks=0, duplicate_of="a"),
        "changed": cut("text", recipe="new", chunks=5),
        "gone": cut("text", recipe="new", chunks=5),
    }
    async with catalog.versions.switching(scope, cuts, embedder="embedder-2"):
        pass
    after = {d.id: d for d in await catalog.documents.page(scope, limit=9)}
    new_a = replace(before["a"], recipe="new", chunks=7)
    new_b = replace(before["b"], recipe="new", chunks=0)
    changed = replace(before["changed"], recipe="")
    assert after == {"a": new_a, "b": new_b, "changed": changed}
    assert (await catalog.collections.get(scope)).embedder == "embedder-2"
    known = await catalog.versions.previous(scope)
    assert known is not None
    embedder, kept = known
    assert embedder == "embedder-1"
    assert {id_: (c.recipe, c.chunks) for id_, c in kept.items()} == {
        id_: (before[id_].recipe, before[id_].chunks) for id_ in ("a", "b")
    }
    async with catalog.versions.switching(scope, kept, embedder=embedder):
        pass
    back = {d.id: d for d in await catalog.documents.page(scope, limit=9)}
    assert back == before | {"changed": changed}
    await catalog.versions.recut(scope, "a", cuts["a"])
    assert await catalog.documents.get(scope, "a") == new_a


async def test_a_switch_that_fails_is_not_recorded(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a")
    before = await catalog.documents.get(scope, "a")
    cuts = {"a": cut("text", recipe="new", chunks=7)}
    with pytest.raises(RuntimeError):
        async with catalog.versions.switching(scope, cuts, embedder="embedder-2"):
            raise RuntimeError
    assert await catalog.documents.get(scope, "a") == before
    assert (await catalog.collections.get(scope)).embedder == "embedder-1"


# Cut short


async def abandoned(catalog: Catalog, *, deleted: bool) -> list[str]:
    """Returns the document ids of abandoned marks, read in pages of one."""
    found: list[Mark] = []
    while True:
        after = found[-1] if found else None
        page = await catalog.unsettled.abandoned(deleted=deleted, after=after, limit=1)
        if not page:
            return [mark.document_id for mark in found]
        found += page


async def test_a_document_is_marked_until_the_catalog_says_what_it_has_become(
    catalog: Catalog, scope: Scope
) -> None:
    for name in "abc":
        await store(catalog, scope, name, f"text of {name}")
    for name in "abc":
        await catalog.unsettled.add(scope, name)
        await catalog.unsettled.add(scope, name)
    assert (
        await catalog.documents.get(scope, "a")
    ).recipe == "? recipe"  # it is not to count as unchanged
    assert await abandoned(catalog, deleted=False) == ["a", "b", "c"]
    assert await abandoned(catalog, deleted=True) == []
    _, [task] = await submit(catalog, scope, "b")
    assert await abandoned(catalog, deleted=False) == ["a", "c"]
    await succeed(catalog, task, "text of b")
    await catalog.versions.recut(scope, "c", cut("text of c", recipe="new", chunks=2))
    assert await abandoned(catalog, deleted=False) == ["a"]
    await catalog.unsettled.remove(scope, "a")
    assert await abandoned(catalog, deleted=False) == []


async def test_who_wrote_until_a_switch_does_not_remove_the_mark(
    catalog: Catalog, scope: Scope
) -> None:
    for name in ("a", "deleted"):
        await store(catalog, scope, name)
    _, [task] = await submit(catalog, scope, "a")
    await catalog.unsettled.add(scope, "a")
    await catalog.documents.delete(scope, "deleted")
    async with catalog.versions.switching(scope, {}, embedder="embedder-2"):
        pass
    await succeed(catalog, task)
    await catalog.versions.recut(scope, "a", cut("text", recipe="new", chunks=2))
    marks = await catalog.unsettled.within(scope)
    assert [(mark.document_id, mark.switches) for mark in marks] == [("deleted", 1), ("a", 1)]
    await catalog.unsettled.remove(scope, "deleted", switches=1)
    await catalog.unsettled.add(scope, "a")  # it is written anew
    [mark] = await catalog.unsettled.within(scope)
    assert (mark.document_id, mark.switches) == ("a", 0)
    await catalog.unsettled.remove(scope, "a")
    assert await catalog.unsettled.within(scope) == []


async def test_what_a_deleted_document_had_is_known_until_the_index_has_forgotten_it(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    await catalog.documents.delete(scope, "a")
    mark = await catalog.unsettled.of(scope, "a")
    assert mark is not None
    assert mark.held == cut("text", recipe="recipe", chunks=3)
    assert await abandoned(catalog, deleted=True) == ["a"]
    _, [task] = await submit(catalog, scope, "a")
    assert await abandoned(catalog, deleted=True) == []  # the task will see to it
    await catalog.documents.delete(scope, "a")
    assert await catalog.unsettled.of(scope, "a") == mark
    assert await abandoned(catalog, deleted=True) == ["a"]
    assert not await catalog.tasks.begin(task)
    await catalog.documents.delete(scope, "nobody")
    assert await catalog.unsettled.of(scope, "nobody") is None


async def test_an_heir_is_marked_until_it_stands_for_the_bytes(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    await store(catalog, scope, "b", duplicate_of="a")
    await catalog.unsettled.add(scope, "b")
    heirs = await catalog.documents.duplicates(scope, "a")
    assert await catalog.documents.inherit(scope, heirs, chunks=3, recipe="recipe")
    assert await catalog.unsettled.of(scope, "b") is None
    assert (await catalog.documents.get(scope, "b")).recipe == "recipe"


async def test_the_deletion_of_an_heir_stays_open_where_it_is_to_inherit(
    catalog: Catalog, scope: Scope
) -> None:
    for name, original in (("a", None), ("b", "a"), ("c", "a")):
        await store(catalog, scope, name, duplicate_of=original)
    heirs = await catalog.documents.duplicates(scope, "a")
    await catalog.documents.delete(scope, heirs[0].id)
    assert not await catalog.documents.inherit(scope, heirs, chunks=3, recipe="recipe")
    assert await catalog.unsettled.of(scope, heirs[0].id) is not None
    assert (await catalog.documents.get(scope, heirs[1].id)).duplicate_of == "a"


async def test_a_switch_is_staged_until_it_is_recorded_or_dropped(
    catalog: Catalog, scope: Scope
) -> None:
    for name in ("a", "changed", "deleted"):
        await store(catalog, scope, name, f"text of {name}")
    made = {
        name: cut(f"text of {name}", recipe="new", chunks=7) for name in ("a", "changed", "deleted")
    }
    assert await catalog.staged.scopes() == []
    assert await catalog.staged.of(scope) is None
    first = Switch(version="v1", embedder="embedder-1", cuts=made)
    await catalog.staged.add(scope, first)
    assert await catalog.staged.of(scope) == first
    await catalog.staged.drop(scope)
    assert await catalog.staged.of(scope) is None
    second = Switch(version="v2", embedder="embedder-2", cuts=made)
    await catalog.staged.add(scope, second)
    assert await catalog.staged.scopes() == [scope]
    await catalog.unsettled.add(scope, "changed")  # somebody writes to it
    await catalog.versions.recut(scope, "changed", cut("text of changed", recipe="other", chunks=4))
    await catalog.documents.delete(scope, "deleted")
    await catalog.unsettled.remove(scope, "deleted")
    await store(catalog, scope, "added")
    found = await catalog.staged.of(scope)
    assert found == replace(second, cuts={"a": made["a"], "changed": GONE, "deleted": GONE})
    async with catalog.versions.switching(scope, found.cuts, embedder=found.embedder):
        pass
    assert await catalog.staged.scopes() == []
    assert (await catalog.documents.get(scope, "a")).chunks == 7
    assert (await catalog.documents.get(scope, "changed")).chunks == 4
    assert await abandoned(catalog, deleted=False) == ["added", "changed", "deleted"]
