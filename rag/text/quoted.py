"""Text of a mail that its sender did not write anew: quoted messages and signatures.

The reader puts it below a heading of its own; it is found like any other text, and comes after what
is new.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.types import Chunk, Hit

QUOTED, SIGNATURE = "Quoted message", "Signature"
"""Beginnings of the headings above such text."""
_REPLY = re.compile(
    r"\s*(?:(?:re|aw|antw|antwort|sv|vs|odp|ynt|rif|res|ref|tr|fw|fwd|wg|rv|enc|vb|doorst|pd|i"
    r"|回复|回覆|转发|轉寄|返信)\s*(?:\[\d+\])?\s*[:：]\s*)+",
    re.IGNORECASE,
)


def is_quoted(chunk: Chunk) -> bool:
    """True if a chunk is of a quoted message or a signature."""
    return any(heading.startswith((QUOTED, SIGNATURE)) for heading in chunk.headings)


def quoted_last(hits: Sequence[Hit]) -> list[Hit]:
    """Returns hits in their order, but each quoted one below the new text of its conversation."""
    last = {_subject(h.chunk): place for place, h in enumerate(hits) if not is_quoted(h.chunk)}

    def place_of(item: tuple[int, Hit]) -> tuple[int, bool]:
        place, hit = item
        if not is_quoted(hit.chunk):
            return place, False
        return max(place, last.get(_subject(hit.chunk), place)), True

    return [hit for _, hit in sorted(enumerate(hits), key=place_of)]


def _subject(chunk: Chunk) -> str:
    return _REPLY.sub("", chunk.title, count=1).strip().casefold()
