"""Passages that say the same take one place among the hits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from rag.telemetry.trace import Trace
from rag.types import Chunk, Float32Array, Hit, Query, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.duplicates import SHORTEST, without_duplicates
from retrieval.fusion import fuse_hits
from retrieval.hybrid import HybridRetriever
from retrieval.proximity import Proximity
from retrieval.reranking import POOL, Reranking
from tests.fakes import HashEmbedder, MemoryIndex, make_chunk, make_points

pytestmark = pytest.mark.anyio

PASSAGE = "Travel by train is booked by the office, at least two weeks before the first day of it."
OTHERS = [f"{PASSAGE[:-1]}, and paragraph {number} of the policy." for number in range(6)]

DEPTH = 8
"""Passages that are reranked; of copies, one."""


class Counting(MemoryIndex):
    """An index that records how many chunks are fetched at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.fetches: list[int] = []

    async def fetch(self, scope: Scope, chunk_ids: Sequence[str]) -> list[Chunk]:
        self.fetches.append(len(chunk_ids))
        return await super().fetch(scope, chunk_ids)


def passage(text: str = PASSAGE, name: str = "a", **fields: object) -> Chunk:
    return make_chunk(text, document_id=name, uri=f"file:///{name}.md", **fields)  # type: ignore[arg-type]


def hit(text: str = PASSAGE, name: str = "a", **fields: object) -> Hit:
    return Hit(chunk=passage(text, name, **fields), score=1.0, source="fused", ranks={})


class Indifferent:
    """A `Reranker` to which all passages are the same."""

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        return np.zeros(len(chunks), np.float32)


async def retrieved(
    index: MemoryIndex, query: Query, *, depth: int = 50, reranking: Reranking | None = None
) -> tuple[Hit, ...]:
    retriever = HybridRetriever(
        embedder=HashEmbedder(),
        encoder=Bm25Encoder(),
        index=index,
        depth=depth,
        reranking=reranking,
    )
    return (await retriever.retrieve(query, Trace())).hits


def test_the_first_of_two_copies_is_left_whatever_their_line_breaks() -> None:
    copy = hit(PASSAGE.replace(" ", "\n", 3), "b")
    first, other = hit(), hit(OTHERS[0], "c")
    assert without_duplicates([first, copy, other]) == [first, other]


@pytest.mark.parametrize(
    "other",
    [
        hit(PASSAGE.replace("two", "six"), "b"),
        hit(name="policy-2023"),
        hit(name="b", title="Travel in the Berlin office"),
        hit(name="b", headings=("Interns",)),
    ],
    ids=["another number", "an edition with a date", "another title", "another heading"],
)
def test_what_differs_in_meaning_stays(other: Hit) -> None:
    assert without_duplicates([hit(), other]) == [hit(), other]


def test_a_short_text_may_be_said_by_several() -> None:
    short = PASSAGE[: SHORTEST - 1]
    hits = [hit(short), hit(short, "b")]
    assert without_duplicates(hits) == hits


@pytest.mark.parametrize(("copies", "fetches"), [(1, [5]), (30, [5, 5, 10, 16])])
async def test_others_take_the_places_of_copies(
    copies: int, fetches: list[int], scope: Scope
) -> None:
    index = Counting()
    chunks = [passage(name=f"copy{n}") for n in range(copies)]
    chunks += [passage(text, f"other{n}") for n, text in enumerate(OTHERS)]
    await index.upsert(scope, make_points(chunks))
    hits = await retrieved(index, Query(text=PASSAGE, scope=scope, top_k=5))
    found = [hit.chunk.text for hit in hits]
    assert found[0] == PASSAGE
    assert len(set(found)) == len(found) == 5
    assert set(found[1:]) <= set(OTHERS)
    assert index.fetches == fetches


async def test_others_take_the_places_of_more_copies_than_are_ordered_anew(scope: Scope) -> None:
    index = MemoryIndex()
    chunks = [passage(name=f"copy{n}") for n in range(POOL + 10)]
    chunks += [passage(f"{PASSAGE} Paragraph {n}.", f"other{n}") for n in range(DEPTH * 2)]
    await index.upsert(scope, make_points(chunks))
    reranking = Reranking(
        reranker=Indifferent(),
        proximity=Proximity(Bm25Encoder()),
        depth=DEPTH,
        combine="sum",
        feedback=True,
        seconds=5,
    )
    query = Query(text=PASSAGE, scope=scope, top_k=DEPTH + 4)
    hits = await retrieved(index, query, depth=100, reranking=reranking)
    found = [hit.chunk.text for hit in hits]
    assert found[0] == PASSAGE
    assert len(set(found)) == len(found) == query.top_k
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)


async def test_copies_of_a_code_take_one_place(scope: Scope) -> None:
    index = MemoryIndex()
    text = f"The pump PX-4711-B is serviced every year. {PASSAGE}"
    chunks = [passage(text, f"copy{n}") for n in range(3)]
    await index.upsert(scope, make_points([*chunks, passage(OTHERS[0], "other")]))
    hits = await retrieved(index, Query(text="PX-4711-B", scope=scope))
    assert [hit.chunk.text for hit in hits] == [text, OTHERS[0]]


def test_copies_that_several_searches_found_take_one_place() -> None:
    first, copy, other = hit(), hit(name="b"), hit(OTHERS[0], "c")
    fused = fuse_hits([[first, other], [copy, other]], k=60, limit=2)
    assert [each.chunk.text for each in fused] == [OTHERS[0], PASSAGE]
