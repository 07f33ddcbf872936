"""The contracts of `Embedder`, `TokenEmbedder` and `PassageEmbedder`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from eval.offline.stage_cache import CachedEmbedder, SharedStages
from rag.protocols import Embedder, PassageEmbedder, TokenEmbedder
from rag.types import Kind
from retrieval.embedders.embedder import BertEmbedder, OnnxEmbedder
from retrieval.embedders.token_cache import QuestionEmbedder, TokenCache
from tests.fakes import HashEmbedder
from tests.weights import QUERY_PROMPT, weights

pytestmark = pytest.mark.anyio

TEXTS = ["The cat sat.", "Zürich’s cafés, 東京 🙂", "", "A dog runs.", "The cat sat."]
KINDS: list[Kind] = ["query", "passage"]


class Models:
    """The models of this file; the one in an ONNX graph is loaded by the first test of it."""

    def __init__(self, bert: BertEmbedder) -> None:
        self.bert = bert

    @cached_property
    def onnx(self) -> OnnxEmbedder:
        folder = weights("bge_small_en")
        return OnnxEmbedder(str(folder), pooling="cls", query_prompt=QUERY_PROMPT)


@pytest.fixture(scope="module")
def models(embedder: BertEmbedder) -> Iterator[Models]:
    made = Models(embedder)
    yield made
    if "onnx" in vars(made):
        made.onnx.close()


def cached(inner: BertEmbedder | HashEmbedder) -> TokenCache:
    return TokenCache(inner, max_bytes=1 << 20)


DENSE: dict[str, Callable[[Models, Path], Embedder]] = {
    "hash": lambda _, __: HashEmbedder(),
    "bert": lambda models, _: models.bert,
    "onnx": lambda models, _: models.onnx,
    "question": lambda models, _: QuestionEmbedder(models.bert, cached(models.bert)),
    "cached": lambda _, folder: CachedEmbedder(
        HashEmbedder(), SharedStages(folder), fingerprint="1"
    ),
}
BY_TOKEN: dict[str, Callable[[Models], TokenEmbedder]] = {
    "hash": lambda _: HashEmbedder(),
    "bert": lambda models: models.bert,
    "onnx": lambda models: models.onnx,
    "background": lambda models: models.bert.in_background(),
    "cached": lambda models: cached(models.bert),
}
OF_PASSAGES: dict[str, Callable[[Models], PassageEmbedder]] = {
    "hash": lambda _: HashEmbedder(),
    "bert": lambda models: models.bert,
    "onnx": lambda models: models.onnx,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", DENSE.values(), ids=DENSE)
async def test_texts_become_unit_vectors_in_input_order_whatever_stands_beside_them(
    make: Callable[[Models, Path], Embedder], models: Models, folder: Path, kind: Kind
) -> None:
    made = make(models, folder)
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
    make: Callable[[Models], TokenEmbedder], models: Models, kind: Kind
) -> None:
    made = make(models)
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
    make: Callable[[Models], PassageEmbedder], models: Models
) -> None:
    made = make(models)
    embedded = await made.embed_passages(TEXTS)
    assert len(embedded) == len(TEXTS)
    [*others] = await made.embed_passages(TEXTS[3:4])
    np.testing.assert_allclose(others[0].dense, embedded[3].dense, atol=1e-5)
    dense = np.stack([each.dense for each in embedded])
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1.0, atol=1e-5)
    for each in embedded:
        assert each.tokens is None or each.tokens.ndim == 2
    assert await made.embed_passages([]) == []
