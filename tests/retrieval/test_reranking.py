"""Reranking of candidates: late interaction, feedback, and fusion of both orders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from rag.build.running import start
from rag.errors import BusyError, ConfigError, RagError
from rag.protocols import StoredVectors, TokenEmbedder
from rag.settings.tree import load_settings
from rag.telemetry.trace import Trace
from rag.types import (
    DEFAULT_TENANT,
    Chunk,
    Float32Array,
    Hit,
    Kind,
    Match,
    Query,
    Retrieved,
    Scope,
    SparseVector,
    TokenVectors,
)
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.bulk import score_all
from retrieval.embedders.token_cache import TokenCache
from retrieval.fusion import rrf, standard, summed
from retrieval.hybrid import HybridRetriever
from retrieval.indexes.edge import EdgeIndex
from retrieval.proximity import Proximity
from retrieval.relevance_feedback import DENSE, SPARSE, TERMS, expand
from retrieval.rerankers.late_interaction import LateInteraction
from retrieval.reranking import NEAR_WEIGHT, Combine, Reranking
from retrieval.smoothing import smoothed
from tests.fakes import (
    HashEmbedder,
    MemoryIndex,
    RecordingIndex,
    dense_leg,
    make_chunk,
    make_points,
    sparse_leg,
)
from tests.stored import store

pytestmark = pytest.mark.anyio

DIM = HashEmbedder().dim
TEXTS = ["the cat sat", "a dog and a cat", "horses run", "cat cat cat", "fish soup with dog"]
QUESTION = "cat dog"


class Judge:
    """A `Reranker` with a given score for each text, or one that raises."""

    def __init__(self, opinion: dict[str, float], error: RagError | None = None) -> None:
        self._opinion = opinion
        self._error = error
        self.read: list[list[str]] = []

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        self.read.append([chunk.text for chunk in chunks])
        if self._error:
            raise self._error
        return np.array([self._opinion.get(c.text, 0.0) for c in chunks], np.float32)


class Slow:
    """A `Reranker` that hangs."""

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        await asyncio.sleep(60)
        raise AssertionError


@pytest.fixture
async def index(scope: Scope) -> RecordingIndex:
    made = RecordingIndex()
    chunks = [make_chunk(text, position=i) for i, text in enumerate(TEXTS)]
    await made.upsert(scope, make_points(chunks))
    return made


def hybrid(
    index: MemoryIndex,
    weights: dict[str, float] | None = None,
    reranking: Reranking | None = None,
) -> HybridRetriever:
    return HybridRetriever(
        embedder=HashEmbedder(),
        encoder=Bm25Encoder(),
        index=index,
        depth=50,
        weights=weights,
        reranking=reranking,
    )


async def retrieve(
    index: MemoryIndex,
    scope: Scope,
    reranker: Judge | Slow,
    trace: Trace | None = None,
    *,
    combine: Combine = "sum",
    feedback: bool = False,
    depth: int = 3,
    top_k: int = 10,
    weights: dict[str, float] | None = None,
) -> Retrieved:
    reranking = Reranking(
        reranker=reranker,
        proximity=Proximity(Bm25Encoder()),
        depth=depth,
        combine=combine,
        feedback=feedback,
        seconds=0.2,
    )
    query = Query(text=QUESTION, scope=scope, top_k=top_k)
    return await hybrid(index, weights, reranking).retrieve(query, trace or Trace())


async def plain(index: MemoryIndex, scope: Scope) -> tuple[Hit, ...]:
    return (await hybrid(index).retrieve(Query(text=QUESTION, scope=scope), Trace())).hits


def texts(hits: Sequence[Hit]) -> list[str]:
    return [hit.chunk.text for hit in hits]


async def test_the_best_candidates_are_read_and_no_others(
    index: RecordingIndex, scope: Scope
) -> None:
    judge = Judge({})
    await retrieve(index, scope, judge)
    assert judge.read == [texts(await plain(index, scope))[:3]]


@pytest.mark.parametrize("by_embedder", [True, False])
async def test_an_embedder_reranks_no_question_that_it_cannot_read(
    index: RecordingIndex, scope: Scope, by_embedder: bool
) -> None:
    judge = Judge({})
    retriever = HybridRetriever(
        embedder=HashEmbedder(),
        encoder=Bm25Encoder(),
        index=index,
        depth=50,
        reads=lambda _: False,
        reranking=Reranking(
            reranker=judge,
            proximity=Proximity(Bm25Encoder()),
            depth=3,
            combine="sum",
            feedback=False,
            seconds=0.2,
            by_embedder=by_embedder,
        ),
    )
    hits = (await retriever.retrieve(Query(text=QUESTION, scope=scope), Trace())).hits
    assert len(judge.read) == (not by_embedder)
    assert {hit.source for hit in hits} == {"fused" if by_embedder else "reranked"}


@pytest.mark.parametrize("combine", ["sum", "replace"])
async def test_a_candidate_that_the_reranker_prefers_moves_up(
    index: RecordingIndex, scope: Scope, combine: Combine
) -> None:
    before = texts(await plain(index, scope))
    third = before[2]
    hits = (await retrieve(index, scope, Judge({third: 9.0}), combine=combine)).hits
    assert before.index(third) > texts(hits).index(third)
    assert sorted(texts(hits)) == sorted(TEXTS)
    assert {hit.source for hit in hits} == {"reranked"}
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert next(hit for hit in hits if hit.chunk.text == third).ranks["rerank"] == 1


async def test_with_rrf_the_rerankers_order_is_one_more_list(
    index: RecordingIndex, scope: Scope
) -> None:
    opinion = {text: float(i) for i, text in enumerate(TEXTS)}
    hits = (await retrieve(index, scope, Judge(opinion), combine="rrf", depth=5)).hits
    ids = {hit.chunk.text: hit.chunk.id for hit in hits}
    dense, sparse = await index.search(scope, [dense_leg(QUESTION), sparse_leg(QUESTION)])
    wanted = rrf(
        {
            "dense": [match.chunk_id for match in dense],
            "sparse": [match.chunk_id for match in sparse],
            "rerank": [ids[text] for text in TEXTS[::-1]],
        }
    )
    assert [(h.chunk.id, h.score, h.ranks) for h in hits] == [tuple(place) for place in wanted]


async def test_with_replace_the_reranker_reads_all_that_is_asked_for_and_decides_alone(
    index: RecordingIndex, scope: Scope
) -> None:
    opinion = {text: float(i) for i, text in enumerate(TEXTS)}
    judge = Judge(opinion)
    hits = (await retrieve(index, scope, judge, combine="replace", feedback=True)).hits
    assert texts(hits) == TEXTS[::-1]
    assert [hit.score for hit in hits] == [4, 3, 2, 1, 0]
    assert len(index.searches) == 1


@pytest.mark.parametrize("weights", [{}, {"dense": 0.5, "sparse": 3.0}])
async def test_an_indifferent_reranker_leaves_the_legs_scores_and_proximity_to_decide(
    index: RecordingIndex, scope: Scope, weights: dict[str, float]
) -> None:
    hits = (await retrieve(index, scope, Judge({}), depth=5, weights=weights)).hits
    dense, sparse = await index.search(scope, [dense_leg(QUESTION), sparse_leg(QUESTION)])
    lists = {"dense": dense, "sparse": sparse}
    ids = [hit.chunk.id for hit in hits]
    near = Proximity(Bm25Encoder()).scores(QUESTION, texts(hits))
    scores = summed(lists, ids, weights=weights) + NEAR_WEIGHT * standard(near)
    wanted = smoothed(scores, ids, await index.vectors(scope, ids))
    assert [hit.score for hit in hits] == pytest.approx(wanted.tolist(), abs=1e-5)


async def test_scores_are_not_smoothed_by_vectors_that_are_not_searched(
    index: RecordingIndex, scope: Scope
) -> None:
    weights = {"dense": 0.0, "sparse": 1.0}
    hits = (await retrieve(index, scope, Judge({}), depth=5, weights=weights)).hits
    (sparse,) = await index.search(scope, [sparse_leg(QUESTION)])
    near = Proximity(Bm25Encoder()).scores(QUESTION, texts(hits))
    wanted = summed({"sparse": sparse}, [hit.chunk.id for hit in hits])
    wanted += NEAR_WEIGHT * standard(near)
    assert [hit.score for hit in hits] == pytest.approx(wanted.tolist(), abs=1e-5)


@pytest.mark.parametrize("leg", ["dense", "sparse"])
async def test_a_leg_without_weight_is_searched_neither_first_nor_after_feedback(
    index: RecordingIndex, scope: Scope, leg: str
) -> None:
    trace = Trace()
    weights = {"dense": 1.0, "sparse": 1.0} | {leg: 0.0}
    result = await retrieve(index, scope, Judge({}), trace, feedback=True, weights=weights)
    hits = result.hits
    assert hits
    assert [len(legs) for legs in index.searches] == [1, 1]
    assert not any(searched.name == leg for legs in index.searches for searched in legs)
    assert not any(leg in hit.ranks for hit in hits)
    assert (result.degraded, trace.degraded) == ((), [])


async def test_at_most_top_k_come_back(index: RecordingIndex, scope: Scope) -> None:
    everything = await retrieve(index, scope, Judge({TEXTS[0]: 1.0}))
    two = await retrieve(index, scope, Judge({TEXTS[0]: 1.0}), top_k=2)
    assert two.hits == everything.hits[:2]


async def test_an_empty_collection_is_not_judged(scope: Scope) -> None:
    judge = Judge({})
    assert await retrieve(MemoryIndex(), scope, judge) == Retrieved(hits=())
    assert judge.read == []


@pytest.mark.parametrize(
    ("reranker", "cause"),
    [
        (Judge({}, BusyError("The reranker is busy.")), "rerank: The reranker is busy."),
        (Slow(), "rerank: It took more than 0.2 s."),
    ],
)
async def test_without_the_reranker_hits_are_the_fused_ones_and_the_result_says_why(
    index: RecordingIndex, scope: Scope, reranker: Judge | Slow, cause: str
) -> None:
    trace = Trace()
    result = await retrieve(index, scope, reranker, trace)
    assert result == Retrieved(hits=await plain(index, scope), degraded=(cause,))
    assert trace.degraded == [cause]


async def test_a_reranker_that_is_set_up_wrongly_is_not_papered_over(
    index: RecordingIndex, scope: Scope
) -> None:
    with pytest.raises(ConfigError):
        await retrieve(index, scope, Judge({}, ConfigError("wrong")))


async def test_with_feedback_the_best_passages_are_searched_for_too(
    index: RecordingIndex, scope: Scope
) -> None:
    judge = Judge({"fish soup with dog": 9.0})
    await retrieve(index, scope, judge, feedback=True, depth=5)
    (dense, sparse), (wider_dense, wider_sparse) = index.searches
    encoder = Bm25Encoder()
    soup, question = encoder.encode(["soup", QUESTION])
    assert isinstance(wider_sparse.vector, SparseVector)
    assert isinstance(sparse.vector, SparseVector)
    assert set(soup.indices) <= set(wider_sparse.vector.indices)
    assert set(question.indices) <= set(wider_sparse.vector.indices)
    assert not np.allclose(np.asarray(dense.vector), np.asarray(wider_dense.vector))
    assert [leg.limit for leg in (wider_dense, wider_sparse)] == [50, 50]


async def test_a_document_that_is_deleted_meanwhile_is_not_missed(
    index: RecordingIndex, scope: Scope
) -> None:
    class Deleting(Judge):
        async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
            if not self.read:
                await index.delete(scope, [chunks[0].id])
            return await super().score(query, chunks)

    judge = Deleting({})
    hits = (await retrieve(index, scope, judge, depth=2)).hits
    assert len(judge.read) == 2
    assert len(hits) == 4
    assert judge.read[0][0] not in texts(hits)


class TestFeedback:
    LEGS = (dense_leg("cat"), sparse_leg("cat"))

    def test_the_question_moves_by_half_its_length_and_stays_a_unit_vector(self) -> None:
        passages = np.stack([_dense("soup"), _dense("horse")])
        scores = np.array([0.0, -50.0], np.float32)
        dense, _ = expand(self.LEGS, scores, passages, Bm25Encoder().encode(["soup", "horse"]))
        moved = _dense("cat") + DENSE * _dense("soup")
        np.testing.assert_allclose(
            np.asarray(dense.vector), moved / np.linalg.norm(moved), atol=1e-6
        )

    def test_terms_join_the_question_with_a_share_of_its_weight(self) -> None:
        encoder = Bm25Encoder()
        passages = ["soup soup fish", "soup horse"]
        vectors = np.stack([_dense(p) for p in passages])
        _, sparse = expand(self.LEGS, np.zeros(2, np.float32), vectors, encoder.encode(passages))
        assert isinstance(sparse.vector, SparseVector)
        weight = dict(zip(sparse.vector.indices.tolist(), sparse.vector.values, strict=True))
        cat, soup, fish = (encoder.encode([w])[0].indices[0] for w in ("cat", "soup", "fish"))
        assert weight[cat] == 1.0
        assert weight[soup] > weight[fish] > 0
        assert sum(weight.values()) == pytest.approx(1 + SPARSE)
        assert list(sparse.vector.indices) == sorted(weight)

    def test_no_more_terms_join_than_are_said_to(self) -> None:
        words = " ".join(f"word{n}" for n in range(40))
        _, sparse = expand(
            self.LEGS, np.zeros(1, np.float32), _dense(words)[None], Bm25Encoder().encode([words])
        )
        assert isinstance(sparse.vector, SparseVector)
        assert len(sparse.vector.indices) == 1 + TERMS

    def test_passages_without_terms_leave_the_leg_as_it_is(self) -> None:
        _, sparse = expand(
            self.LEGS, np.zeros(1, np.float32), _dense("x")[None], Bm25Encoder().encode(["..."])
        )
        assert sparse == self.LEGS[1]


class TestScores:
    def test_equal_values_are_zero(self) -> None:
        assert standard(np.full(3, 0.3, np.float32)).tolist() == [0, 0, 0]
        assert standard(np.array([2.0], np.float32)).tolist() == [0]

    def test_values_are_deviations_from_the_mean(self) -> None:
        assert standard(np.array([1.0, 3.0], np.float32)).tolist() == [-1, 1]
        among = np.array([1.0, 3.0], np.float32)
        assert standard(np.array([5.0], np.float32), among).tolist() == [3]

    def test_what_a_list_lacks_has_its_lowest_score(self) -> None:
        lists = {"1": [Match("a", 3.0), Match("b", 1.0)], "2": [Match("b", 9.0)], "3": []}
        assert summed(lists, ["a", "b", "c"]).tolist() == pytest.approx(
            [2**0.5, -(0.5**0.5), -(0.5**0.5)]
        )

    def test_a_list_counts_by_its_weight(self) -> None:
        lists = {"1": [Match("a", 3.0), Match("b", 1.0)], "2": [Match("b", 9.0), Match("a", 1.0)]}
        assert summed(lists, ["a", "b"], weights={"2": 3.0}).tolist() == [-2, 2]


class TestLateInteraction:
    async def test_a_rare_word_counts_more_than_a_frequent_one(self, scope: Scope) -> None:
        index = MemoryIndex()
        chunks = [make_chunk(f"common {n}", position=n) for n in range(20)]
        rare = make_chunk("rare", position=20)
        await index.upsert(scope, make_points([*chunks, rare]))
        reranker = LateInteraction(embedder=WordEmbedder(), encoder=Bm25Encoder(), index=index)
        query = Query(text="the common rare", scope=scope)
        common, best = (await reranker.score(query, [chunks[0], rare])).tolist()
        idf_common, idf_rare = await index.idf(
            scope, [int(Bm25Encoder().encode([w])[0].indices[0]) for w in ("common", "rare")]
        )
        total = 3 + idf_common + idf_rare
        assert common == pytest.approx((1 + idf_common) / total)
        assert best == pytest.approx((1 + idf_rare) / total)

    async def test_a_question_without_words_scores_nothing(self, scope: Scope) -> None:
        index = MemoryIndex()
        await index.upsert(scope, make_points([chunk := make_chunk("a cat")]))
        reranker = LateInteraction(embedder=WordEmbedder(), encoder=Bm25Encoder(), index=index)
        assert (await reranker.score(Query(text="?!", scope=scope), [chunk])).tolist() == [0]


class TestStoredTokens:
    @pytest.fixture
    async def edge(self, folder: Path) -> AsyncIterator[EdgeIndex]:
        index = EdgeIndex(folder, dim=DIM)
        yield index
        await index.close()

    @staticmethod
    def reranker(index: StoredVectors, embedder: TokenEmbedder, *, stored: bool) -> LateInteraction:
        return LateInteraction(
            embedder=embedder,
            encoder=Bm25Encoder(),
            index=index,
            stored=stored,
        )

    async def test_the_index_judges_as_the_reranker_does_and_nothing_is_read(
        self, scope: Scope, edge: EdgeIndex
    ) -> None:
        chunks = [make_chunk(text, position=i) for i, text in enumerate(TEXTS)]
        await edge.upsert(scope, make_points(chunks, by_token=True))
        query = Query(text="the cat that sat by a dog", scope=scope)
        exact = await self.reranker(edge, HashEmbedder(), stored=False).score(query, chunks)
        embedder = Noting()
        found = await self.reranker(edge, embedder, stored=True).score(query, chunks)
        np.testing.assert_allclose(found, exact, atol=0.03)
        assert found.dtype == np.float32
        assert embedder.read == [query.text]

    async def test_what_is_not_stored_is_read_and_judged_beside_what_is(
        self, scope: Scope, edge: EdgeIndex
    ) -> None:
        chunks = [make_chunk(text, position=i) for i, text in enumerate(TEXTS)]
        await edge.upsert(scope, make_points(chunks[::2]))
        reranker = self.reranker(edge, embedder := Noting(), stored=True)
        query = Query(text="cat and dog", scope=scope)
        exact = await self.reranker(edge, HashEmbedder(), stored=False).score(query, chunks)
        assert (await reranker.score(query, chunks)).tolist() == exact.tolist()
        await edge.upsert(scope, make_points(chunks[1::2], by_token=True))
        exact = await self.reranker(edge, HashEmbedder(), stored=False).score(query, chunks)
        embedder.read.clear()
        found = await reranker.score(query, chunks)
        np.testing.assert_allclose(found[1::2], exact[1::2], atol=0.03)
        assert found[::2].tolist() == exact[::2].tolist()
        assert embedder.read == [query.text, *TEXTS[::2]]

    async def test_texts_of_no_document_are_read(self, scope: Scope, edge: EdgeIndex) -> None:
        await edge.upsert(scope, make_points([make_chunk("a cat")], by_token=True))
        query = Query(text="cat", scope=scope)
        found = [
            await score_all(self.reranker(edge, HashEmbedder(), stored=stored), query, TEXTS)
            for stored in (True, False)
        ]
        assert found[0] == found[1]

    async def test_a_question_without_words_scores_nothing(
        self, scope: Scope, edge: EdgeIndex
    ) -> None:
        await edge.upsert(scope, make_points([chunk := make_chunk("a cat")], by_token=True))
        reranker = self.reranker(edge, HashEmbedder(), stored=True)
        assert (await reranker.score(Query(text="?!", scope=scope), [chunk])).tolist() == [0]

    async def test_the_setting_stores_what_is_ingested_and_has_the_index_judge(
        self, folder: Path
    ) -> None:
        found: list[list[Hit]] = []
        for stored in (True, False):
            settings = load_settings(
                data_dir=folder, reranker={"kind": "late_interaction", "stored": stored}
            )
            async with start(settings) as (service, queue):
                scope = Scope(tenant=DEFAULT_TENANT, collection="handbook")
                await service.ingest.check_collection(scope)
                if stored:
                    written = ["Lunch is served at noon.", "Trains need no approval.", "A cat."]
                    await store(service, queue, scope, written)
                ids = sorted(await service.index.chunk_ids(scope, None))
                question = np.ones((1, service.embedder.dim), np.float32)
                assert set(await service.index.max_sim(scope, question, ids)) == set(ids)
                query = Query(text="What is for lunch?", scope=scope)
                found.append(list((await service.query.search(query, Trace())).hits))
        assert len(found[0]) == 3
        assert texts(found[0]) == texts(found[1])
        assert [h.score for h in found[0]] == pytest.approx([h.score for h in found[1]], abs=0.1)


class Noting(HashEmbedder):
    """Records the texts it embeds by token."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        self.read += texts
        return await super().embed_tokens(texts, kind=kind)


