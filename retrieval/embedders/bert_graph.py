"""Writes a BERT checkpoint as an ONNX graph, which runs without torch.

Devlin et al. 2018, https://arxiv.org/abs/1810.04805. In int8, each row is rounded by itself before
the feed-forward layers: there a few tokens of each text, such as [SEP], have numbers far larger
than all others (Bondarenko et al. 2021, https://arxiv.org/abs/2109.12948), and one step for all
rows would leave the others few steps. Vectors of MiniLM have a cosine of .998 with those in
float32, and would have .995.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from safetensors import safe_open

from rag.inference.onnx_writer import GraphWriter, Precision, Rows
from rag.types import Float32Array
from retrieval.embedders.checkpoint import WEIGHTS, BertShape
from retrieval.embedders.sentence_files import part_of_checkpoint


class BertGraph:
    """A graph that reads one text at a time: there is no padding."""

    def __init__(self, checkpoint: BertShape, precision: Precision) -> None:
        """Opens the weights.

        Raises:
            ConfigError: They are missing or damaged.
        """
        self._file = checkpoint.folder / WEIGHTS
        with part_of_checkpoint(self._file) as file:
            self._tensors = safe_open(file, framework="numpy")
        self._heads, self._dim = checkpoint.heads, checkpoint.dim
        self._layers, self._eps = checkpoint.layers, checkpoint.eps
        self._graph = GraphWriter(precision)

    @property
    def shared(self) -> Mapping[str, Float32Array]:
        """The constants that are not in the model."""
        return self._graph.shared

    def serialised(self, *, whole: bool = False) -> bytes:
        """Returns the model: `input_ids` int64[1, tokens] → float32[1, tokens, dim].

        Args:
            whole: False: without the constants in `shared`.

        Raises:
            ConfigError: A weight is missing.
        """
        with part_of_checkpoint(self._file):
            tokens = self._tokens()
        return self._graph.serialised(
            {"input_ids": (1, "tokens")}, {tokens: (1, "tokens", self._dim)}, whole=whole
        )

    def _tokens(self) -> str:
        x = self._embeddings()
        for layer in range(self._layers):
            x = self._layer(x, f"encoder.layer.{layer}.")
        return self._graph.op("Unsqueeze", x, self._graph.integers(0))

    def _embeddings(self) -> str:
        graph = self._graph
        ids = graph.op("Squeeze", "input_ids", graph.integers(0))
        words = graph.outside("words", self._weight("embeddings.word_embeddings.weight"))
        first_kind = self._weight("embeddings.token_type_embeddings.weight")[0]
        all_places = self._weight("embeddings.position_embeddings.weight") + first_kind
        places = graph.op(
            "Slice", graph.constant("places", all_places), graph.integers(0), graph.op("Shape", ids)
        )
        x = graph.op("Add", graph.op("Gather", words, ids), places)
        return self._norm(x, "embeddings.LayerNorm")

    def _layer(self, x: str, prefix: str) -> str:
        graph = self._graph
        context = self._attention(graph.rounded(x, by_row=False), f"{prefix}attention.self.")
        attended = self._linear(
            graph.rounded(context, by_row=False), f"{prefix}attention.output.dense"
        )
        x = self._norm(graph.op("Add", attended, x), f"{prefix}attention.output.LayerNorm")
        up = self._linear(graph.rounded(x, by_row=True), f"{prefix}intermediate.dense")
        inner = graph.rounded(graph.op("Gelu", up), by_row=True)
        down = self._linear(inner, f"{prefix}output.dense")
        return self._norm(graph.op("Add", down, x), f"{prefix}output.LayerNorm")

    def _attention(self, x: Rows, prefix: str) -> str:
        graph, size = self._graph, self._dim // self._heads

        def part(name: str, order: list[int], scale: float = 1.0) -> str:
            rows = self._linear(x, f"{prefix}{name}", scale)
            split = graph.op("Reshape", rows, graph.integers(-1, self._heads, size))
            return graph.op("Transpose", split, perm=order)

        query = part("query", [1, 0, 2], scale=size**-0.5)
        key, value = part("key", [1, 2, 0]), part("value", [1, 0, 2])
        shares = graph.op("Softmax", graph.op("MatMul", query, key), axis=-1)
        context = graph.op("Transpose", graph.op("MatMul", shares, value), perm=[1, 0, 2])
        return graph.op("Reshape", context, graph.integers(-1, self._dim))

    def _linear(self, x: Rows, name: str, scale: float = 1.0) -> str:
        weight, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self._graph.linear(x, name, weight, bias, scale=scale)

    def _norm(self, x: str, name: str) -> str:
        weight, bias = (
            self._graph.constant(f"{name}.{part}", self._weight(f"{name}.{part}"))
            for part in ("weight", "bias")
        )
        return self._graph.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=self._eps)

    def _weight(self, name: str) -> Float32Array:
        tensor: Float32Array = self._tensors.get_tensor(name)  # type: ignore[no-untyped-call]
        return tensor.astype(np.float32, copy=False)
