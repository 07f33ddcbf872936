"""Encodes texts by ONNX Runtime in the embedder's process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from rag.inference.onnx_graph import OnnxGraph
from rag.types import Float32Array, Kind
from retrieval.embedders.messages import Encoded, Loaded, Model, Text
from retrieval.embedders.token_places import in_form, spans_in, unknown_token

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Pooling = Literal["mean", "cls", "last"]
"""The text's vector: the mean of all tokens', or that of the first or the last token."""
NO_PROMPTS: Mapping[Kind, str] = {"query": "", "passage": ""}


class OnnxEncoder:
    """A tokenizer and a graph; may be called on several threads at once."""

    def __init__(
        self,
        graph: OnnxGraph,
        tokenizer: Tokenizer,
        model: Model,
        *,
        pooling: Pooling = "mean",
        prompts: Mapping[Kind, str] = NO_PROMPTS,
    ) -> None:
        """Makes an encoder.

        Args:
            graph: returns a vector for each token.
            tokenizer: truncates at the model's window.
            model: the properties.
            pooling: makes the text's vector.
            prompts: put before texts of each kind.
        """
        self.about = Loaded(model, "cpu")
        self._graph = graph
        self._tokenizer = tokenizer
        self._unknown = unknown_token(tokenizer)
        self._pooling = pooling
        self._prompts = prompts

    def __call__(self, items: list[Text]) -> list[Encoded]:
        """Encodes each text in the form it asks for, in input order."""
        texts = [self._prompts[item.kind] + item.text for item in items]
        encodings = self._tokenizer.encode_batch(texts)
        return [self._encode(item, e) for item, e in zip(items, encodings, strict=True)]

    def _encode(self, item: Text, encoding: Encoding) -> Encoded:
        tokens = self._graph(encoding.ids, kinds=encoding.type_ids)
        dense = pooled(tokens, self._pooling)
        if item.form == "dense":
            return dense
        spans = spans_in(item.text, encoding.offsets, self._prompts[item.kind])
        known = np.array(encoding.ids) != self._unknown
        return in_form(item.form, dense, unit(tokens), spans, known)


def pooled(tokens: Float32Array, pooling: Pooling) -> Float32Array:
    """Returns a text's vector, float32[dim] of length one, of float32[tokens, dim]."""
    if pooling == "mean":
        return unit(tokens.mean(axis=0))
    return unit(tokens[0 if pooling == "cls" else -1])


def unit(vectors: Float32Array) -> Float32Array:
    """Returns vectors of length one, as `torch.nn.functional.normalize` does."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Float32Array = vectors / np.maximum(norms, 1e-12)
    return result
