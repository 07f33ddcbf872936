"""Encodes texts by ONNX Runtime in the embedder's process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rag.inference.int8 import is_exact
from rag.inference.onnx_session import open_session
from rag.types import Float32Array
from retrieval.embedders.bert_graph import BertGraph
from retrieval.embedders.checkpoint import Checkpoint
from retrieval.embedders.messages import Encoded, Loaded, Text
from retrieval.embedders.token_places import in_form, unknown_token

if TYPE_CHECKING:
    from tokenizers import Encoding

    from rag.inference.onnx_writer import Precision


class OnnxEncoder:
    """A checkpoint's tokenizer and its graph; may be called on several threads at once."""

    def __init__(self, checkpoint: Checkpoint, *, precision: Precision | None) -> None:
        """Makes the graph.

        Args:
            checkpoint: the configuration; its folder holds the weights.
            precision: None: int8 where the CPU multiplies it without loss, else float32.

        Raises:
            ConfigError: The weights or the tokenizer are missing or damaged.
        """
        self.about = Loaded(checkpoint.model(), "cpu")
        self._tokenizer = checkpoint.tokenizer(window=checkpoint.max_tokens)
        self._unknown = unknown_token(self._tokenizer)
        chosen = precision or ("int8" if is_exact() else "float32")
        graph = BertGraph(checkpoint, chosen)
        self._session = open_session(graph.serialised(), graph.shared)

    def __call__(self, items: list[Text]) -> list[Encoded]:
        """Encodes each text in the form it asks for, in input order.

        A text is encoded by itself: its vector does not depend on the others, and no time is spent
        on padding.
        """
        encodings = self._tokenizer.encode_batch([item.text for item in items])
        return [self._encode(item, e) for item, e in zip(items, encodings, strict=True)]

    def _encode(self, item: Text, encoding: Encoding) -> Encoded:
        ids = np.array([encoding.ids], np.int64)
        (output,) = self._session.run(None, {"input_ids": ids})
        tokens: Float32Array = output[0]
        dense = _unit(tokens.mean(axis=0))
        if item.form == "dense":
            return dense
        return in_form(item.form, dense, _unit(tokens), encoding, self._unknown)


def _unit(vectors: Float32Array) -> Float32Array:
    """Returns vectors of length one, as `torch.nn.functional.normalize` does."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Float32Array = vectors / np.maximum(norms, 1e-12)
    return unit
