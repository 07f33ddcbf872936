"""IDF of a shard in which nothing was deleted or replaced: the engine's own is right."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rag.types import Match, Point, Scope
from retrieval.indexes import edge_points, edge_upkeep
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.edge_rebuild import rebuild
from tests.edge_folder import open_index, shard_of
from tests.fakes import make_chunk, make_points, sparse_leg

pytestmark = pytest.mark.anyio

WORDS = [f"word{n}" for n in range(12)]
ROUNDS, WRITTEN = 60, 25


@pytest.fixture(autouse=True)
def graphs_of_few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebuilds in this process, with a graph from a hundred points on."""

    async def rebuilt_here(source: Path, target: Path, mean: float, *, graph: bool) -> None:
        rebuild(source, target, mean, graph=graph)

    monkeypatch.setattr(edge_upkeep, "run_child", rebuilt_here)
    monkeypatch.setattr(edge_upkeep, "INDEX_FROM", 100)
    monkeypatch.setattr(edge_points, "INDEXING_KB", 1)


def points(rng: random.Random, places: list[int]) -> list[Point]:
    """Returns points of few words."""
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(1, 6))) for _ in places]
    return make_points(
        make_chunk(text, document_id=f"doc-{place % 9}", position=place)
        for place, text in zip(places, texts, strict=True)
    )


async def found(index: EdgeIndex, scope: Scope) -> tuple[list[list[Match]], list[float]]:
    """Returns the matches of each word, and the index's own weight of each."""
    legs = [sparse_leg(word, limit=20) for word in WORDS]
    terms = [int(leg.vector.indices[0]) for leg in legs]  # type: ignore[union-attr]
    shard_of(index, scope)._idf.clear()
    return await index.search(scope, legs), await index.idf(scope, terms)


async def as_counted_anew(index: EdgeIndex, scope: Scope) -> tuple[list[list[Match]], list[float]]:
    """Returns the same where the engine counts the points that are there."""
    shard = shard_of(index, scope)
    is_pristine, shard._is_pristine = shard._is_pristine, False
    counted = await found(index, scope)
    shard._is_pristine = is_pristine
    return counted


async def test_idf_is_that_of_the_points_after_any_change(folder: Path, scope: Scope) -> None:
    rng, index, held, seen = random.Random(3), open_index(folder), 0, Counter[str]()

    async def insert() -> None:
        nonlocal held
        await index.upsert(scope, points(rng, [*range(held, held + WRITTEN)]))
        held += WRITTEN

    async def replaced() -> None:
        await index.upsert(scope, points(rng, rng.sample(range(held), 5)))

    async def delete() -> None:
        ids = sorted(await index.chunk_ids(scope, None))
        await index.delete(scope, rng.sample(ids, 5))

    async def change_acl() -> None:
        await index.set_acl(scope, f"doc-{rng.randrange(9)}", frozenset({"group:law"}))

    async def change_payload() -> None:
        moved = [
            replace(point, dense=None, sparse=None) for point in points(rng, [rng.randrange(held)])
        ]
        await index.upsert(scope, moved)

    async def tidy() -> None:
        await index.maintain(scope)

    async def erase() -> None:
        await index._upkeep._rebuilt(scope, shard_of(index, scope))

    async def reopen() -> None:
        nonlocal index
        await index.close()
        index = open_index(folder)
        await index.fetch(scope, [])

    async def killed() -> None:
        """Goes on with the files as they are, as after a killed process."""
        nonlocal index
        await index.maintain(scope)
        copy = folder.with_name(f"{folder.name}-{rng.randrange(10**9)}")
        shutil.copytree(folder, copy)
        await index.close()
        index = open_index(copy)
        await index.fetch(scope, [])

    await insert()
    changes: list[Callable[[], object]] = [insert, insert, replaced, delete, change_acl]
    changes += [change_payload, tidy, erase, erase, reopen, killed]
    for _ in range(ROUNDS):
        change = rng.choice(changes)
        await change()  # type: ignore[misc]
        shard = shard_of(index, scope)
        seen["pristine" if shard._is_pristine else "changed"] += 1
        seen["with a graph"] += bool(shard._is_pristine and shard.stats.indexed)
        assert await found(index, scope) == await as_counted_anew(index, scope), change
    assert min(seen.values()) > 5, seen
    await index.close()


async def test_points_without_words_are_counted(folder: Path, scope: Scope) -> None:
    index, rng = open_index(folder), random.Random(1)
    await index.upsert(scope, points(rng, [*range(120)]))
    before = await found(index, scope)
    await index.upsert(scope, make_points(make_chunk("the", position=n) for n in range(120, 150)))
    assert await found(index, scope) != before
    for _ in range(2):
        assert await found(index, scope) == await as_counted_anew(index, scope)
        await index._upkeep._rebuilt(scope, shard_of(index, scope))
    await index.close()