class WordEmbedder:
    """A `TokenEmbedder` with a dimension for each word."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self.encoded: list[str] = []

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        self.encoded += texts
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> TokenVectors:
        import re

        words = list(re.finditer(r"\w+", text))
        vectors = np.zeros((len(words), 64), np.float32)
        for row, word in enumerate(words):
            vectors[row, self._places.setdefault(word[0], len(self._places))] = 1
        spans = np.array([word.span() for word in words], np.int32).reshape(-1, 2)
        return TokenVectors(vectors=vectors, spans=spans)


class TestTokenCache:
    async def test_a_passage_is_encoded_once_and_comes_back_nearly_the_same(self) -> None:
        inner = HashTokens()
        cache = TokenCache(inner, max_bytes=1 << 20)
        first = await cache.embed_tokens(["a b", "c", "a b"], kind="passage")
        again = await cache.embed_tokens(["c", "a b"], kind="passage")
        assert inner.encoded == ["a b", "c"]
        for kept, same in ((first[0], again[1]), (first[1], again[0]), (first[0], first[2])):
            np.testing.assert_array_equal(kept.vectors, same.vectors)
            np.testing.assert_array_equal(kept.spans, same.spans)
        (exact,) = await inner.embed_tokens(["a b"], kind="passage")
        np.testing.assert_allclose(first[0].vectors, exact.vectors, atol=1 / 254)

    async def test_a_question_is_no_passage(self) -> None:
        inner = HashTokens()
        cache = TokenCache(inner, max_bytes=1 << 20)
        for _ in range(2):
            await cache.embed_tokens(["a"], kind="query")
            await cache.embed_tokens(["a"], kind="passage")
        assert inner.encoded == ["a", "a"]

    async def test_what_was_asked_for_longest_ago_goes_first(self) -> None:
        inner = HashTokens()
        cache = TokenCache(inner, max_bytes=2 * (32 + 4 + 8))
        await cache.embed_tokens(["a", "b"], kind="passage")
        await cache.embed_tokens(["a"], kind="passage")
        await cache.embed_tokens(["c"], kind="passage")
        inner.encoded.clear()
        await cache.embed_tokens(["a", "c"], kind="passage")
        assert inner.encoded == []
        await cache.embed_tokens(["b"], kind="passage")
        assert inner.encoded == ["b"]

    async def test_what_is_larger_than_the_cache_is_encoded_all_the_same(self) -> None:
        cache = TokenCache(HashTokens(), max_bytes=0)
        (tokens,) = await cache.embed_tokens(["a b c"], kind="passage")
        assert tokens.vectors.shape == (3, 32)
        (empty,) = await cache.embed_tokens([""], kind="passage")
        assert empty.vectors.shape == (0, 32)


class HashTokens(WordEmbedder):
    """Returns unit vectors of 32 dimensions that depend only on the word."""

    def _encode(self, text: str) -> TokenVectors:
        words = text.split()
        rows = [np.random.default_rng(ord(word)).standard_normal(32) for word in words]
        vectors = np.array(rows, np.float32).reshape(-1, 32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        spans = np.array([[0, 1] for _ in words], np.int32).reshape(-1, 2)
        return TokenVectors(vectors=vectors, spans=spans)


def _dense(text: str) -> Float32Array:
    vector = dense_leg(text).vector
    assert isinstance(vector, np.ndarray)
    return vector
