"""The messages between an embedder and its encoder."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from rag.types import Embedding, Float32Array, Kind, TokenVectors

Form = Literal["dense", "tokens", "both", "question"]


class EncodedQuestion(NamedTuple):
    """Both forms of a question from one forward pass: float32[dim] of unit norm, and its tokens."""

    dense: Float32Array
    tokens: TokenVectors


Encoded: TypeAlias = "Float32Array | TokenVectors | Embedding | EncodedQuestion"
"""The encoded text in each of these forms."""


class Text(NamedTuple):
    """A text to encode: as one vector, token by token, or as both in one of two ways."""

    text: str
    form: Form
    kind: Kind


class Model(NamedTuple):
    """The properties of a model, the same on every device."""

    dim: int
    token_dim: int
    """Length of a token's vector; differs from `dim` if a layer follows the pooling."""
    max_tokens: int
    """Tokens of a text that are read; the rest is cut."""
    fingerprint: str
    tokenizer: str
    """As JSON, without truncation: it also counts the tokens that the encoder's own would cut."""


class Loaded(NamedTuple):
    """A loaded model, and the type of the device that it is on, such as "cuda"."""

    model: Model
    device: str
