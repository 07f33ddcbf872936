"""Rerankers that read question and passage together, in a separate process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from rag.errors import ConfigError
from rag.inference.pair_model import Pair, PairModel, Scorer
from rag.privacy.redaction import words
from rag.process.extras import needing
from rag.text.passages import passage_text
from rag.types import Chunk, Float32Array, Query

Library = Literal["sentence_transformers", "flag", "flag_llm", "flag_layerwise"]


class PairReranker:
    """`Reranker` by a model that scores pairs in a separate process."""

    def __init__(self, load: Callable[[], Scorer]) -> None:
        """Loads the model.

        Args:
            load: picklable; makes the function that scores pairs, in the process.

        Raises:
            ConfigError: Raised by `load`.
        """
        self._model = PairModel(load, name="reranker")

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        """The model's own scores, before any sigmoid."""
        pairs = [(query.text, passage_text(chunk)) for chunk in chunks]
        return np.array(await self._model.score(pairs), np.float32)

    def close(self) -> None:
        """Ends the model's process."""
        self._model.close()


class CrossEncoderReranker(PairReranker):
    """`Reranker` on a checkpoint."""

    def __init__(
        self,
        model: str,
        *,
        library: Library,
        device: str | None,
    ) -> None:
        """Loads the checkpoint.

        Args:
            model: a folder, or a name on the hub.
            library: library that loads it: `CrossEncoder` of sentence-transformers, or
                FlagEmbedding's rerankers (normal, LLM-based, layerwise).
            device: "cuda:0", "cpu" …; None: as the library chooses.

        Raises:
            ConfigError: The checkpoint cannot be loaded.
        """
        super().__init__(partial(_load, model, library, device))


def _load(model: str, library: Library, device: str | None) -> Scorer:
    try:
        if library == "sentence_transformers":
            return _sentence_transformers(model, device)
        return _flag(model, library, device)
    except ConfigError:
        raise
    except Exception as error:  # what the libraries raise over a bad checkpoint is of many types
        cause = words(error)
        raise ConfigError(
            f"The reranker {model!r} cannot be loaded: {cause} Is reranker.model a folder with a"
            " checkpoint, or a name on the hub, and is reranker.library the one it was made for?"
        ) from error


def _sentence_transformers(model: str, device: str | None) -> Scorer:
    with needing("torch", for_='`reranker.kind = "cross_encoder"`'):
        from sentence_transformers import CrossEncoder
        from torch.nn import Identity

    encoder = CrossEncoder(model, device=device, local_files_only=_is_offline(model))

    def score(pairs: list[Pair]) -> list[float]:
        found = encoder.predict(
            pairs, batch_size=len(pairs), activation_fn=Identity(), show_progress_bar=False
        )
        return [float(value) for value in found]

    return score


def _flag(model: str, library: Library, device: str | None) -> Scorer:
    with needing("flag", for_=f"`reranker.library = {library!r}`"):
        import FlagEmbedding

    kinds: dict[str, Any] = {
        "flag": FlagEmbedding.FlagReranker,
        "flag_llm": FlagEmbedding.FlagLLMReranker,
        "flag_layerwise": FlagEmbedding.LayerWiseFlagLLMReranker,
    }
    on_gpu = device is None or not device.startswith("cpu")
    reranker = kinds[library](model, devices=device, use_fp16=on_gpu)

    def score(pairs: list[Pair]) -> list[float]:
        found = reranker.compute_score(pairs, batch_size=len(pairs))
        return [float(value) for value in np.atleast_1d(np.asarray(found, np.float64))]

    return score


def _is_offline(model: str) -> bool:
    """True for a folder, which is never looked up on the hub."""
    from pathlib import Path

    return Path(model).is_dir()
