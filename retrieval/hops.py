"""Multi-hop: a second search for what the first hits name.

Some questions need two documents, of which one names the other: "In which country was the author of
this book born?" The other one is found by the names in a hit and the words of the question that
this hit leaves open. No model writes the second query (as in Qi et al. 2019,
https://arxiv.org/abs/1910.07000).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, zip_longest

import numpy as np

from rag.protocols import SparseEncoder, StoredIndex
from rag.telemetry.trace import Trace
from rag.text.passages import passage_text
from rag.types import Chunk, Hit, Leg, Query, SparseVector
from retrieval.duplicates import without_duplicates

FIRST = 3
"""Hits that stay before those of the second search."""
EACH = 3
"""Hits of the second search for each hit searched from. Both numbers: docs/reranking.md."""
HOP = "hop"
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"(?!(?:1\d|20)\d\d$)\d\w\w+")
"""A number of three digits or more that is no year: PEP 342."""


async def with_hops(
    query: Query,
    hits: Sequence[Hit],
    trace: Trace,
    *,
    hops: int,
    index: StoredIndex,
    encoder: SparseEncoder,
) -> list[Hit]:
    """Returns at most `top_k` hits: the first three, then the second search's, then the others.

    The names in each of the best `hops` hits are searched for, in one request to the index; their
    hits take turns. Each has the third hit's score, and its place among them as its rank in `hop`.
    """
    if query.top_k <= FIRST:
        return list(hits)
    asked = encoder.encode([query.text])[0]
    vectors = {hit.chunk.id: _second_query(asked, hit.chunk, encoder) for hit in hits[:hops]}
    legs = {
        chunk_id: Leg(name="sparse", vector=vector, limit=EACH + 1, where=query.where)
        for chunk_id, vector in vectors.items()
        if vector is not None
    }
    if not legs:
        return list(hits)
    with trace.span(HOP) as span:
        lists = await index.search(query.scope, list(legs.values()))
        span.attributes["matches"] = sum(map(len, lists))
        found = (
            [match.chunk_id for match in matches if match.chunk_id != source][:EACH]
            for source, matches in zip(legs, lists, strict=True)
        )
        stay = {hit.chunk.id for hit in hits[:FIRST]}
        turns = filter(None, chain.from_iterable(zip_longest(*found)))
        chunks = await index.fetch(query.scope, [i for i in dict.fromkeys(turns) if i not in stay])
    last, ranks = hits[:FIRST][-1], {hit.chunk.id: hit.ranks for hit in hits}
    second = [
        Hit(chunk=c, score=last.score, source=last.source, ranks={**ranks.get(c.id, {}), HOP: rank})
        for rank, c in enumerate(chunks, start=1)
    ]
    placed = stay | {hit.chunk.id for hit in second}
    rest = [hit for hit in hits if hit.chunk.id not in placed]
    return without_duplicates([*hits[:FIRST], *second, *rest])[: query.top_k]


def _second_query(asked: SparseVector, chunk: Chunk, encoder: SparseEncoder) -> SparseVector | None:
    """Returns the terms of a passage's names, and the question's that it lacks; None if no name."""
    names = " ".join(filter(_is_name, _WORD.findall(chunk.text)))
    named, read = encoder.encode([names, passage_text(chunk)])
    new = np.setdiff1d(named.indices, asked.indices)
    if not len(new):
        return None
    is_open = ~np.isin(asked.indices, read.indices)
    terms = np.concatenate([asked.indices[is_open], new])
    weights = np.concatenate([asked.values[is_open], np.ones(len(new), np.float32)])
    order = np.argsort(terms)
    return SparseVector(indices=terms[order], values=weights[order])


def _is_name(word: str) -> bool:
    return word[0].isupper() or _NUMBER.fullmatch(word) is not None
