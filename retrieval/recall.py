"""Recall of the dense leg on a collection's own chunks, measured against an exact search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean
from typing import NamedTuple

from rag.protocols import StoredIndex
from rag.types import Chunk, Condition, Float32Array, Leg, MetaValue, Op, Scope
from retrieval.indexes.payload import OWN_FIELDS, FieldType, values_of

K = 10
SAMPLE = 100
"""Chunks whose vectors are the queries: a mean of .97 is then accurate to within .02."""
FIELDS = 8
"""Fields, by kind of value, on which filters are measured: 100 exact searches for each, which take
one to two seconds at 50,000 chunks."""
ENOUGH = 0.95
"""Recall@10 below which something is wrong with the graph."""
SAME = 1e-5
"""Scores of one pair of vectors, computed in another order, differ by less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Mean recall@10 of `queries` searches, all with a filter on `field` or, if None, without."""

    field: str | None
    kind: FieldType | None
    queries: int
    recall: float

    @property
    def enough(self) -> bool:
        """True if the recall is at least `ENOUGH`."""
        return self.recall >= ENOUGH


class _Query(NamedTuple):
    chunk_id: str
    vector: Float32Array
    where: tuple[Condition, ...] = ()


async def measure(index: StoredIndex, scope: Scope) -> list[Recall]:
    """Measures without a filter first, then under one on each of the fields that most chunks have.

    The queries are the vectors of chunks drawn from the collection, each without the chunk itself
    in the results. A filter takes its value from that chunk: words and truth values equal to it,
    numbers and dates not below it, which selects any share of the chunks.
    """
    chunks = await _sample(index, scope)
    vectors = await index.vectors(scope, [chunk.id for chunk in chunks])
    groups: dict[tuple[str, FieldType] | None, list[_Query]] = {}
    for chunk in chunks:
        if chunk.id in vectors:  # not deleted since
            plain = _Query(chunk.id, vectors[chunk.id])
            groups.setdefault(None, []).append(plain)
            for key, condition in dict(_filters(chunk)).items():
                groups.setdefault(key, []).append(plain._replace(where=(condition,)))
    largest = sorted(groups, key=lambda key: (key is not None, -len(groups[key])))[: FIELDS + 1]
    return [
        Recall(
            field=key and key[0],
            kind=key and key[1],
            queries=len(groups[key]),
            recall=await _recall_of(index, scope, groups[key]),
        )
        for key in largest
    ]


async def _sample(index: StoredIndex, scope: Scope) -> list[Chunk]:
    """Draws chunks evenly from all, the same ones each time: Vitter 1985, algorithm R."""
    random = Random(0)  # noqa: S311 - nothing secret
    drawn: list[Chunk] = []
    seen = 0
    async for chunks in index.pages(scope):
        for chunk in chunks:
            seen += 1
            if len(drawn) < SAMPLE:
                drawn.append(chunk)
            elif (place := random.randrange(seen)) < SAMPLE:
                drawn[place] = chunk
    return drawn


def _filters(chunk: Chunk) -> Iterator[tuple[tuple[str, FieldType], Condition]]:
    """Yields conditions that a chunk meets, by field and kind.

    Fields that name one document are left out: so few chunks are compared one by one.
    """
    fields: dict[str, MetaValue] = {f: v for f, v in chunk.meta.items() if f not in OWN_FIELDS}
    if chunk.page is not None:
        fields["page"] = chunk.page
    for field, kind, value in values_of(fields):
        op: Op = "gte" if kind in ("number", "date") else "eq"
        yield (field, kind), Condition(field=field, op=op, value=value)


async def _recall_of(index: StoredIndex, scope: Scope, queries: Sequence[_Query]) -> float:
    """Returns the mean share of the exact first ten that the graph finds; equal scores count."""
    shares = []
    for query in queries:
        graph = Leg(name="dense", vector=query.vector, limit=K + 1, where=query.where)
        found, exact = (
            [match.score for match in matches if match.chunk_id != query.chunk_id][:K]
            for matches in await index.search(scope, [graph, replace(graph, exact=True)])
        )
        if exact:
            shares.append(sum(score >= exact[-1] - SAME for score in found) / len(exact))
    return fmean(shares) if shares else 1.0
