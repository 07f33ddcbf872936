"""Scores support with a checkpoint for natural language inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from rag.errors import ConfigError
from rag.inference.pair_model import Pair, PairModel, Scorer
from rag.privacy.redaction import words
from rag.process.extras import needing
from rag.text.passages import heading_text
from rag.types import Chunk, Float32Array, Span


class EntailmentScorer:
    """`SupportScorer`: the probability that a sentence entails the claim.

    Each sentence, with the titles above it, is one premise, and the best one counts. This is finer
    than whole passages, for which such models were not trained (SummaC, Laban et al. 2022,
    https://arxiv.org/abs/2111.09525).
    """

    def __init__(self, model: str, *, device: str | None) -> None:
        """Loads the checkpoint.

        Args:
            model: a folder, or a name on the hub.
            device: "cuda:0", "cpu" …; None: the best available.

        Raises:
            ConfigError: The checkpoint cannot be loaded, or has no label for entailment.
        """
        self._model = PairModel(partial(_load, model, device), name="entailment model")

    async def score(self, claim: str, chunk: Chunk, spans: Sequence[Span]) -> Float32Array:
        """Returns float32[spans], 0 to 1."""
        above = heading_text(chunk)
        pairs = [(above + chunk.text[start:end], claim) for start, end in spans]
        return np.array(await self._model.score(pairs), np.float32)

    def close(self) -> None:
        """Ends the model's process."""
        self._model.close()


def _load(model: str, device: str | None) -> Scorer:
    with needing("torch", for_="`citations.entailment`"):
        from sentence_transformers import CrossEncoder
        from torch.nn import Softmax
    try:
        encoder = CrossEncoder(model, device=device, local_files_only=Path(model).is_dir())
    except Exception as error:  # what the library raises over a bad checkpoint is of many types
        cause = words(error)
        raise ConfigError(
            f"The entailment model {model!r} cannot be loaded: {cause} Is citations.entailment a"
            " folder with a checkpoint, or a name on the hub?"
        ) from error
    label = _entailed(model, encoder.model.config.id2label)

    def score(pairs: list[Pair]) -> list[float]:
        found = encoder.predict(
            pairs, batch_size=len(pairs), activation_fn=Softmax(dim=-1), show_progress_bar=False
        )
        return [float(row[label]) for row in found]

    return score


def _entailed(model: str, labels: Mapping[int, str]) -> int:
    """Returns the label for entailment, which says that the claim follows."""
    for label, name in labels.items():
        if name.lower().startswith("entail"):
            return label
    raise ConfigError(
        f"{model!r} is no model for natural language inference: its labels are"
        f" {', '.join(labels.values())}, and none is `entailment`."
    )
