"""Embedders: they encode texts as vectors."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag.errors import UpstreamError
from rag.inference.batching import Batcher
from rag.inference.pair_model import MAX_WAITING
from rag.process.child_process import ChildProcess
from rag.process.cores import core_count
from rag.process.shared_process import model_process
from rag.protocols import TokenEmbedder
from rag.types import Embedding, Float32Array, Kind, TokenVectors
from retrieval.embedders.checkpoint import Checkpoint
from retrieval.embedders.known_letters import is_known
from retrieval.embedders.loading import Dtype, load_bert, load_colbert, load_onnx, load_sentence
from retrieval.embedders.messages import Encoded, EncodedQuestion, Loaded, Model, Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from retrieval.embedders.onnx_encoder import Pooling

# Some 120 tokens of English. With three such batches in progress, the event loop still has some of
# 32 callers to serve: neither it nor the model waits for the other.
MAX_BATCH_CHARS = 512
# With three of these under way documents are embedded no slower than with larger ones, and a
# question that comes among them is encoded in some 20 ms on two cores, in 60 with twice the size.
MAX_BULK_CHARS = 2048
# Some 8,000 tokens. A GPU takes thousands of tokens in the time of one, and a question that comes
# meanwhile is not delayed. Not measured on a GPU.
MAX_GPU_BATCH_CHARS = 32_768
PASSAGES_SHARE = 4
"""Factor by which batches of texts encoded token by token are larger than batches of questions:
such texts come many at a time, and one by one they take twice as long."""
LANES = core_count() + 1
"""Batches in progress at once: one for each core, and the next one is always ready."""
Encoder = Callable[[list[Text]], list[Encoded]]
_Process = ChildProcess[list[Text], list[Encoded]]


@dataclass(frozen=True, slots=True)
class _Running:
    process: _Process
    batcher: Batcher[Text, Encoded]


class ModelEmbedder:
    """A model in a separate process; texts that wait for it are batched together."""

    def __init__(
        self,
        load: Callable[[], Encoder],
        *,
        lanes: int,
        max_waiting: int,
        model: Model | None = None,
        name: str = "embedder",
    ) -> None:
        """Makes an embedder. Its model is loaded at the first use, or by `load`.

        Args:
            load: picklable; creates the encoder in the process; the encoder's `about` is its
                `Loaded`.
            lanes: batches in progress at once.
            max_waiting: questions that may wait.
            model: the model's properties; None: they are unknown until it is loaded, so it is
                loaded here.
            name: the process's, for messages.

        Raises:
            RagError: Raised by `load`.
        """
        self._load = load
        self._name = name
        self._lanes = lanes
        self._max_waiting = max_waiting
        self._loading = threading.Lock()
        self._running: _Running | None = None
        self._closed = False
        self._model = model or self._start().process.about.model

    def load(self) -> None:
        """Loads the model, unless it is loaded; blocks meanwhile. May be called from any thread.

        Raises:
            ConfigError: The model cannot be loaded, or not on that device.
        """
        self._start()

    def _start(self) -> _Running:
        with self._loading:
            if self._closed:
                raise UpstreamError("The embedder is closed.")
            if self._running is None:
                process = model_process(self._load, name=self._name, lanes=self._lanes)
                self._running = _Running(process, self._batches(process))
            return self._running

    def _batches(self, process: _Process) -> Batcher[Text, Encoded]:
        loaded: Loaded = process.about
        # A text past the window is cut by the tokenizer; 8 characters a token is generous.
        window = loaded.model.max_tokens * 8
        on_cpu = loaded.device == "cpu"
        return Batcher(
            process.call,
            at_once=process.lanes,
            cost=lambda item: (
                min(len(item.text), window) // (PASSAGES_SHARE if item.form == "tokens" else 1)
            ),
            max_cost=MAX_BATCH_CHARS if on_cpu else MAX_GPU_BATCH_CHARS,
            max_bulk_cost=MAX_BULK_CHARS if on_cpu else MAX_GPU_BATCH_CHARS,
            max_waiting=self._max_waiting,
            name=self._name,
        )

    async def _encode(self, items: Sequence[Text], *, bulk: bool = False) -> list[Encoded]:
        running = self._running
        if running is None:
            running = await asyncio.to_thread(self._start)
        return await running.batcher.submit(items, bulk=bulk)

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return self._model.dim

    @property
    def token_dim(self) -> int:
        """Length of each token's vector."""
        return self._model.token_dim

    @property
    def fingerprint(self) -> str:
        """Identifies the weights and the computation, but not the precision they run in."""
        return self._model.fingerprint

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text, without special tokens and without truncation."""
        return [len(e.ids) for e in self._whole.encode_batch(texts, add_special_tokens=False)]

    def reads(self, text: str) -> bool:
        """Returns False if the tokenizer knows few letters of a text: its script is foreign."""
        return is_known(self._whole, text)

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        """float32[n, dim], unit norm, in input order."""
        items = [Text(text, "dense", kind) for text in texts]
        rows = await self._encode(items, bulk=kind == "passage")
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)  # type: ignore[arg-type]

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        """One `TokenVectors` for each text, in input order.

        Passages are compared at query time, so both kinds are interactive.
        """
        items = [Text(text, "tokens", kind) for text in texts]
        return await self._encode(items)  # type: ignore[return-value]

    async def embed_questions(self, texts: Sequence[str]) -> list[EncodedQuestion]:
        """One `EncodedQuestion` for each text, in input order."""
        items = [Text(text, "question", "query") for text in texts]
        return await self._encode(items)  # type: ignore[return-value]

    async def embed_passages(self, texts: Sequence[str]) -> list[Embedding]:
        """One `Embedding` for each text, in input order."""
        items = [Text(text, "both", "passage") for text in texts]
        return await self._encode(items, bulk=True)  # type: ignore[return-value]

    def in_background(self) -> TokenEmbedder:
        """Returns an embedder whose texts are encoded after all texts that somebody waits for."""
        return _Background(self._encode)

    def close(self) -> None:
        """Ends the model's process; waits for one that is being loaded."""
        with self._loading:
            self._closed = True
            if self._running:
                self._running.process.close()

    @cached_property
    def _whole(self) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self._model.tokenizer)


