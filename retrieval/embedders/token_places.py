"""The tokens of a text that have vectors of their own, and their places in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rag.types import Embedding, Float32Array, TokenVectors
from retrieval.embedders.messages import Encoded, EncodedQuestion, Form

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


def unknown_token(tokenizer: Tokenizer) -> int | None:
    """Returns the id that stands for all words outside the vocabulary; None: there is none."""
    name = getattr(tokenizer.model, "unk_token", None)  # of WordPiece
    return tokenizer.token_to_id(name) if name else None


def known_tokens(encoding: Encoding, unknown: int | None) -> npt.NDArray[np.bool_]:
    """Returns bool[tokens]: False for [CLS], [SEP] and tokens outside the vocabulary.

    All unknown words have one vector, and would seem alike.
    """
    known: npt.NDArray[np.bool_] = np.array(encoding.ids) != unknown
    known[[0, -1]] = False
    return known


def in_form(
    form: Form, dense: Float32Array, vectors: Float32Array, encoding: Encoding, unknown: int | None
) -> Encoded:
    """Returns a text in the form that was asked for.

    Args:
        form: any but "dense", which `dense` is itself.
        dense: float32[dim] of unit norm.
        vectors: float32[tokens, dim] with unit rows, of all tokens.
        encoding: the tokens.
        unknown: the id of tokens outside the vocabulary.
    """
    known = known_tokens(encoding, unknown)
    if form == "both":
        return Embedding(dense=dense, tokens=vectors[known].astype(np.float16))
    spans = np.array(encoding.offsets, np.int32).reshape(-1, 2)[known]
    tokens = TokenVectors(vectors=vectors[known], spans=spans)
    return tokens if form == "tokens" else EncodedQuestion(dense, tokens)
