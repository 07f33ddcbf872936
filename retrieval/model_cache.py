"""Results of models for texts, kept in Redis for all processes; a tenant sees its own alone.

A key is a digest of the tenant, the model and the texts. No other tenant can tell, by an answer or
by its time, that a text was seen before. Texts are not kept.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Literal, cast

import numpy as np

from rag.errors import UpstreamError
from rag.process.redis_calls import RedisCalls
from rag.protocols import Embedder, Reranker
from rag.telemetry import cache_metrics
from rag.text.passages import passage_text
from rag.types import Chunk, Float32Array, Kind, Query

Cache = Literal["embedding", "rerank"]
_PREFIX = "plumbline:models:"
_log = logging.getLogger(__name__)


class ModelCache:
    """Vectors of texts, and scores of passages."""

    def __init__(self, url: str, *, seconds: float, reranker: str) -> None:
        """Makes a cache; nothing is connected yet.

        Args:
            url: The server's address.
            seconds: The time for which a result is kept.
            reranker: The fingerprint of the reranker.
        """
        self._milliseconds = math.ceil(seconds * 1000)
        self._reranker = reranker
        self._calls = RedisCalls(
            url, setting="model_cache.url", code="model_cache_unavailable", holds="vectors"
        )

    async def embed(
        self, embedder: Embedder, texts: Sequence[str], *, kind: Kind, tenant: str
    ) -> tuple[Float32Array, UpstreamError | None]:
        """Returns the vectors of texts as the embedder does, and what failed of the cache."""
        model = [embedder.fingerprint, kind]
        keys = [_key(tenant, model, text) for text in texts]
        found, fault = await self._get("embedding", keys, size=4 * embedder.dim)
        new = [i for i, each in enumerate(found) if each is None]
        vectors = np.empty((len(texts), embedder.dim), np.float32)
        for i, each in enumerate(found):
            if each is not None:
                vectors[i] = np.frombuffer(each, np.float32)
        if new:
            vectors[new] = await embedder.embed([texts[i] for i in new], kind=kind)
            fault = fault or await self._put({keys[i]: vectors[i].tobytes() for i in new})
        return vectors, fault

    async def score(
        self, reranker: Reranker, query: Query, chunks: Sequence[Chunk]
    ) -> tuple[Float32Array, UpstreamError | None]:
        """Returns the scores of chunks as the reranker does, and what failed of the cache.

        A reranker whose score of a chunk depends on the others must not be cached.
        """
        model = [self._reranker, query.text]
        keys = [_key(query.scope.tenant, model, passage_text(chunk)) for chunk in chunks]
        found, fault = await self._get("rerank", keys, size=4)
        new = [i for i, each in enumerate(found) if each is None]
        scores = np.array([0.0 if f is None else np.frombuffer(f, np.float32)[0] for f in found])
        scores = scores.astype(np.float32)
        if new:
            scores[new] = await reranker.score(query, [chunks[i] for i in new])
            fault = fault or await self._put({keys[i]: scores[i].tobytes() for i in new})
        return scores, fault

    async def close(self) -> None:
        """Closes the connections."""
        await self._calls.close()

    async def _get(
        self, cache: Cache, keys: Sequence[str], *, size: int
    ) -> tuple[list[bytes | None], UpstreamError | None]:
        """Returns the bytes of keys, None where there are none of this size, and what failed."""
        if not keys:
            return [], None
        try:
            async with self._calls.calling():
                found = cast("list[Any]", await self._calls.redis.mget(keys))
        except UpstreamError as error:
            return [None] * len(keys), _noted(error)
        right = [each if each is not None and len(each) == size else None for each in found]
        hits = sum(each is not None for each in right)
        cache_metrics.cache(cache, hits=hits, misses=len(right) - hits)
        return right, None

    async def _put(self, values: dict[str, bytes]) -> UpstreamError | None:
        """Keeps values; returns what failed."""
        try:
            async with (
                self._calls.calling(),
                self._calls.redis.pipeline(transaction=False) as calls,
            ):
                for key, value in values.items():
                    calls.set(key, value, px=self._milliseconds)
                await calls.execute()
        except UpstreamError as error:
            return _noted(error)
        return None


def _key(tenant: str, model: Sequence[str], text: str) -> str:
    parts = json.dumps([tenant, *model, text]).encode()
    return _PREFIX + blake2b(parts, digest_size=20).hexdigest()


def _noted(error: UpstreamError) -> UpstreamError:
    cache_metrics.model_cache_failed()
    _log.warning("Model cache: %s", error.in_full())
    return error
