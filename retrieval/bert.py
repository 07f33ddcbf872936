"""The forward pass of BERT-like encoders, read straight from a checkpoint folder.

`import sentence_transformers` alone takes several seconds (it brings in scikit-learn, pandas and
the datasets library); this takes none and gives the same vectors: within 1e-6 in float32.
Devlin et al. 2018, https://arxiv.org/abs/1810.04805; mean pooling after Reimers & Gurevych 2019,
https://arxiv.org/abs/1908.10084.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from rag.errors import ConfigError

_LAYER = (
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


class Bert:
    """A checkpoint's tokenizer and weights; sync and not thread-safe: one thread owns it."""

    def __init__(self, folder: Path, *, dtype: torch.dtype) -> None:
        config = _read_json(folder / "config.json")
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise ConfigError(
                f"{folder} holds a {config.get('model_type')!r} model, and the built-in encoder"
                " reads BERT alone; set embedder.kind = 'sentence-transformers' for any other."
            )
        with _checkpoint(folder / "model.safetensors") as file:
            weights = load_file(file)
        self._weights = {k: v.to(dtype) for k, v in weights.items() if v.is_floating_point()}
        self._heads = config["num_attention_heads"]
        self._eps = config["layer_norm_eps"]
        self.dim: int = config["hidden_size"]
        self._layers = [self._layer(i) for i in range(config["num_hidden_layers"])]
        self.max_tokens: int = _read_json(folder / "sentence_bert_config.json")["max_seq_length"]
        self.tokenizer = _tokenizer(folder)
        self.tokenizer.enable_truncation(self.max_tokens)
        self.whole = _tokenizer(folder)  # counts what the other one would cut
        self.whole.no_truncation()

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

        The tokens of all texts lie end to end, so that no product is spent on padding; only the
        attention itself sees a padded rectangle.

        Args:
            ids: token ids of each text, at most `max_tokens` long, none empty.

        Returns:
            float32[total tokens, dim] not normalised, and int64[texts] the length of each text.
        """
        lengths = torch.tensor([len(row) for row in ids])
        longest = int(lengths.max())
        mask = torch.arange(longest) < lengths[:, None]
        where = None if bool(mask.all()) else mask
        flat = torch.tensor([token for row in ids for token in row])
        positions = torch.cat([torch.arange(len(row)) for row in ids])
        emb = self._weights
        x = emb["embeddings.word_embeddings.weight"][flat]
        x = x + emb["embeddings.position_embeddings.weight"][positions]
        x = x + emb["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, emb["embeddings.LayerNorm.weight"], emb["embeddings.LayerNorm.bias"])
        for qkv, attended, norm1, up, down, norm2 in self._layers:
            context = self._attention(F.linear(x, *qkv), where, len(ids), longest)
            x = self._norm(x + F.linear(context, *attended), *norm1)
            x = self._norm(x + F.linear(F.gelu(F.linear(x, *up)), *down), *norm2)
        return x.float(), lengths

    def _norm(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, (self.dim,), weight, bias, self._eps)

    def _attention(self, qkv: Tensor, where: Tensor | None, rows: int, longest: int) -> Tensor:
        if where is None:
            padded = qkv
        else:
            padded = qkv.new_zeros(rows * longest, qkv.shape[1])
            padded[where.flatten()] = qkv
        q, k, v = padded.view(rows, longest, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if where is None else where[:, None, None, :]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        flat = out.transpose(1, 2).reshape(rows * longest, self.dim)
        return flat if where is None else flat[where.flatten()]


def mean_pool(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Unit-norm means: float32[total tokens, dim], int64[texts] → float32[texts, dim]."""
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    sums = torch.zeros(len(lengths), tokens.shape[1]).index_add_(0, owner, tokens)
    return F.normalize(sums / lengths[:, None], dim=-1)


def _tokenizer(folder: Path) -> Tokenizer:
    with _checkpoint(folder / "tokenizer.json") as file:
        tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    return tokenizer


def _read_json(path: Path) -> dict[str, Any]:
    with _checkpoint(path) as file:
        return json.loads(file.read_bytes())  # type: ignore[no-any-return]


@contextlib.contextmanager
def _checkpoint(file: Path) -> Iterator[Path]:
    """What each library raises of a file that is missing or damaged, in our own words."""
    try:
        yield file
    except Exception as error:
        cause = f"cannot be read ({error})" if file.is_file() else "is missing"
        raise ConfigError(
            f"{file.parent} is no encoder checkpoint: {file.name} {cause}. embedder.model takes a"
            " folder saved by sentence-transformers."
        ) from error
