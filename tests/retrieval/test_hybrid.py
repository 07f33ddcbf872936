from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rag.errors import ConfigError, RagError, UpstreamError
from rag.telemetry.trace import Trace
from rag.types import Condition, Float32Array, Hit, Kind, Leg, Match, Query, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.fusion import rrf
from retrieval.hybrid import HybridRetriever
from tests.fakes import (
    HashEmbedder,
    MemoryIndex,
    RecordingIndex,
    dense_leg,
    make_chunk,
    make_points,
    sparse_leg,
)

pytestmark = pytest.mark.anyio

TEXTS = ["the cat sat", "a dog and a cat", "horses run", "cat cat cat", "fish soup with dog"]


class Failing(HashEmbedder):
    """An embedder that raises the given error."""

    def __init__(self, error: RagError) -> None:
        super().__init__()
        self._error = error

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        raise self._error


@pytest.fixture
async def index(scope: Scope) -> RecordingIndex:
    made = RecordingIndex()
    chunks = [make_chunk(text, position=i, meta={"n": i}) for i, text in enumerate(TEXTS)]
    await made.upsert(scope, make_points(chunks))
    return made


def retriever(
    index: MemoryIndex,
    *,
    embedder: HashEmbedder | None = None,
    depth: int = 50,
    weights: dict[str, float] | None = None,
) -> HybridRetriever:
    return HybridRetriever(
        embedder=embedder or HashEmbedder(),
        encoder=Bm25Encoder(),
        index=index,
        depth=depth,
        weights=weights,
    )


async def found(by: HybridRetriever, query: Query) -> tuple[Hit, ...]:
    return (await by.retrieve(query, Trace())).hits


def texts(hits: Sequence[Hit]) -> list[str]:
    return [hit.chunk.text for hit in hits]


async def test_hits_are_the_fusion_of_both_legs_with_their_rank_in_each(
    index: RecordingIndex, scope: Scope
) -> None:
    hits = await found(retriever(index), Query(text="cat dog", scope=scope))
    dense, sparse = await index.search(scope, [dense_leg("cat dog"), sparse_leg("cat dog")])
    fused = rrf({"dense": [m.chunk_id for m in dense], "sparse": [m.chunk_id for m in sparse]})
    assert [(h.chunk.id, h.score, h.ranks, h.source) for h in hits] == [
        (f.chunk_id, f.score, f.ranks, "fused") for f in fused
    ]
    assert hits[0].ranks == {"dense": 1, "sparse": 1}
    assert set(hits[-1].ranks) == {"dense"}


async def test_an_embedder_that_is_late_is_left_out(index: RecordingIndex, scope: Scope) -> None:
    class Late(HashEmbedder):
        async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
            await asyncio.sleep(10)
            return await super().embed(texts, kind=kind)

    late = HybridRetriever(
        embedder=Late(), encoder=Bm25Encoder(), index=index, depth=50, seconds=0.01
    )
    trace = Trace()
    result = await late.retrieve(Query(text="cat dog", scope=scope), trace)
    assert {leg for hit in result.hits for leg in hit.ranks} == {"sparse"}
    assert result.degraded == ("dense: The embedder took more than 0.01 s.",)
    assert trace.degraded == list(result.degraded)


async def test_both_legs_are_one_round_trip(index: RecordingIndex, scope: Scope) -> None:
    await retriever(index).retrieve(Query(text="cat", scope=scope), Trace())
    assert [[leg.name for leg in legs] for legs in index.searches] == [["dense", "sparse"]]


async def test_legs_count_by_their_weight(index: RecordingIndex, scope: Scope) -> None:
    weights = {"dense": 1.0, "sparse": 2.5}
    query = Query(text="cat dog", scope=scope)
    hits = await found(retriever(index, weights=weights), query)
    dense, sparse = await index.search(scope, [dense_leg("cat dog"), sparse_leg("cat dog")])
    lists = {"dense": [m.chunk_id for m in dense], "sparse": [m.chunk_id for m in sparse]}
    assert [(h.chunk.id, h.score) for h in hits] == [
        (f.chunk_id, f.score) for f in rrf(lists, weights=weights)
    ]


async def test_a_leg_of_weight_0_is_not_searched_and_nothing_is_degraded(
    index: RecordingIndex, scope: Scope
) -> None:
    broken = Failing(UpstreamError("The embedder is down."))
    trace = Trace()
    sparse_alone = retriever(index, embedder=broken, weights={"dense": 0.0})
    result = await sparse_alone.retrieve(Query(text="cat", scope=scope), trace)
    assert {tuple(hit.ranks) for hit in result.hits} == {("sparse",)}
    assert (result.degraded, trace.degraded) == ((), [])
    assert "embed" not in trace.timings
    dense_alone = retriever(index, weights={"sparse": 0.0})
    hits = await found(dense_alone, Query(text="cat", scope=scope))
    assert {tuple(hit.ranks) for hit in hits} == {("dense",)}
    assert [[leg.name for leg in legs] for legs in index.searches] == [["sparse"], ["dense"]]


