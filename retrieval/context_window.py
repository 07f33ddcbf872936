"""Widens hits to the section around them: searches small chunks, returns large passages."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from rag.catalog.catalog import Catalog
from rag.protocols import Index
from rag.types import Chunk, Hit, Scope

Place = tuple[str, int]
"""A document's id and a chunk's position among that document's chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """A document's text and its chunks in text order; no chunks if they do not match the text."""

    text: str
    chunks: tuple[Chunk, ...]

    def follows(self, place: int) -> bool:
        """True if the previous chunk is on the same page and at most white space lies between.

        Headings lie between chunks and never in one, so this is where a section continues. Both
        begin on one page: where a page begins between two chunks is not known.
        """
        if not 0 < place < len(self.chunks):
            return False
        before, chunk = self.chunks[place - 1 : place + 1]
        return before.page == chunk.page and not self.text[before.end : chunk.start].strip()

    def cost(self, place: int) -> int:
        """Returns the characters that this chunk adds to a passage, including the gap before it."""
        chunk = self.chunks[place]
        gap = self.chunks[place - 1].end if self.follows(place) else chunk.start
        return chunk.end - min(gap, chunk.start)


class SectionReader:
    """Widens hits by their neighbours in the same document and section."""

    def __init__(self, *, index: Index, catalog: Catalog, chars: int) -> None:
        """Make a reader; `chars` limits the total length of all passages of an answer.

        Hits are never cut: if they alone are longer, none is widened.
        """
        self._index = index
        self._catalog = catalog
        self._chars = chars

    async def read(self, scope: Scope, hits: Sequence[Hit]) -> list[Hit]:
        """Returns passages, best hit first, each an exact span; no chunk is in two of them.

        1. find the hits among their documents' chunks  2. take neighbours  3. merge. A passage has
        the id, the score and the ranks of its best hit. Hits of a document that was deleted or
        changed meanwhile are returned unchanged.
        """
        ids = dict.fromkeys(hit.chunk.document_id for hit in hits)
        documents = {id_: await self._document(scope, id_) for id_ in ids}
        places = _places(documents)  # 1.
        found = [places[hit.chunk.id] for hit in hits if hit.chunk.id in places]
        lost = sum(len(hit.chunk.text) for hit in hits if hit.chunk.id not in places)
        taken = _grow(documents, found, self._chars - lost)  # 2.
        passages = []
        for hit in hits:  # 3.
            place = places.get(hit.chunk.id)
            if place is None:
                passages.append(hit)
            elif place in taken:
                passages.append(_merge(documents[place[0]], place, hit, taken))
        return passages

    async def _document(self, scope: Scope, id_: str) -> _Document:
        text = await self._catalog.documents.text(scope, id_)
        ids = await self._index.chunk_ids(scope, id_)
        found = await self._index.fetch(scope, sorted(ids))
        chunks = sorted(found, key=attrgetter("start", "end"))
        fits = all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
        return _Document(text=text, chunks=tuple(chunks) if fits else ())


def _places(documents: Mapping[str, _Document]) -> dict[str, Place]:
    return {
        chunk.id: (id_, place)
        for id_, document in documents.items()
        for place, chunk in enumerate(document.chunks)
    }


def _grow(documents: Mapping[str, _Document], found: Sequence[Place], room: int) -> set[Place]:
    """Returns the hits and the neighbours that fit, nearest first and the best hit's first.

    A passage has no gap: nothing is taken beyond a neighbour that does not fit.
    """
    taken = set(found)
    room -= sum(documents[id_].cost(at) for id_, at in found)
    edges = deque((place, step) for place in found for step in (1, -1))
    while edges:
        (id_, at), step = edges.popleft()
        document, beside = documents[id_], at + step
        if (id_, beside) in taken or not document.follows(max(at, beside)):
            continue
        if document.cost(beside) <= room:
            room -= document.cost(beside)
            taken.add((id_, beside))
            edges.append(((id_, beside), step))
    return taken


def _merge(document: _Document, place: Place, hit: Hit, taken: set[Place]) -> Hit:
    """Returns the passage around a hit and removes its chunks from `taken`."""
    id_, first = place
    last = first
    while (id_, first - 1) in taken and document.follows(first):
        first -= 1
    while (id_, last + 1) in taken and document.follows(last + 1):
        last += 1
    taken.difference_update((id_, at) for at in range(first, last + 1))
    chunks = document.chunks[first : last + 1]
    begin, end = chunks[0], chunks[-1].end
    chunk = replace(
        begin,
        id=hit.chunk.id,
        text=document.text[begin.start : end],
        end=end,
        page_starts=tuple(sorted({at for each in chunks for at in each.page_starts})),
    )
    return replace(hit, chunk=chunk)
