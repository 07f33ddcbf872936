"""Encodes batches of texts as vectors in the embedder's process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from rag.errors import UpstreamError
from retrieval.embedders.bert_model import Bert, mean_pool
from retrieval.embedders.checkpoint import Checkpoint
from retrieval.embedders.messages import Encoded, Loaded, Text
from retrieval.embedders.token_places import in_form, spans_in, unknown_token


@contextlib.contextmanager
def gpu_memory() -> Iterator[None]:
    """Reports too little GPU memory as a temporary error, since other programs use the GPU, too."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UpstreamError(
            "The embedder's GPU has too little memory left. Leave it more, or set"
            ' embedder.device to "cpu".',
            code="out_of_memory",
        ) from error


class BertEncoder:
    """A checkpoint's tokenizer and forward pass; may be called on `lanes` threads at once."""

    def __init__(
        self, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype, lanes: int
    ) -> None:
        self._tokenizer = checkpoint.tokenizer()
        self.about = Loaded(checkpoint.model(self._tokenizer), device.type)
        self._bert = Bert(checkpoint, device=device, dtype=dtype)
        self._tokenizer.enable_truncation(checkpoint.max_tokens)
        self._unknown = unknown_token(self._tokenizer)
        # Two small batches side by side take less time than one after the other on all cores.
        torch.set_num_threads(max(1, torch.get_num_threads() // lanes))

    def __call__(self, items: list[Text]) -> list[Encoded]:
        """Encodes each text in the form it asks for, in input order.

        Raises:
            UpstreamError: The GPU has too little memory left.
        """
        with gpu_memory():
            return self._encode(items)

    def _encode(self, items: list[Text]) -> list[Encoded]:
        encodings = self._tokenizer.encode_batch([item.text for item in items])
        tokens, lengths = self._bert.forward([e.ids for e in encodings])
        pooled = mean_pool(tokens, lengths).numpy(force=True)
        units = np.empty((0, 0), np.float32)
        if any(item.form != "dense" for item in items):
            units = F.normalize(tokens, dim=-1).numpy(force=True)  # from the device in one piece
        results: list[Encoded] = []
        start = 0
        for item, encoding, dense in zip(items, encodings, pooled, strict=True):
            end = start + len(encoding.ids)
            if item.form == "dense":
                results.append(dense)
            else:
                rows = units[start:end]
                spans = spans_in(item.text, encoding.offsets, "")
                known = np.array(encoding.ids) != self._unknown
                results.append(in_form(item.form, dense, rows, spans, known))
            start = end
        return results
