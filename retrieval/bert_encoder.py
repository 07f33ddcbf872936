"""Texts in, vectors out: what the embedder's process does with a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rag.types import Embedding, TokenVectors
from retrieval.bert import Bert, mean_pool
from retrieval.checkpoint import Checkpoint

if TYPE_CHECKING:
    from retrieval.embedders import Encoded, Text


class BertEncoder:
    """A checkpoint's tokenizer and forward pass; may be called on `lanes` threads at once."""

    def __init__(self, checkpoint: Checkpoint, *, dtype: torch.dtype, lanes: int) -> None:
        self._bert = Bert(checkpoint, dtype=dtype)
        self._tokenizer = checkpoint.tokenizer(window=checkpoint.max_tokens)
        # Two small batches side by side take less time than one after the other on all cores.
        torch.set_num_threads(max(1, torch.get_num_threads() // lanes))

    def __call__(self, items: list[Text]) -> list[Encoded]:
        """float32[dim] of unit norm, `TokenVectors` or an `Embedding`, in input order."""
        encodings = self._tokenizer.encode_batch([item.text for item in items])
        tokens, lengths = self._bert.forward([e.ids for e in encodings])
        pooled = mean_pool(tokens, lengths).numpy()
        results: list[Encoded] = []
        start = 0
        for item, encoding, mean in zip(items, encodings, pooled, strict=True):
            end = start + len(encoding.ids)
            inner = tokens[start + 1 : end - 1]  # without [CLS] and [SEP]
            match item.form:
                case "mean":
                    results.append(mean)
                case "tokens":
                    spans = np.array(encoding.offsets[1:-1], np.int32).reshape(-1, 2)
                    results.append(TokenVectors(vectors=_unit(inner).numpy(), spans=spans))
                case "both":
                    half = _unit(inner).half().numpy()
                    results.append(Embedding(dense=mean, tokens=half))
            start = end
        return results


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)
