"""The contracts of `Embedder`, `TokenEmbedder` and `PassageEmbedder`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eval.offline.stage_cache import CachedEmbedder, SharedStages
from rag.protocols import Embedder, PassageEmbedder, TokenEmbedder
from rag.types import Kind
from retrieval.embedders.embedder import BertEmbedder
from retrieval.embedders.token_cache import QuestionEmbedder, TokenCache
from tests.fakes import HashEmbedder

pytestmark = pytest.mark.anyio

TEXTS = ["The cat sat.", "Zürich’s cafés, 東京 🙂", "", "A dog runs.", "The cat sat."]
KINDS: list[Kind] = ["query", "passage"]


def cached(inner: BertEmbedder | HashEmbedder) -> TokenCache:
    return TokenCache(inner, max_bytes=1 << 20)


DENSE: dict[str, Callable[[BertEmbedder, Path], Embedder]] = {
    "hash": lambda _, __: HashEmbedder(),
    "bert": lambda bert, _: bert,
    "question": lambda bert, _: QuestionEmbedder(bert, cached(bert)),
    "cached": lambda _, folder: CachedEmbedder(
        HashEmbedder(), SharedStages(folder), fingerprint="1"
    ),
}
BY_TOKEN: dict[str, Callable[[BertEmbedder], TokenEmbedder]] = {
    "hash": lambda _: HashEmbedder(),
    "bert": lambda bert: bert,
    "background": lambda bert: bert.in_background(),
    "cached": cached,
}
OF_PASSAGES: dict[str, Callable[[BertEmbedder], PassageEmbedder]] = {
    "hash": lambda _: HashEmbedder(),
    "bert": lambda bert: bert,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", DENSE.values(), ids=DENSE)
async def test_texts_become_unit_vectors_in_input_order_whatever_stands_beside_them(
    make: Callable[[BertEmbedder, Path], Embedder], embedder: BertEmbedder, folder: Path, kind: Kind
) -> None:
    made = make(embedder, folder)
    vectors = await made.embed(TEXTS, kind=kind)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), made.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[-1], atol=1e-5)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose((await made.embed([text], kind=kind))[0], vector, atol=1e-5)
    assert (await made.embed([], kind=kind)).shape == (0, made.dim)
    assert made.fingerprint


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", BY_TOKEN.values(), ids=BY_TOKEN)
async def test_texts_become_a_unit_vector_for_each_token_with_its_place_in_the_text(
    make: Callable[[BertEmbedder], TokenEmbedder], embedder: BertEmbedder, kind: Kind
) -> None:
    made = make(embedder)
    embedded = await made.embed_tokens(TEXTS, kind=kind)
    assert len(embedded) == len(TEXTS)
    for text, tokens in zip(TEXTS, embedded, strict=True):
        assert tokens.spans.shape == (len(tokens.vectors), 2)
        assert all(0 <= start <= end <= len(text) for start, end in tokens.spans)
        # The cache keeps a byte for each number.
        np.testing.assert_allclose(np.linalg.norm(tokens.vectors, axis=1), 1.0, atol=0.02)
        [alone] = await made.embed_tokens([text], kind=kind)
        np.testing.assert_array_equal(alone.spans, tokens.spans)
        np.testing.assert_allclose(alone.vectors, tokens.vectors, atol=0.02)
    assert len(embedded[0].vectors) > 0
    assert await made.embed_tokens([], kind=kind) == []


@pytest.mark.parametrize("make", OF_PASSAGES.values(), ids=OF_PASSAGES)
async def test_passages_get_the_vectors_that_the_other_methods_make(
    make: Callable[[BertEmbedder], PassageEmbedder], embedder: BertEmbedder
) -> None:
    made = make(embedder)
    embedded = await made.embed_passages(TEXTS)
    assert len(embedded) == len(TEXTS)
    [*others] = await made.embed_passages(TEXTS[3:4])
    np.testing.assert_allclose(others[0].dense, embedded[3].dense, atol=1e-5)
    dense = np.stack([each.dense for each in embedded])
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1.0, atol=1e-5)
    for each in embedded:
        assert each.tokens is None or each.tokens.ndim == 2
    assert await made.embed_passages([]) == []
