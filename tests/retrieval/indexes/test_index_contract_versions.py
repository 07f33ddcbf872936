"""The contract of `VersionedIndex`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rag.protocols import StoredIndex, VersionedIndex
from rag.types import Chunk, Scope
from tests.fakes import (
    dense_leg,
    make_points,
)
from tests.indexes import NOWHERE, corpus
from tests.qdrant_servers import NO_INDEXES

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]


async def searched(index: VersionedIndex, scope: Scope) -> list[Chunk]:
    [dense] = await index.search(scope, [dense_leg("cat")])
    return await index.fetch(scope, [match.chunk_id for match in dense])


async def test_a_version_is_filled_beside_what_is_searched_and_switched_to_and_back(
    index: StoredIndex, scope: Scope
) -> None:
    [old, new, late] = corpus("cat one", "cat two", "cat three")
    assert await index.previous_version(scope) is None
    await index.upsert(scope, make_points([old]))
    version = await index.begin_version(scope)
    assert await index.chunk_ids(version, None) == set()
    await index.upsert(version, make_points([new]))
    await index.maintain(version)
    assert (await searched(index, scope), await searched(index, version)) == ([old], [new])
    await index.switch_version(scope, version)
    assert await searched(index, scope) == [new]
    await index.upsert(scope, make_points([late]))
    previous = await index.previous_version(scope)
    assert previous is not None
    assert await searched(index, previous) == [old]
    await index.switch_version(scope, previous)
    assert await searched(index, scope) == [old]
    again = await index.previous_version(scope)
    assert again is not None
    assert await index.chunk_ids(again, None) == {new.id, late.id}


async def test_what_is_searched_has_a_name_until_the_next_switch(
    index: VersionedIndex, scope: Scope
) -> None:
    [old, new, late] = corpus("cat one", "cat two", "cat three")
    assert await index.version(scope) == ""
    await index.upsert(scope, make_points([old]))
    first = await index.version(scope)
    version = await written(index, scope, new)
    await index.upsert(scope, make_points([late]))
    assert await index.version(scope) == first != ""
    await index.switch_version(scope, version)
    assert await index.version(scope) not in ("", first)
    previous = await index.previous_version(scope)
    assert previous is not None
    await index.switch_version(scope, previous)
    assert await index.version(scope) == first


async def test_a_version_keeps_its_name_as_it_is_switched_to(
    index: VersionedIndex, scope: Scope
) -> None:
    [old, new] = corpus("cat one", "cat two")
    assert await index.name_of(scope) == ""
    await index.upsert(scope, make_points([old]))
    first = await index.name_of(scope)
    version = await written(index, scope, new)
    second = await index.name_of(version)
    assert await index.name_of(scope) == first
    assert len({first, second, ""}) == 3
    await index.switch_version(scope, version)
    assert await index.name_of(scope) == second
    previous = await index.previous_version(scope)
    assert previous is not None
    assert await index.name_of(previous) == first


async def test_only_the_last_version_is_kept_and_what_was_begun_starts_over(
    index: VersionedIndex, scope: Scope
) -> None:
    chunks = corpus("cat one", "cat two", "cat three")
    for chunk in chunks:
        await index.upsert(await index.begin_version(scope), make_points([chunk]))  # left
        version = await index.begin_version(scope)
        assert await index.chunk_ids(version, None) == set()
        await index.upsert(version, make_points([chunk]))
        await index.switch_version(scope, version)
        assert await searched(index, scope) == [chunk]
    previous = await index.previous_version(scope)
    assert previous is not None
    assert await searched(index, previous) == [chunks[1]]


async def test_what_is_deleted_goes_from_the_previous_version_with_its_whole_document(
    index: VersionedIndex, scope: Scope
) -> None:
    first = corpus("cat one", "cat two", document_id="first")
    [second] = corpus("cat three", document_id="second")
    await index.upsert(scope, make_points([*first, second]))
    [cut_anew] = corpus("cat one and two", document_id="first", version="2")
    version = await index.begin_version(scope)
    await index.upsert(version, make_points([cut_anew, second]))
    await index.switch_version(scope, version)
    await index.delete(scope, [NOWHERE])
    previous = await index.previous_version(scope)
    assert previous is not None
    assert len(await searched(index, previous)) == 3
    await index.delete(scope, [cut_anew.id])
    assert await searched(index, scope) == [second]
    assert await searched(index, previous) == [second]
    await index.delete(previous, [second.id])
    assert await searched(index, scope) == [second]


async def test_a_collection_s_versions_leave_other_collections_alone(
    index: VersionedIndex, scope: Scope
) -> None:
    other = replace(scope, collection=f"{scope.collection}-next")
    [one, two] = corpus("cat one", "cat two")
    await index.upsert(scope, make_points([one]))
    await index.upsert(other, make_points([two]))
    await index.switch_version(scope, await written(index, scope, one))
    assert await searched(index, other) == [two]
    assert await index.previous_version(other) is None


async def written(index: VersionedIndex, scope: Scope, chunk: Chunk) -> Scope:
    version = await index.begin_version(scope)
    await index.upsert(version, make_points([chunk]))
    return version
