"""Points as they were written, made of what an engine stores of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rag.types import Point, SparseVector
from retrieval.bm25 import bm25_counts
from retrieval.indexes.payload import acl_of, chunk_of

TOKENS_PAGE = 100
"""Points with token vectors that are read at once: each takes 1 MB."""


def stored_point(chunk_id: str, payload: dict[str, Any], vectors: Mapping[str, Any]) -> Point:
    """Returns the point that was written under this id.

    Term counts follow from the stored weights. Token vectors are as precise as they are stored, and
    have the length 1 again, so that copies of copies do not shrink.
    """
    stored = vectors["sparse"]
    weights = SparseVector(
        indices=np.array(stored.indices, np.int32), values=np.array(stored.values, np.float32)
    )
    tokens = vectors.get("tokens")
    return Point(
        chunk=chunk_of(chunk_id, payload),
        dense=np.array(vectors["dense"], np.float32),
        sparse=bm25_counts(weights, length=payload["length"], mean_length=payload["mean"]),
        tokens=None if tokens is None else _unit(np.array(tokens, np.float32)),
        acl=acl_of(payload),
    )


def _unit(tokens: Any) -> Any:
    return (tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).astype(np.float16)
