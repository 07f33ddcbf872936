"""A cache for token vectors of the texts used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rag.protocols import TokenEmbedder
from rag.telemetry import cache_metrics
from rag.types import Float32Array, Kind, TokenVectors

if TYPE_CHECKING:
    from retrieval.embedders.embedder import ModelEmbedder

_LEVELS = 127


@dataclass(frozen=True, slots=True)
class _Kept:
    """Token vectors in 8-bit steps of each vector's largest value."""

    steps: npt.NDArray[np.int8]
    scale: Float32Array
    spans: npt.NDArray[np.int32]

    @property
    def size(self) -> int:
        return self.steps.nbytes + self.scale.nbytes + self.spans.nbytes

    def open(self) -> TokenVectors:
        return TokenVectors(vectors=self.steps * self.scale, spans=self.spans)


class _Store:
    """The entries used last, up to a limit in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._held: OrderedDict[bytes, _Kept] = OrderedDict()

    def get(self, key: bytes) -> _Kept | None:
        if kept := self._held.get(key):
            self._held.move_to_end(key)
        return kept

    def keep(self, key: bytes, kept: _Kept) -> None:
        if key not in self._held:
            self._bytes += kept.size
        self._held[key] = kept
        self._held.move_to_end(key)
        while self._bytes > self._max_bytes:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= oldest.size


class TokenCache:
    """`TokenEmbedder` that caches the vectors of texts.

    Vectors are stored in a quarter of their size. The result is the same with or without a cache
    hit, so that an answer does not depend on earlier requests. Tenants share it: an entry is found
    by its text alone, so whoever finds one has the text, and the vectors follow from the text.
    """

    def __init__(
        self, embedder: TokenEmbedder, *, max_bytes: int, beside: TokenCache | None = None
    ) -> None:
        """Make a cache.

        Args:
            embedder: encodes the texts.
            max_bytes: limit on the size of the stored vectors.
            beside: another cache of the same model; what it holds is not encoded here.
        """
        self._embedder = embedder
        self._store = _Store(max_bytes)
        self._stores: tuple[_Store, ...] = (self._store, *(beside._stores if beside else ()))

    def keep(self, text: str, tokens: TokenVectors, *, kind: Kind) -> None:
        """Stores vectors that were made elsewhere by the same model."""
        self._store.keep(_key(text, kind), _reduced(tokens))

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        """One `TokenVectors` for each text, in input order."""
        keys = [_key(text, kind) for text in texts]
        known = {key: kept for key in keys if (kept := self._find(key))}
        unknown = {k: text for k, text in zip(keys, texts, strict=True) if k not in known}
        cache_metrics.cache("token vectors", hits=len(texts) - len(unknown), misses=len(unknown))
        made = await self._embedder.embed_tokens(list(unknown.values()), kind=kind)
        for key, tokens in zip(unknown, made, strict=True):
            known[key] = _reduced(tokens)
            self._store.keep(key, known[key])
        return [known[key].open() for key in keys]

    def _find(self, key: bytes) -> _Kept | None:
        return next((kept for store in self._stores if (kept := store.get(key))), None)


class QuestionEmbedder:
    """`Embedder` that encodes a question once for retrieval and for reranking.

    The forward pass that makes its vector makes its token vectors as well. These are cached for the
    reranker, which requests them next.
    """

    def __init__(self, embedder: ModelEmbedder, tokens: TokenCache) -> None:
        """Make an embedder.

        Args:
            embedder: embedder of the model that makes `tokens`.
            tokens: the cache that the reranker reads.
        """
        self._embedder = embedder
        self._tokens = tokens

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return self._embedder.dim

    @property
    def fingerprint(self) -> str:
        """Identifies the weights and the computation."""
        return self._embedder.fingerprint

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        """float32[n, dim], unit norm, in input order."""
        if kind == "passage" or not texts:
            return await self._embedder.embed(texts, kind=kind)
        questions = await self._embedder.embed_questions(texts)
        for text, question in zip(texts, questions, strict=True):
            self._tokens.keep(text, question.tokens, kind=kind)
        return np.stack([question.dense for question in questions])


def _key(text: str, kind: Kind) -> bytes:
    return blake2b(text.encode(), digest_size=16, salt=kind.encode()).digest()


def _reduced(tokens: TokenVectors) -> _Kept:
    largest = np.abs(tokens.vectors).max(axis=1, keepdims=True, initial=0.0)
    scale = (np.maximum(largest, np.finfo(np.float32).tiny) / _LEVELS).astype(np.float32)
    steps = np.rint(tokens.vectors / scale).astype(np.int8)
    return _Kept(steps=steps, scale=scale, spans=tokens.spans)
