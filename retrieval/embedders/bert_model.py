"""The forward pass of BERT-like encoders, read straight from a checkpoint folder.

`import sentence_transformers` alone takes several seconds (it brings in scikit-learn, pandas and
the datasets library); this takes none and gives the same vectors: within 1e-6 in float32.
Devlin et al. 2018, https://arxiv.org/abs/1810.04805; mean pooling after Reimers & Gurevych 2019,
https://arxiv.org/abs/1908.10084.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from rag.errors import ConfigError
from retrieval.embedders.checkpoint import WEIGHTS, Checkpoint
from retrieval.embedders.loading import Dtype
from retrieval.embedders.sentence_files import part_of_checkpoint

CPU_STEP = 16
"""Multiple to which the tokens of a batch are rounded up. oneDNN caches data for each of the last
1,024 shapes: with every number of tokens that took a GiB, with multiples of 16 a fifth of it."""
Attend = Callable[[Tensor], Tensor]
"""Maps queries, keys and values [total tokens, 3 dim] to contexts [total tokens, dim]."""

_LAYER = (
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


class Bert:
    """A checkpoint's weights; synchronous and immutable."""

    def __init__(self, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> None:
        with part_of_checkpoint(checkpoint.folder / WEIGHTS) as file:
            weights = load_file(file)
        self._weights = {
            k: v.to(device, dtype) for k, v in weights.items() if v.is_floating_point()
        }
        self._device = device
        self._step = CPU_STEP if device.type == "cpu" else 1
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
        """Computes the token vectors of a batch.

        The tokens of all texts are concatenated, so no time is spent on padding.

        Args:
            ids: token ids of each text, at most `max_tokens` long, none empty.

        Returns:
            float32[total tokens, dim] not normalised, and int64[texts] the length of each text,
            both on the device.
        """
        texts, total = len(ids), sum(map(len, ids))
        if filler := -total % self._step:
            ids = [*ids, [0] * filler]
        lengths = [len(row) for row in ids]
        flat = torch.tensor([token for row in ids for token in row], device=self._device)
        positions = torch.cat([torch.arange(length) for length in lengths]).to(self._device)
        attend = self._attention(lengths)
        emb = self._weights
        x = emb["embeddings.word_embeddings.weight"][flat]
        x = x + emb["embeddings.position_embeddings.weight"][positions]
        x = x + emb["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, emb["embeddings.LayerNorm.weight"], emb["embeddings.LayerNorm.bias"])
        for qkv, attended, norm1, up, down, norm2 in self._layers:
            context = attend(F.linear(x, *qkv))
            x = self._norm(x + F.linear(context, *attended), *norm1)
            x = self._norm(x + F.linear(F.gelu(F.linear(x, *up)), *down), *norm2)
        return x[:total].float(), torch.tensor(lengths[:texts], device=self._device)

    def _norm(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, (self._dim,), weight, bias, self._eps)

    def _attention(self, lengths: list[int]) -> Attend:
        # On a CPU one text keeps a core busy, and padding costs time. On a GPU padding is cheap,
        # and starting the work of each text separately costs time.
        if self._device.type == "cpu":
            return one_by_one(lengths, heads=self._heads)
        return side_by_side(lengths, heads=self._heads, device=self._device)


def one_by_one(lengths: list[int], *, heads: int) -> Attend:
    """Attention within each text, text after text, without padding."""

    def attend(qkv: Tensor) -> Tensor:
        total = len(qkv)
        split = qkv.view(1, total, 3, heads, -1).permute(2, 0, 3, 1, 4)
        texts = zip(*(each.split(lengths, dim=2) for each in split), strict=True)
        attended = [F.scaled_dot_product_attention(q, k, v) for q, k, v in texts]
        return torch.cat(attended, dim=2).transpose(1, 2).reshape(total, -1)

    return attend


def side_by_side(lengths: list[int], *, heads: int, device: torch.device) -> Attend:
    """Attention within each text, all at once: a row for each, padded to the longest."""
    longest = max(lengths)
    taken = torch.arange(longest) < torch.tensor(lengths)[:, None]
    places = taken.flatten().nonzero().flatten().to(device)  # of the tokens, row after row
    mask = taken[:, None, None].to(device)

    def attend(qkv: Tensor) -> Tensor:
        padded = qkv.new_zeros(len(lengths) * longest, qkv.shape[1])
        padded[places] = qkv
        q, k, v = padded.view(len(lengths), longest, 3, heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return attended.transpose(1, 2).flatten(0, 1).flatten(1)[places]

    return attend


def mean_pool(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Unit-norm means: float32[total tokens, dim], int64[texts] → float32[texts, dim]."""
    numbers = torch.arange(len(lengths), device=tokens.device)
    owner = torch.repeat_interleave(numbers, lengths, output_size=len(tokens))
    sums = tokens.new_zeros(len(lengths), tokens.shape[1]).index_add_(0, owner, tokens)
    return F.normalize(sums / lengths[:, None], dim=-1)


def torch_device(name: str | None) -> torch.device:
    """Returns the device of that name; None: CUDA if torch finds it, else the CPU.

    Raises:
        ConfigError: Torch cannot use the device on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (AssertionError, RuntimeError) as error:  # a build without CUDA asserts
        raise ConfigError(
            f"embedder.device = {name!r} cannot be used: {str(error).splitlines()[0]}. Name"
            ' another, like "cpu" or "cuda:0", or leave it out for the best there is.'
        ) from error


def torch_dtype(name: Dtype, device: torch.device) -> torch.dtype:
    """Returns the type of the weights; "auto" is the faster one on this device.

    Raises:
        ConfigError: Torch does not compute in it.
    """
    if name == "int8":
        raise ConfigError(
            'embedder.dtype = "int8" is for BERT checkpoints on a CPU: set embedder.device = "cpu",'
            " or leave out embedder.dtype."
        )
    if name != "auto":
        named: torch.dtype = getattr(torch, name)
        return named
    if device.type == "cuda":  # float16 is the finer one, but some checkpoints overflow it
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float16
    # bfloat16 is twice as fast where the CPU multiplies it itself, and slower where it does not.
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32
