"""The embedder encodes a question once and each passage once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from eval.online.scorer import open_scorer
from rag.build.running import start
from rag.settings.tree import load_settings
from rag.telemetry.trace import Trace
from rag.types import DEFAULT_TENANT, Kind, Query, Scope, TokenVectors
from retrieval.embedders.embedder import BertEmbedder
from retrieval.embedders.token_cache import QuestionEmbedder, TokenCache
from tests.stored import store

pytestmark = pytest.mark.anyio

WRITTEN = ["Lunch is served at noon.", "Trains need no approval.", "Cats sleep all day."]
QUESTION = "When is lunch served?"
AGAIN = "At what time is lunch served?"


def encoded() -> float:
    """Returns the number of texts encoded so far."""
    return REGISTRY.get_sample_value("plumbline_batch_items_sum", {"model": "embedder"}) or 0.0


async def test_a_question_and_its_passages_are_encoded_once(
    folder: Path, embedder: BertEmbedder
) -> None:
    settings = load_settings(data_dir=folder)
    async with start(settings, embedder=embedder) as (service, queue):
        scope = Scope(tenant=DEFAULT_TENANT, collection="handbook")
        await store(service, queue, scope, WRITTEN)

        before = encoded()
        query = Query(text=QUESTION, scope=scope)
        assert len((await service.query.search(query, Trace())).hits) == 3
        assert encoded() == before + 1 + len(WRITTEN)  # the reranker read the passages

        before = encoded()
        again = Query(text=AGAIN, scope=scope)
        answer = await service.query.answer(again, Trace())
        assert answer.text == f"{WRITTEN[0]} [1]"
        assert encoded() == before + 1

        before = encoded()
        async with open_scorer(service, tokens=service.tokens) as scorer:
            passages = [hit.chunk for hit in answer.passages]
            scores = await scorer.measure(
                AGAIN, answer.text, passages, is_json=False, unsupported=0, uncited=0
            )
        assert scores["groundedness"] == 1
        assert encoded() == before + 2  # the answer, compared with the passages and the question


async def test_a_question_s_token_vectors_are_those_it_has_alone(embedder: BertEmbedder) -> None:
    cache = TokenCache(Unasked(), max_bytes=1 << 20)
    questions = QuestionEmbedder(embedder, cache)
    texts = [QUESTION, "Why?", ""]
    dense = await questions.embed(texts, kind="query")
    np.testing.assert_allclose(dense, await embedder.embed(texts, kind="query"), atol=1e-5)
    alone = await embedder.embed_tokens(texts, kind="query")
    for kept, made in zip(await cache.embed_tokens(texts, kind="query"), alone, strict=True):
        np.testing.assert_array_equal(kept.spans, made.spans)
        np.testing.assert_allclose(kept.vectors, made.vectors, atol=1 / 254)
    assert (questions.dim, questions.fingerprint) == (embedder.dim, embedder.fingerprint)
    assert (await questions.embed([], kind="query")).shape == (0, embedder.dim)
    passages = await questions.embed(texts, kind="passage")
    np.testing.assert_allclose(passages, await embedder.embed(texts, kind="passage"), atol=1e-5)


class Unasked:
    """A `TokenEmbedder` that must not be called with texts."""

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        assert not texts
        return []
