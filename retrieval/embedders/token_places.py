"""The tokens of a text that have vectors of their own, and their places in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rag.types import Embedding, Float32Array, TokenVectors
from retrieval.embedders.messages import Encoded, EncodedQuestion, Form

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def unknown_token(tokenizer: Tokenizer) -> int | None:
    """Returns the id that stands for all words outside the vocabulary; None: there is none."""
    if name := getattr(tokenizer.model, "unk_token", None):
        return tokenizer.token_to_id(name)
    found: int | None = json.loads(tokenizer.to_str())["model"].get("unk_id")  # SentencePiece
    return found


def spans_in(text: str, offsets: Sequence[Sequence[int]], prompt: str) -> npt.NDArray[np.int32]:
    """Returns int32[tokens, 2]: each token's span in the text, without white space around it.

    A span is empty, its first number not below the second, for tokens of the prompt, special
    tokens, and tokens of white space alone.

    Args:
        text: the text without the prompt.
        offsets: each token's first character and the one after its last, in prompt and text.
        prompt: put before the text.
    """
    spans = np.zeros((len(offsets), 2), np.int32)
    for i, (start, end) in enumerate(offsets):
        first = max(start - len(prompt), 0)
        piece = text[first : max(end - len(prompt), 0)]
        spans[i] = first + len(piece) - len(piece.lstrip()), first + len(piece.rstrip())
    return spans


def in_form(
    form: Form,
    dense: Float32Array,
    vectors: Float32Array,
    spans: npt.NDArray[np.int32],
    known: npt.NDArray[np.bool_],
) -> Encoded:
    """Returns a text in the form that was asked for.

    Args:
        form: any but "dense", which `dense` is itself.
        dense: float32[dim] of unit norm.
        vectors: float32[tokens, dim] with unit rows, of all tokens.
        spans: as `spans_in` returns them; tokens with an empty one are left out.
        known: bool[tokens]: False for tokens outside the vocabulary, which are left out: all
            unknown words have one vector, and would seem alike.
    """
    taken = (spans[:, 0] < spans[:, 1]) & known
    if form == "both":
        return Embedding(dense=dense, tokens=vectors[taken].astype(np.float16))
    tokens = TokenVectors(vectors=vectors[taken], spans=spans[taken])
    return tokens if form == "tokens" else EncodedQuestion(dense, tokens)
