"""The indexes compared with the exact one in memory."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rag.errors import InputError
from rag.protocols import Index
from rag.types import Condition, Match, MetaValue, Scope
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.qdrant import QdrantIndex
from tests.fakes import (
    MemoryIndex,
    dense_leg,
    in_memory,
    make_chunk,
    make_points,
    sparse_leg,
)
from tests.indexes import DIM, at, corpus
from tests.qdrant_servers import NO_INDEXES, local_qdrant

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]


scalars = (
    st.sampled_from(["red", "blue", "2020", "2024-05-31", "2024-06-01", "2024-05-31T10:00:00Z"])
    | st.integers(-2, 3)
    | st.sampled_from([-1.5, 0.0, 1.0, 2.5])
    | st.booleans()
)
values = scalars | st.lists(scalars, max_size=3).map(tuple)
fields = st.sampled_from(["colour", "n", "when.at"])
metas = st.lists(st.dictionaries(fields, values, max_size=3), min_size=1, max_size=12)
bounds = st.sampled_from(["2024-05-31", "2024-05-31T12:00:00+02:00"]) | st.integers(-2, 3)
conditions = (
    st.builds(at, fields, st.just("eq"), scalars)
    | st.builds(at, fields, st.just("in"), values)
    | st.builds(at, fields, st.sampled_from(["gt", "gte", "lt", "lte"]), bounds)
)


async def outcome(index: Index, where: Sequence[Condition]) -> list[set[str]] | str:
    scope = Scope(tenant="t", collection="c")
    try:
        legs = [dense_leg("cat", *where), sparse_leg("cat", *where)]
        return [{m.chunk_id for m in matches} for matches in await index.search(scope, legs)]
    except InputError as error:
        return str(error)


@settings(max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(metas, st.lists(st.lists(conditions, min_size=1, max_size=2), min_size=4, max_size=12))
def test_filters_mean_the_same_to_edge_and_client_as_in_memory(
    metas: list[dict[str, MetaValue]], filters: list[list[Condition]]
) -> None:
    chunks = [make_chunk("cat", position=i, meta=meta) for i, meta in enumerate(metas)]
    points = make_points(chunks)

    async def compare(folder: str) -> None:
        scope = Scope(tenant="t", collection="c")
        edge, memory = EdgeIndex(Path(folder), dim=DIM), MemoryIndex()
        await edge.upsert(scope, points)
        await memory.upsert(scope, points)
        async with local_qdrant() as server:
            qdrant = QdrantIndex(server, dim=DIM)
            await qdrant.upsert(scope, points)
            for where in filters:
                exact = await outcome(memory, where)
                assert await outcome(edge, where) == exact, where
                assert await outcome(qdrant, where) == exact, where
        await edge.close()

    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        asyncio.run(compare(folder))


@pytest.mark.parametrize("length", [1, 3, 30])
async def test_memory_and_edge_agree_on_bm25_scores_where_the_mean_length_never_changed(
    folder: Path, scope: Scope, length: int
) -> None:
    texts = [" ".join(["cat", "dog", "mouse"][: 1 + i % 3] + ["fish"] * length) for i in range(9)]
    points = make_points(corpus(*texts))
    edge, memory = EdgeIndex(folder, dim=DIM), MemoryIndex()
    await edge.upsert(scope, points)
    await memory.upsert(scope, points)
    leg = sparse_leg("cat mouse mouse fish")
    [ours], [exact] = await edge.search(scope, [leg]), await memory.search(scope, [leg])
    assert scores(ours) == pytest.approx(scores(exact), rel=1e-4)
    await edge.close()


def scores(matches: Sequence[Match]) -> dict[str, float]:
    assert all(math.isfinite(m.score) for m in matches)
    return {m.chunk_id: m.score for m in matches}
