"""Multi-hop: a second search for what the first hits name."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rag.telemetry.trace import Trace
from rag.types import Chunk, Condition, Hit, Query, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.hops import FIRST, HOP, with_hops
from retrieval.hybrid import HybridRetriever
from tests.fakes import HashEmbedder, MemoryIndex, RecordingIndex, make_chunk, make_points

pytestmark = pytest.mark.anyio

QUESTION = "Which river crosses the town in which the composer of the Hollow Symphony was born?"
COMPOSER = "The Hollow Symphony is a work by Ilse Quandt. The composer was born in Wesselburg."
TOWN = "Wesselburg: a small town, which the river Oder crosses."
TOWNS = [f"Marlow {n} is a town in which nobody was born." for n in range(12)]
ORCHESTRAS = [f"Every orchestra of region {n} has a composer." for n in range(5)]


def chunks_of(texts: Sequence[str]) -> list[Chunk]:
    return [make_chunk(text, document_id=f"d{n}", meta={"n": n}) for n, text in enumerate(texts)]


@pytest.fixture
async def index(scope: Scope) -> RecordingIndex:
    made = RecordingIndex()
    chunks = chunks_of([COMPOSER, *TOWNS, *ORCHESTRAS, TOWN])
    await made.upsert(scope, make_points(chunks))
    return made


def hit(chunk: Chunk, score: float) -> Hit:
    return Hit(chunk=chunk, score=score, source="fused", ranks={"sparse": 7})


async def hopped(index: MemoryIndex, hits: list[Hit], query: Query, hops: int = 3) -> list[Hit]:
    return await with_hops(query, hits, Trace(), hops=hops, index=index, encoder=Bm25Encoder())


@pytest.fixture
def hits() -> list[Hit]:
    chunks = chunks_of([COMPOSER, *TOWNS])
    return [hit(chunk, 10.0 - n) for n, chunk in enumerate(chunks[:10])]


async def test_the_passage_that_a_hit_names_follows_the_first_hits(
    index: MemoryIndex, hits: list[Hit], scope: Scope
) -> None:
    found = await hopped(index, hits, Query(text=QUESTION, scope=scope), hops=1)
    assert found[:FIRST] == hits[:FIRST]
    assert found[FIRST].chunk.text == TOWN
    assert found[FIRST].ranks == {HOP: 1}
    assert len(found) == len({each.chunk.id for each in found}) == 10
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(("number", "names"), [("3342", True), ("1987", False), ("12", False)])
async def test_a_number_is_a_name_if_it_is_long_and_no_year(
    index: RecordingIndex, scope: Scope, number: str, names: bool
) -> None:
    mentioning = [hit(make_chunk(f"it follows the rules of {number}", document_id="m"), 1.0)]
    await hopped(index, mentioning, Query(text=QUESTION, scope=scope))
    assert bool(index.searches) == names


async def test_a_hit_that_is_found_again_moves_up_and_keeps_its_ranks(
    index: MemoryIndex, hits: list[Hit], scope: Scope
) -> None:
    query = Query(text=QUESTION, scope=scope, top_k=20)
    town = (await hopped(index, hits, query))[FIRST].chunk
    found = await hopped(index, [*hits, hit(town, 0.0)], query)
    assert found[FIRST] == Hit(
        chunk=town, score=hits[FIRST - 1].score, source="fused", ranks={"sparse": 7, HOP: 1}
    )
    assert [each.chunk.id for each in found].count(town.id) == 1


async def test_all_hits_are_searched_from_in_one_request_and_take_turns(
    index: RecordingIndex, hits: list[Hit], scope: Scope
) -> None:
    found = await hopped(index, hits, Query(text=QUESTION, scope=scope, top_k=50), hops=2)
    assert [len(legs) for legs in index.searches] == [2]
    ranked = [each for each in found if HOP in each.ranks]
    assert [each.ranks[HOP] for each in ranked] == list(range(1, len(ranked) + 1))
    assert ranked[0].chunk.text == TOWN
    assert ranked[1].chunk.text.startswith("Marlow")


async def test_where_no_hit_has_a_name_nothing_is_searched(
    index: RecordingIndex, scope: Scope
) -> None:
    plain = [hit(make_chunk("a small town, which a river crosses"), 1.0)]
    assert await hopped(index, plain, Query(text=QUESTION, scope=scope)) == plain
    assert await hopped(index, [], Query(text=QUESTION, scope=scope)) == []
    assert index.searches == []


async def test_where_the_first_hits_are_all_that_is_wanted_nothing_is_searched(
    index: RecordingIndex, hits: list[Hit], scope: Scope
) -> None:
    query = Query(text=QUESTION, scope=scope, top_k=FIRST)
    assert await hopped(index, hits[:FIRST], query) == hits[:FIRST]
    assert index.searches == []


async def test_the_second_search_has_the_question_s_filter(
    index: RecordingIndex, hits: list[Hit], scope: Scope
) -> None:
    where = (Condition(field="n", op="lte", value=12),)
    found = await hopped(index, hits, Query(text=QUESTION, scope=scope, where=where), hops=1)
    assert TOWN not in [each.chunk.text for each in found]


@pytest.mark.parametrize("hops", [0, 3])
async def test_a_retriever_searches_again_only_if_it_is_wanted(
    index: RecordingIndex, scope: Scope, hops: int
) -> None:
    retriever = HybridRetriever(
        embedder=HashEmbedder(), encoder=Bm25Encoder(), index=index, depth=50, hops=hops
    )
    trace = Trace()
    result = await retriever.retrieve(Query(text=QUESTION, scope=scope, top_k=5), trace)
    assert len(result.hits) == 5
    assert any(HOP in each.ranks for each in result.hits) == (HOP in trace.timings) == bool(hops)
    assert len(index.searches) == 1 + bool(hops)
