"""A chunk as a passage: what is embedded, encoded and read of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.text.plain import plain
from rag.types import Chunk, Span, TokenVectors


def heading_text(chunk: Chunk) -> str:
    """Title and headings, a line each: most sentences leave unsaid what they are about."""
    return "".join(f"{line}\n" for line in (chunk.title, " > ".join(chunk.headings)) if line)


def passage_text(chunk: Chunk) -> str:
    """Title, path of headings and the plain text, one below the other."""
    return heading_text(chunk) + plain(chunk.text)


def token_ranges(tokens: TokenVectors, chunk: Chunk, spans: Sequence[Span]) -> list[Span]:
    """For each span of `chunk.text` the range of tokens that begin in it.

    Args:
        tokens: of `passage_text(chunk)`; a span past the encoder's window has none.
        chunk: what was encoded.
        spans: in text order.
    """
    edges = np.array(spans, np.int32).reshape(-1, 2) + len(heading_text(chunk))
    return [(int(a), int(b)) for a, b in np.searchsorted(tokens.spans[:, 0], edges)]
