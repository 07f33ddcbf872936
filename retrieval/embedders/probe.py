"""Stored vectors of one text, with which a loaded model is compared before the first question."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rag.types import Float32Array

TEXT = "Unused leave may be carried over until the end of March."
NUMBERS = 32
"""Numbers of the vector that are stored."""
EXACT, ROUGH = 0.01, 0.25
"""Distances up to which a vector counts as the stored one: in float32, and in fewer bits. In int8
and in half precision MiniLM's is .05 away; another pooling or another model is .5 away or more."""


class Probe(NamedTuple):
    """A text without a prompt, and the first numbers of its vector of length one."""

    text: str
    numbers: tuple[float, ...]

    def distance(self, vector: Float32Array) -> float:
        """Returns how far the model's vector is from the stored one, as a share of its length."""
        stored = np.array(self.numbers, np.float32)
        given = vector[: len(stored)]
        if len(given) < len(stored) or not np.isfinite(given).all():
            return float("inf")
        return float(np.linalg.norm(given - stored) / np.linalg.norm(stored))


def probe_of(text: str, vector: Float32Array) -> Probe:
    """Returns the probe to store: the first numbers of a text's vector."""
    return Probe(text, tuple(round(float(x), 6) for x in vector[:NUMBERS]))


MINILM = Probe(
    TEXT,
    (
        *(0.05428, 0.001, 0.07658, 0.05416, 0.13054, 0.08963, -0.03345, -0.09717),
        *(-0.03954, -0.01849, 0.06686, 0.11906, -0.05266, 0.01374, 0.04021, 0.01192),
        *(-0.01587, -0.04543, 0.00657, 0.00621, -0.01168, -0.04083, -0.11764, 0.04692),
        *(0.05622, 0.03947, 0.00175, -0.01524, 0.06427, 0.04981, -0.00171, 0.05025),
    ),
)
"""all-MiniLM-L6-v2's, by sentence-transformers in float32."""
