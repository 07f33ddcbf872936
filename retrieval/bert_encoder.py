"""Texts in, vectors out: what the embedder's process does with a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from rag.types import Float32Array, TokenVectors
from retrieval.bert import Bert, mean_pool
from retrieval.checkpoint import Checkpoint

if TYPE_CHECKING:
    from retrieval.embedders import Text

# Below some 500 tokens a second core saves no time: the matrices are too small to share.
ONE_THREAD_CHARS = 2048


class BertEncoder:
    """A checkpoint's tokenizer and forward pass; sync."""

    def __init__(self, checkpoint: Checkpoint, *, dtype: torch.dtype) -> None:
        self._bert = Bert(checkpoint, dtype=dtype)
        self._tokenizer = checkpoint.tokenizer(window=checkpoint.max_tokens)
        self._threads = torch.get_num_threads()

    def __call__(self, items: list[Text]) -> list[Float32Array | TokenVectors]:
        """float32[dim] of unit norm, or `TokenVectors`, in input order."""
        chars = sum(len(item.text) for item in items)
        torch.set_num_threads(1 if chars <= ONE_THREAD_CHARS else self._threads)
        encodings = self._tokenizer.encode_batch([item.text for item in items])
        tokens, lengths = self._bert.forward([e.ids for e in encodings])
        pooled = mean_pool(tokens, lengths).numpy()
        results: list[Float32Array | TokenVectors] = []
        start = 0
        for item, encoding, mean in zip(items, encodings, pooled, strict=True):
            end = start + len(encoding.ids)
            if item.by_token:
                inner = tokens[start + 1 : end - 1]  # without [CLS] and [SEP]
                unit = torch.nn.functional.normalize(inner, dim=-1).numpy()
                spans = np.array(encoding.offsets[1:-1], np.int32).reshape(-1, 2)
                results.append(TokenVectors(vectors=unit, spans=spans))
            else:
                results.append(mean)
            start = end
        return results
