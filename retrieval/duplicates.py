"""Leaves out passages that say, to the word, what a better one says."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from rag.text.document_names import date_of
from rag.types import Chunk, Hit

SHORTEST = 80
"""Characters of a passage that can repeat another one: several people may have said less."""


def without_duplicates(hits: Iterable[Hit]) -> list[Hit]:
    """Returns the hits in their order, without those that say the same as an earlier one.

    An edited copy of a document repeats most of its passages, which would take the places of
    others. Editions with dates of their own stay, as a question may ask for one of them.
    """
    first: dict[Hashable, Hit] = {}
    for hit in hits:
        first.setdefault(_said(hit.chunk), hit)
    return list(first.values())


def _said(chunk: Chunk) -> Hashable:
    """Returns a key that is equal for passages with the same title, headings, words and date."""
    if len(chunk.text) < SHORTEST:
        return chunk.id
    return chunk.title, chunk.headings, " ".join(chunk.text.split()), date_of(chunk)
