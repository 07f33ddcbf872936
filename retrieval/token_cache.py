"""Token vectors of the texts that were read last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from rag import metrics
from rag.protocols import TokenEmbedder
from rag.types import Float32Array, Kind, TokenVectors

_LEVELS = 127


@dataclass(frozen=True, slots=True)
class _Kept:
    """Each token's vector in 8-bit steps of its largest value."""

    steps: npt.NDArray[np.int8]
    scale: Float32Array
    spans: npt.NDArray[np.int32]

    @property
    def size(self) -> int:
        return self.steps.nbytes + self.scale.nbytes + self.spans.nbytes

    def open(self) -> TokenVectors:
        return TokenVectors(vectors=self.steps * self.scale, spans=self.spans)


class TokenCache:
    """`TokenEmbedder` that encodes a text once while it is asked for.

    Vectors are kept in a quarter of their size. What comes back is the same whether it was kept or
    not, so that an answer does not depend on what was asked before.
    """

    def __init__(self, embedder: TokenEmbedder, *, max_bytes: int) -> None:
        self._embedder = embedder
        self._max_bytes = max_bytes
        self._bytes = 0
        self._held: OrderedDict[bytes, _Kept] = OrderedDict()

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        """One `TokenVectors` for each text, in input order."""
        salt = kind.encode()
        keys = [blake2b(text.encode(), digest_size=16, salt=salt).digest() for text in texts]
        known = {key: self._held[key] for key in keys if key in self._held}
        unknown = {k: text for k, text in zip(keys, texts, strict=True) if k not in known}
        metrics.cache("token vectors", hits=len(texts) - len(unknown), misses=len(unknown))
        made = await self._embedder.embed_tokens(list(unknown.values()), kind=kind)
        known |= {key: _reduced(tokens) for key, tokens in zip(unknown, made, strict=True)}
        for key in known:
            self._keep(key, known[key])
        return [known[key].open() for key in keys]

    def _keep(self, key: bytes, kept: _Kept) -> None:
        if key not in self._held:
            self._bytes += kept.size
        self._held[key] = kept
        self._held.move_to_end(key)
        while self._bytes > self._max_bytes:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= oldest.size


def _reduced(tokens: TokenVectors) -> _Kept:
    largest = np.abs(tokens.vectors).max(axis=1, keepdims=True, initial=0.0)
    scale = (np.maximum(largest, np.finfo(np.float32).tiny) / _LEVELS).astype(np.float32)
    steps = np.rint(tokens.vectors / scale).astype(np.int8)
    return _Kept(steps=steps, scale=scale, spans=tokens.spans)
