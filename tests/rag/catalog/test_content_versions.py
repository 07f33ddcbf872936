"""The version of a collection's content changes with what questions find, and only then."""

from __future__ import annotations

import pytest

from rag.catalog.catalog import Catalog
from rag.catalog.database import Database
from rag.catalog.tables import content_versions
from rag.errors import NotFoundError
from rag.types import DEFAULT, Scope
from tests.catalogs import store, submit

pytestmark = pytest.mark.anyio


async def version(catalog: Catalog, scope: Scope) -> str:
    return (await catalog.contents.of(scope)).version


async def test_each_change_has_a_version_of_its_own(catalog: Catalog, scope: Scope) -> None:
    with pytest.raises(NotFoundError):
        await catalog.contents.of(scope)
    seen: list[str] = []

    async def changed() -> None:
        seen.append(await version(catalog, scope))

    await submit(catalog, scope, "a")
    await changed()
    await store(catalog, scope, "a", "text")
    await changed()
    await store(catalog, scope, "a", "other text")
    await changed()
    await catalog.acls.set(scope, "a", frozenset({"user:anna"}))
    await changed()
    await catalog.acls.set_default(scope, frozenset({"group:sales"}))
    await changed()
    await catalog.documents.delete(scope, "a")
    await changed()
    await catalog.unsettled.remove(scope, "a")  # its chunks are gone
    await changed()
    await catalog.documents.lose(scope, "lost")
    await changed()
    async with catalog.versions.switching(scope, {}, embedder="embedder-2"):
        pass
    await changed()
    await catalog.removals.begin(scope)
    with pytest.raises(NotFoundError):
        await catalog.contents.of(scope)
    await catalog.removals.clear(scope)
    await catalog.removals.end(scope)
    await submit(catalog, scope, "a")
    await changed()
    assert len(set(seen)) == len(seen)


async def test_what_questions_do_not_find_changes_nothing(catalog: Catalog, scope: Scope) -> None:
    other = Scope(tenant=scope.tenant, collection="other")
    await store(catalog, scope, "a", "text")
    before = await version(catalog, scope)
    await store(catalog, other, "a", "text")
    _, [task] = await submit(catalog, scope, "b")
    await catalog.tasks.begin(task)
    await catalog.outcomes.fail(task, "It cannot be read.")
    assert await version(catalog, scope) == before


async def test_a_document_that_is_being_written_is_told(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a", "text")
    assert (await catalog.contents.of(scope)).settled
    await catalog.unsettled.add(scope, "a")
    assert not (await catalog.contents.of(scope)).settled
    await catalog.unsettled.remove(scope, "a")
    assert (await catalog.contents.of(scope)).settled


async def test_a_collection_without_a_version_is_never_settled(
    catalog: Catalog, database: Database, scope: Scope
) -> None:
    await store(catalog, scope, "a", "text")
    async with database.write() as db:  # as if a process of an older release had made it
        await db.execute(content_versions.delete())
    assert not (await catalog.contents.of(scope)).settled


async def test_only_words_that_a_document_names_count(catalog: Catalog, scope: Scope) -> None:
    await store(catalog, scope, "a", "text")
    await catalog.acls.set(scope, "a", frozenset({"group:sales"}))
    anna = Scope(
        tenant=scope.tenant,
        collection=scope.collection,
        readers=frozenset({"public", "user:anna", "group:sales", "group:law"}),
    )
    assert await catalog.contents.words(await catalog.contents.of(scope)) is None
    content = await catalog.contents.of(anna)
    assert await catalog.contents.words(content) == frozenset({"group:sales", DEFAULT})
    await catalog.acls.set(scope, "a", frozenset({"user:anna"}))
    await catalog.acls.set_default(scope, frozenset({"user:bert"}))
    content = await catalog.contents.of(anna)
    assert await catalog.contents.words(content) == frozenset({"user:anna"})
