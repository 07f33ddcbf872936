"""Encodes batches of texts as vectors in the embedder's process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from rag.errors import UpstreamError
from rag.types import Embedding, TokenVectors
from retrieval.embedders.bert_model import Bert, mean_pool
from retrieval.embedders.checkpoint import Checkpoint
from retrieval.embedders.messages import Encoded, EncodedQuestion, Loaded, Text


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
        self.about = Loaded(checkpoint.model(), device.type)
        self._bert = Bert(checkpoint, device=device, dtype=dtype)
        self._tokenizer = checkpoint.tokenizer(window=checkpoint.max_tokens)
        unknown = getattr(self._tokenizer.model, "unk_token", None)  # of WordPiece
        self._unknown = self._tokenizer.token_to_id(unknown) if unknown else None
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
            inside = self._known(encoding.ids)
            inner = units[start:end][inside] if len(units) else units
            match item.form:
                case "dense":
                    results.append(dense)
                case "both":
                    results.append(Embedding(dense=dense, tokens=inner.astype(np.float16)))
                case "tokens" | "question":
                    spans = np.array(encoding.offsets, np.int32).reshape(-1, 2)[inside]
                    found = TokenVectors(vectors=inner, spans=spans)
                    results.append(
                        found if item.form == "tokens" else EncodedQuestion(dense, found)
                    )
            start = end
        return results

    def _known(self, ids: list[int]) -> npt.NDArray[np.bool_]:
        """Returns bool[tokens]: False for [CLS], [SEP] and tokens outside the vocabulary.

        All unknown words have one vector, and would seem alike.
        """
        known: npt.NDArray[np.bool_] = np.array(ids) != self._unknown
        known[[0, -1]] = False
        return known
