"""A chunk as a passage: the text of it that models embed, encode and read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.text.plain import plain
from rag.types import Chunk, Span, TokenVectors


def heading_text(chunk: Chunk) -> str:
    """Returns title and headings, a line each: most sentences do not name their subject."""
    return "".join(f"{line}\n" for line in (chunk.title, " > ".join(chunk.headings)) if line)


def passage_text(chunk: Chunk) -> str:
    """Returns title, path of headings and plain text, on separate lines."""
    return heading_text(chunk) + plain(chunk.text)


def token_ranges(tokens: TokenVectors, chunk: Chunk, spans: Sequence[Span]) -> list[Span]:
    """Returns for each span of `chunk.text` the range of the tokens that begin in it.

    Args:
        tokens: of `passage_text(chunk)`; a span past the encoder's window has none.
        chunk: the encoded chunk.
        spans: in text order.
    """
    edges = np.array(spans, np.int32).reshape(-1, 2) + len(heading_text(chunk))
    return [(int(a), int(b)) for a, b in np.searchsorted(tokens.spans[:, 0], edges)]
