"""Many tenants on one embedded index: few shards are open at the same time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rag.errors import StorageError
from rag.types import Chunk, Scope
from retrieval.indexes import edge_open_shards
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.sparse_files import storage_errors
from tests.edge_folder import everything, open_index, random_points

SCOPES = [Scope(tenant=f"t{n}", collection="docs") for n in range(5)]


def open_scopes(index: EdgeIndex) -> list[Scope]:
    return list(index._shards._shards)


async def read(index: EdgeIndex, scope: Scope) -> list[Chunk]:
    return [chunk async for page in index.pages(scope) for chunk in page]


@pytest.fixture(autouse=True)
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_open_shards, "MOST_OPEN", 2)


@pytest.mark.anyio
async def test_the_ones_used_longest_ago_are_closed_and_opened_again(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    for number, scope in enumerate(SCOPES):
        await index.upsert(scope, random_points(3, seed=number, first=10 * number))
    assert open_scopes(index) == SCOPES[3:]
    for number, scope in enumerate(SCOPES):
        assert {chunk.text.split()[0] for chunk in await everything(index, scope)} == {
            f"word{10 * number + n}" for n in range(3)
        }
    await index.chunk_ids(SCOPES[3], None)  # used again: the other one goes
    await index.chunk_ids(SCOPES[0], None)
    assert open_scopes(index) == [SCOPES[3], SCOPES[0]]
    await index.close()


@pytest.mark.anyio
async def test_none_is_closed_that_is_written_copied_or_filled(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    written, copied, third, fourth, _ = SCOPES
    for scope in (written, copied, third, fourth):
        await index.upsert(scope, random_points(3))
    await index.chunk_ids(written, None)
    await index.chunk_ids(copied, None)
    index._shards._shards[copied].begin_copy()
    async with index._shards.lock(written):
        filled = await index.begin_version(third)
        await index.chunk_ids(third, None)
        await index.chunk_ids(fourth, None)
        assert {written, copied, filled, fourth} == set(open_scopes(index))
    index._shards._shards[copied].end_copy()
    await index.chunk_ids(third, None)
    assert written not in open_scopes(index)
    await index.close()


def test_an_error_for_want_of_maps_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"vm\.max_map_count"), storage_errors(tmp_path):
        raise OSError("Failed to create storage: Cannot allocate memory (os error 12)")


@pytest.mark.anyio
async def test_only_questions_to_files_that_are_copied_wait(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    copied, other, third, opened, _ = SCOPES
    for scope in (copied, other, third, opened):
        await index.upsert(scope, random_points(3))
    assert open_scopes(index) == [third, opened]
    async with index.still() as resting:
        async with resting(index._shards.home(copied)):
            asked = asyncio.create_task(read(index, copied))
            assert len(await read(index, other)) == 3  # opened, and `third` is closed for it
            assert copied not in open_scopes(index)
            assert not asked.done()
        assert len(await asked) == 3
        async with resting(index._shards.home(copied)):
            assert len(await read(index, copied)) == 3  # it is open
            await read(index, third)
            await read(index, opened)
            assert copied in open_scopes(index)  # to close it is to write it
    await index.close()
