"""The contract of `Retriever`."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from eval.offline.stage_cache import CachedRetriever, SharedStages
from rag.errors import UpstreamError
from rag.protocols import Retriever, StoredIndex
from rag.telemetry.trace import Trace
from rag.types import Condition, Float32Array, Kind, Query, Retrieved, Scope, TokenVectors
from retrieval.bm25 import Bm25Encoder
from retrieval.hybrid import HybridRetriever
from retrieval.proximity import Proximity
from retrieval.rerankers.late_interaction import LateInteraction
from retrieval.reranking import Combine, Reranking
from tests.fakes import HashEmbedder, make_points
from tests.indexes import corpus, opened

pytestmark = pytest.mark.anyio

WORDS = ("cat", "dog", "horse", "fish")
TEXTS = [" ".join(words) for n in (1, 2, 3) for words in itertools.permutations(WORDS, n)]
QUESTION = "cat dog"


class Sometimes(HashEmbedder):
    """An embedder that can be made unavailable."""

    away = False

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        self._check()
        return await super().embed(texts, kind=kind)

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        self._check()
        return await super().embed_tokens(texts, kind=kind)

    def _check(self) -> None:
        if self.away:
            raise UpstreamError("The embedder is away.")


@dataclass(frozen=True, slots=True)
class Made:
    retriever: Retriever
    embedder: Sometimes
    reranks: bool
    diverse: bool


KINDS: dict[str, tuple[Combine | None, float]] = {
    "plain": (None, 0.0),
    "sum": ("sum", 0.0),
    "rrf": ("rrf", 0.0),
    "replace": ("replace", 0.0),
    "diverse": (None, 0.5),
    "reranked and diverse": ("sum", 0.5),
}
"""The use of a reranker's scores, and the weight of diversity."""


@pytest.fixture
async def filled(folder: Path, scope: Scope) -> AsyncIterator[StoredIndex]:
    async with opened("edge", folder) as index:
        for name, texts in {"a": TEXTS[::2], "b": TEXTS[1::2]}.items():
            chunks = corpus(*texts, document_id=name, meta={"name": name})
            await index.upsert(scope, make_points(chunks, by_token=True))
        yield index


@pytest.fixture(params=["searched", "cached"])
def is_cached(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "cached")


@pytest.fixture(params=KINDS)
def made(
    request: pytest.FixtureRequest, filled: StoredIndex, folder: Path, is_cached: bool
) -> Made:
    combine, diversity = KINDS[request.param]
    embedder, encoder = Sometimes(), Bm25Encoder()
    reranker = LateInteraction(embedder=embedder, encoder=encoder, index=filled, stored=True)
    retriever: Retriever = HybridRetriever(
        embedder=embedder,
        encoder=encoder,
        index=filled,
        depth=20,
        reranking=combine
        and Reranking(
            reranker=reranker,
            proximity=Proximity(Bm25Encoder()),
            depth=10,
            combine=combine,
            feedback=True,
            seconds=60.0,
        ),
        diversity=diversity,
    )
    if is_cached:
        stages = SharedStages(folder / "cache")
        retriever = CachedRetriever(retriever, filled, stages, fingerprint="1")
    return Made(retriever, embedder, reranks=combine is not None, diverse=diversity > 0)


async def retrieve(made: Made, query: Query) -> Retrieved:
    """Retrieves twice, checks that both results are equal, and returns the first."""
    first, again = [await made.retriever.retrieve(query, Trace()) for _ in range(2)]
    assert again == first
    return first


@pytest.mark.parametrize("top_k", [1, 5, 100])
async def test_at_most_top_k_hits_come_back_best_first(
    made: Made, scope: Scope, top_k: int
) -> None:
    found = await retrieve(made, Query(text=QUESTION, scope=scope, top_k=top_k))
    assert 0 < len(found.hits) <= top_k
    assert len({hit.chunk.id for hit in found.hits}) == len(found.hits)
    assert {"cat", "dog"} <= set(found.hits[0].chunk.text.split())
    scores = [hit.score for hit in found.hits]
    # With diversity, the best is what adds most to the hits before.
    assert scores[0] == max(scores)
    assert made.diverse or scores == sorted(scores, reverse=True)
    assert all(hit.ranks and min(hit.ranks.values()) >= 1 for hit in found.hits)
    assert {hit.source for hit in found.hits} == {"reranked" if made.reranks else "fused"}
    assert found.degraded == ()


async def test_only_the_scope_and_what_fits_the_filter_are_found(made: Made, scope: Scope) -> None:
    for empty in (replace(scope, collection="other"), replace(scope, tenant="other")):
        assert await retrieve(made, Query(text=QUESTION, scope=empty)) == Retrieved(hits=())
    where = (Condition(field="name", op="eq", value="b"),)
    found = await retrieve(made, Query(text=QUESTION, scope=scope, where=where))
    assert {hit.chunk.document_id for hit in found.hits} == {"b"}
    assert len((await retrieve(made, Query(text=QUESTION, scope=scope))).hits) > 1


async def test_stages_that_are_left_out_are_named_until_they_are_back(
    made: Made, scope: Scope
) -> None:
    query, trace = Query(text=QUESTION, scope=scope, top_k=3), Trace()
    made.embedder.away = True
    found = await made.retriever.retrieve(query, trace)
    assert len(found.hits) == 3
    stages = ("dense", "rerank") if made.reranks else ("dense",)
    assert found.degraded == tuple(f"{stage}: The embedder is away." for stage in stages)
    assert trace.degraded == list(found.degraded)
    made.embedder.away = False
    found = await retrieve(made, query)
    assert (found.degraded, "dense" in found.hits[0].ranks) == ((), True)
