"""The cache of stages: each stage processes a question once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from eval.datasets.corpus import Corpus, Passage
from eval.offline.plan import Plan
from eval.offline.stage_cache import CachedEmbedder, CachedReranker, LocalStages, StageCache
from rag.settings.tree import load_settings
from rag.types import Chunk, Float32Array, Kind, Query, Scope
from tests.fakes import HashEmbedder, MemoryIndex, make_chunk

pytestmark = pytest.mark.anyio


class Embeds(HashEmbedder):
    """Records the texts it embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        self.texts += texts
        return await super().embed(texts, kind=kind)


class Judges:
    """Records the texts it scored; longer texts score higher."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        self.texts += [chunk.text for chunk in chunks]
        return np.array([len(chunk.text) / 3 for chunk in chunks], np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[StageCache]:
    with LocalStages.opened(tmp_path) as opened:
        yield opened


async def test_a_text_is_embedded_once_and_its_vector_stays_the_same(cache: StageCache) -> None:
    inner = Embeds()
    embedder = CachedEmbedder(inner, cache, fingerprint="a")
    await embedder.embed(["cat"], kind="query")
    both = await embedder.embed(["dog", "cat", "dog"], kind="query")
    assert inner.texts == ["cat", "dog"]
    assert np.array_equal(both, await HashEmbedder().embed(["dog", "cat", "dog"], kind="query"))
    assert (await embedder.embed([], kind="query")).shape == (0, inner.dim)
    await CachedEmbedder(inner, cache, fingerprint="b").embed(["cat"], kind="query")
    await embedder.embed(["cat"], kind="passage")
    assert inner.texts[2:] == ["cat", "cat"]


async def test_a_chunk_is_judged_once_for_a_question(cache: StageCache, scope: Scope) -> None:
    inner = Judges()
    reranker = CachedReranker(inner, cache, fingerprint="a")
    texts = ("cat", "a dog", "fish soup")
    chunks = [make_chunk(text, position=i) for i, text in enumerate(texts)]
    query = Query(text="?", scope=scope)
    first = await reranker.score(query, chunks[:2])
    more = await reranker.score(query, chunks[::-1])
    assert inner.texts == ["cat", "a dog", "fish soup"]
    assert more.tolist() == (await Judges().score(query, chunks[::-1])).tolist()
    assert more[1:].tolist() == first[::-1].tolist()
    await reranker.score(Query(text="!", scope=scope), chunks[:1])
    await CachedReranker(inner, cache, fingerprint="b").score(query, chunks[:1])
    assert inner.texts[3:] == ["cat", "cat"]


@pytest.mark.parametrize("part", ["embedder", "reranker"])
async def test_with_another_price_nothing_is_done_again(cache: StageCache, part: str) -> None:
    passage = Passage(id="p", title="", text="cat", meta={})
    corpus = Corpus(name="s", passages=(passage,), questions=(), qrels={})
    embeds, judges = Embeds(), Judges()
    plans = [
        Plan(corpus=corpus, settings=load_settings(**{part: {"input_price": price}}), tenant="t")
        for price in (0.0, 0.02)
    ]
    assert plans[0].scope == plans[1].scope
    query, chunk = Query(text="?", scope=plans[0].scope), make_chunk("cat")
    index = MemoryIndex()
    for plan in plans:
        caches = plan.trial_caches(cache)
        await caches.embedder(embeds, index).embed(["cat"], kind="query")
        await caches.reranker(judges, index).score(query, [chunk])
    assert (embeds.texts, judges.texts) == (["cat"], ["cat"])
