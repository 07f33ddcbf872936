"""The messages between an embedder and its encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from rag.types import Embedding, Float32Array, Kind, TokenVectors

if TYPE_CHECKING:
    pass


Form = Literal["dense", "tokens", "both", "question"]


class EncodedQuestion(NamedTuple):
    """Both forms of a question, of one forward pass: float32[dim] of unit norm, and the tokens."""

    dense: Float32Array
    tokens: TokenVectors


Encoded = Float32Array | TokenVectors | Embedding | EncodedQuestion
"""What a text becomes in each of these forms."""


class Text(NamedTuple):
    """What is to be encoded: as one vector, token by token, or as both in one of two ways."""

    text: str
    form: Form
    kind: Kind


class Model(NamedTuple):
    """What an encoder says of the model that it has loaded."""

    dim: int
    token_dim: int
    """Length of a token's vector: another one where a layer comes after the pooling."""
    max_tokens: int
    """Of a text; what is past them is cut."""
    fingerprint: str
    tokenizer: str
    """As JSON, cutting nothing: it counts what the encoder's own would cut."""
    device: str
    """The type: "cpu", "cuda" …"""
