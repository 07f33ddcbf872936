"""Puts first the chunks that have the identifiers of a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rag.protocols import SparseEncoder, StoredIndex
from rag.telemetry.trace import Trace
from rag.text.identifiers import identifiers, names_in
from rag.text.passages import passage_text
from rag.types import Hit, Leg, Query
from retrieval.duplicates import without_duplicates


async def exact_first(
    query: Query,
    hits: Sequence[Hit],
    trace: Trace,
    *,
    index: StoredIndex,
    encoder: SparseEncoder,
) -> list[Hit]:
    """Returns at most `top_k` hits, first those with an identifier of the question.

    A similar code is near in meaning and has most of the same letters; only the index's terms tell
    them apart. Among themselves, the hits keep their order; chunks that were no hits follow in that
    of BM25. Those put first have the best hit's score.
    """
    asked = [each for each in identifiers(query.text) if each.strict]
    if not asked or not hits:
        return list(hits)
    with trace.span("exact") as span:
        (vector,) = encoder.encode([" ".join(each.forms[0] for each in asked)])
        leg = Leg(name="sparse", vector=vector, limit=query.top_k, where=query.where)
        (matches,) = await index.search(query.scope, [leg])
        span.attributes["matches"] = len(matches)
        ranks = {match.chunk_id: rank for rank, match in enumerate(matches, start=1)}
        found = {hit.chunk.id for hit in hits}
        new = [chunk_id for chunk_id in ranks if chunk_id not in found]
        best = hits[0]
        others = [
            Hit(chunk=chunk, score=0.0, source=best.source, ranks={"sparse": ranks[chunk.id]})
            for chunk in await index.fetch(query.scope, new)
        ]
    # The search returns the few best chunks with the identifier; more of the hits may have it.
    forms = {form for each in asked for form in each.forms}
    having = {h.chunk.id for h in hits if forms & names_in(passage_text(h.chunk))} | ranks.keys()
    first = [hit for hit in hits if hit.chunk.id in having] + others
    rest = [hit for hit in hits if hit.chunk.id not in having]
    ordered = [*(replace(hit, score=best.score) for hit in first), *rest]
    return without_duplicates(ordered)[: query.top_k]