@dataclass(frozen=True, slots=True)
class _Background:
    encode: Callable[..., Awaitable[list[Encoded]]]

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        items = [Text(text, "tokens", kind) for text in texts]
        return await self.encode(items, bulk=True)  # type: ignore[return-value]


class BertEmbedder(ModelEmbedder):
    """A BERT checkpoint with mean pooling."""

    def __init__(
        self,
        folder: Path,
        *,
        device: str | None = None,
        dtype: Dtype = "auto",
        max_waiting: int = 1024,
    ) -> None:
        """Reads the checkpoint's configuration; the weights are loaded at the first use.

        Args:
            folder: folder of the checkpoint.
            device: "cuda:0", "cpu" …; None: CUDA where torch sees one, else the CPU.
            dtype: type it computes in; "auto": the fastest that the device has.
            max_waiting: questions that may wait.

        Raises:
            ConfigError: The folder holds no checkpoint that this embedder can load.
        """
        load = partial(load_bert, folder, device, dtype, LANES)
        checkpoint = Checkpoint(folder)
        tokenizer = checkpoint.tokenizer()
        model = checkpoint.model(tokenizer)
        super().__init__(load, lanes=LANES, max_waiting=max_waiting, model=model)
        self._whole = tokenizer


class SentenceEmbedder(ModelEmbedder):
    """Any model that sentence-transformers loads and that has a vector for each token."""

    def __init__(
        self,
        model: str,
        *,
        device: str | None = None,
        dtype: Dtype = "auto",
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        max_waiting: int = 1024,
    ) -> None:
        """Loads the model in a separate process.

        Args:
            model: a folder, or a name on the hub.
            device: as for `BertEmbedder`.
            dtype: as for `BertEmbedder`.
            query_prompt: put before each query; None: as the model's configuration names it.
            passage_prompt: put before each passage; None: as the model's configuration names it.
            max_waiting: questions that may wait.

        Raises:
            ConfigError: The model cannot be loaded, not on that device, or gives no vectors of its
                tokens.
        """
        load = partial(load_sentence, model, device, dtype, query_prompt, passage_prompt)
        # Its tokenizer is not made for several threads.
        super().__init__(load, lanes=1, max_waiting=max_waiting)


class OnnxEmbedder(ModelEmbedder):
    """An encoder in a graph that ONNX Runtime runs on the CPU."""

    def __init__(
        self,
        model: str,
        *,
        file: str | None = None,
        pooling: Pooling | None = None,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        max_waiting: int = 1024,
    ) -> None:
        """Loads the model in a separate process.

        Args:
            model: a folder, or a name on the hub.
            file: the graph's path in it; None: `model.onnx` or `onnx/model.onnx`.
            pooling: of a model whose files do not say it; None: as they say.
            query_prompt: as for `SentenceEmbedder`.
            passage_prompt: as for `SentenceEmbedder`.
            max_waiting: questions that may wait.

        Raises:
            ConfigError: The model cannot be loaded, or computes something else than was recorded
                when it was converted.
        """
        load = partial(load_onnx, model, file, pooling, query_prompt, passage_prompt)
        super().__init__(load, lanes=LANES, max_waiting=max_waiting)


class ColbertModel(ModelEmbedder):
    """A ColBERT model in ONNX Runtime; it has vectors of tokens alone (`embed_tokens`)."""

    def __init__(self, model: str, *, file: str | None = None) -> None:
        """Loads the model in a separate process.

        Args:
            model: a folder, or a name on the hub.
            file: the graph's path in it; None: `model.onnx` or `onnx/model.onnx`.

        Raises:
            ConfigError: The model cannot be loaded, or does not say how it reads texts.
        """
        load = partial(load_colbert, model, file)
        super().__init__(load, lanes=LANES, max_waiting=MAX_WAITING, name="reranker")
