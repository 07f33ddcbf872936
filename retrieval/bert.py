"""The forward pass of BERT-like encoders, read straight from a checkpoint folder.

`import sentence_transformers` alone takes several seconds (it brings in scikit-learn, pandas and
the datasets library); this takes none and gives the same vectors: within 1e-6 in float32.
Devlin et al. 2018, https://arxiv.org/abs/1810.04805; mean pooling after Reimers & Gurevych 2019,
https://arxiv.org/abs/1908.10084.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from retrieval.checkpoint import WEIGHTS, Checkpoint, part_of_checkpoint

Dtype = Literal["auto", "float32", "bfloat16"]

_LAYER = (
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


class Bert:
    """A checkpoint's weights; sync; nothing in it changes."""

    def __init__(self, checkpoint: Checkpoint, *, dtype: torch.dtype) -> None:
        with part_of_checkpoint(checkpoint.folder / WEIGHTS) as file:
            weights = load_file(file)
        self._weights = {k: v.to(dtype) for k, v in weights.items() if v.is_floating_point()}
        self._heads = checkpoint.heads
        self._eps = checkpoint.eps
        self._dim = checkpoint.dim
        self._layers = [self._layer(i) for i in range(checkpoint.layers)]

    def _layer(self, i: int) -> tuple[tuple[Tensor, Tensor], ...]:
        prefix = f"encoder.layer.{i}."

        def pair(name: str) -> tuple[Tensor, Tensor]:
            return self._weights[f"{prefix}{name}.weight"], self._weights[f"{prefix}{name}.bias"]

        # One matrix product for query, key and value instead of three.
        qkv = [pair(f"attention.self.{name}") for name in ("query", "key", "value")]
        fused = (torch.cat([w for w, _ in qkv]), torch.cat([b for _, b in qkv]))
        return fused, *(pair(name) for name in _LAYER)

    @torch.inference_mode()
    def forward(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Token vectors of a batch.

        The tokens of all texts lie end to end, so that nothing is spent on padding; attention
        takes the texts one by one, which costs less than a padded rectangle does.

        Args:
            ids: token ids of each text, at most `max_tokens` long, none empty.

        Returns:
            float32[total tokens, dim] not normalised, and int64[texts] the length of each text.
        """
        lengths = [len(row) for row in ids]
        flat = torch.tensor([token for row in ids for token in row])
        positions = torch.cat([torch.arange(length) for length in lengths])
        emb = self._weights
        x = emb["embeddings.word_embeddings.weight"][flat]
        x = x + emb["embeddings.position_embeddings.weight"][positions]
        x = x + emb["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, emb["embeddings.LayerNorm.weight"], emb["embeddings.LayerNorm.bias"])
        for qkv, attended, norm1, up, down, norm2 in self._layers:
            context = self._attention(F.linear(x, *qkv), lengths)
            x = self._norm(x + F.linear(context, *attended), *norm1)
            x = self._norm(x + F.linear(F.gelu(F.linear(x, *up)), *down), *norm2)
        return x.float(), torch.tensor(lengths)

    def _norm(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, (self._dim,), weight, bias, self._eps)

    def _attention(self, qkv: Tensor, lengths: list[int]) -> Tensor:
        total = len(qkv)
        heads = qkv.view(1, total, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        texts = zip(*(each.split(lengths, dim=2) for each in heads), strict=True)
        attended = [F.scaled_dot_product_attention(q, k, v) for q, k, v in texts]
        return torch.cat(attended, dim=2).transpose(1, 2).reshape(total, self._dim)


def mean_pool(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Unit-norm means: float32[total tokens, dim], int64[texts] → float32[texts, dim]."""
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    sums = torch.zeros(len(lengths), tokens.shape[1]).index_add_(0, owner, tokens)
    return F.normalize(sums / lengths[:, None], dim=-1)


def torch_dtype(name: Dtype) -> torch.dtype:
    """The type that weights are held in; "auto" is the faster one on this machine."""
    if name != "auto":
        return torch.float32 if name == "float32" else torch.bfloat16
    # bfloat16 is twice as fast where the CPU multiplies it itself, and slower where it does not.
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32