async def test_an_embedder_that_fails_where_no_other_leg_is_left_fails_the_question(
    index: RecordingIndex, scope: Scope
) -> None:
    broken = Failing(UpstreamError("The embedder is down."))
    dense_alone = retriever(index, embedder=broken, weights={"sparse": 0.0})
    with pytest.raises(UpstreamError, match="is down"):
        await dense_alone.retrieve(Query(text="cat", scope=scope), Trace())


async def test_bm25_alone_searches_for_what_the_embedder_cannot_read(
    index: RecordingIndex, scope: Scope
) -> None:
    def reader(weights: dict[str, float]) -> HybridRetriever:
        return HybridRetriever(
            embedder=HashEmbedder(),
            encoder=Bm25Encoder(),
            index=index,
            depth=50,
            weights=weights,
            reads=lambda text: text != "cat",
        )

    both = reader({})
    trace = Trace(sampled=True)
    result = await both.retrieve(Query(text="cat", scope=scope), trace)
    (span,) = (each for each in trace.spans if each.name == "encode")
    assert "script" in str(span.attributes["left_out"])
    assert {tuple(hit.ranks) for hit in result.hits} == {("sparse",)}
    assert result.degraded == ()
    await both.retrieve(Query(text="dog", scope=scope), Trace())
    await reader({"sparse": 0.0}).retrieve(Query(text="cat", scope=scope), Trace())
    searched = [[leg.name for leg in legs] for legs in index.searches]
    assert searched == [["sparse"], ["dense", "sparse"], ["dense"]]


async def test_at_most_top_k_hits_come_back(index: RecordingIndex, scope: Scope) -> None:
    everything = await found(retriever(index), Query(text="cat dog", scope=scope))
    two = await found(retriever(index), Query(text="cat dog", scope=scope, top_k=2))
    assert len(everything) == 5
    assert two == everything[:2]


async def test_legs_bring_top_k_candidates_where_that_is_more_than_the_depth(
    index: RecordingIndex, scope: Scope
) -> None:
    query = Query(text="cat", scope=scope, top_k=4)
    assert len(await found(retriever(index, depth=2), query)) == 4
    await retriever(index, depth=7).retrieve(query, Trace())
    assert [[leg.limit for leg in legs] for legs in index.searches] == [[4, 4], [7, 7]]


async def test_filters_hold_for_both_legs(index: RecordingIndex, scope: Scope) -> None:
    where = (Condition(field="n", op="gte", value=3),)
    query = Query(text="cat dog", scope=scope, where=where)
    hits = await found(retriever(index), query)
    assert set(texts(hits)) == {"cat cat cat", "fish soup with dog"}


async def test_bm25_answers_alone_where_the_embedder_fails_and_the_result_says_so(
    index: RecordingIndex, scope: Scope
) -> None:
    trace = Trace()
    embedder = Failing(UpstreamError("The embedder is down."))
    query = Query(text="cat", scope=scope)
    result = await retriever(index, embedder=embedder).retrieve(query, trace)
    assert texts(result.hits)[0] == "cat cat cat"
    assert {tuple(hit.ranks) for hit in result.hits} == {("sparse",)}
    assert result.degraded == ("dense: The embedder is down.",)
    assert trace.degraded == list(result.degraded)


async def test_an_embedder_that_is_set_up_wrongly_is_not_papered_over(
    index: RecordingIndex, scope: Scope
) -> None:
    embedder = Failing(ConfigError("wrong"))
    with pytest.raises(ConfigError):
        await retriever(index, embedder=embedder).retrieve(Query(text="cat", scope=scope), Trace())


async def test_nothing_is_degraded_and_every_stage_timed_where_all_goes_well(
    index: RecordingIndex, scope: Scope
) -> None:
    trace = Trace()
    result = await retriever(index).retrieve(Query(text="cat", scope=scope), trace)
    assert (result.degraded, trace.degraded) == ((), [])
    assert set(trace.timings) == {"embed", "encode", "search", "fuse", "fetch"}


async def test_an_empty_collection_has_no_hits(scope: Scope) -> None:
    query = Query(text="cat", scope=scope)
    assert await found(retriever(MemoryIndex()), query) == ()


async def test_a_chunk_that_is_deleted_between_search_and_fetch_is_left_out(scope: Scope) -> None:
    class Racing(MemoryIndex):
        async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
            ranked = await super().search(scope, legs)
            if len(await self.chunk_ids(scope, None)) == len(TEXTS):
                await self.delete(scope, [ranked[0][0].chunk_id])
            return ranked

    index = Racing()
    await index.upsert(scope, make_points([make_chunk(t, position=i) for i, t in enumerate(TEXTS)]))
    hits = await found(retriever(index), Query(text="cat cat", scope=scope))
    assert len(hits) == len(TEXTS) - 1


# Identifiers


@pytest.mark.parametrize("asked", ["order SO-51137", "order so51137", "ORDER SO–51137"])
async def test_the_chunk_with_the_identifier_comes_first(asked: str, scope: Scope) -> None:
    near = [make_chunk(f"order so 5113{n} status order", position=n) for n in range(40)]
    exact = make_chunk("Returned: SO-51137, one of many in a long list.", position=99)
    index = MemoryIndex()
    await index.upsert(scope, make_points([*near, exact]))
    hits = await found(retriever(index), Query(text=asked, scope=scope, top_k=3))
    assert hits[0].chunk.id == exact.id
    assert len(hits) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
