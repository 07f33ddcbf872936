"""A changed collection scores as one that is newly filled with the same points.

Makes random changes to an index, also while it is rebuilt. After each change its IDF, and after
maintenance its scores, equal those of a new index with the same points.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag.protocols import StoredIndex
from rag.text.passages import passage_text
from rag.types import Chunk, Point, Scope
from retrieval.bm25 import Bm25Encoder, bm25_idf
from retrieval.indexes import edge_points, edge_upkeep
from retrieval.indexes import edge_shard as shard_module
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.edge_rebuild import rebuild
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.rank_bm25 import RankBm25Index
from tests.fakes import HashEmbedder, MemoryIndex, in_memory, make_chunk, make_points, sparse_leg
from tests.qdrant_servers import NO_INDEXES, local_qdrant

pytestmark = NO_INDEXES

SCOPE = Scope(tenant="t", collection="c")
EMBEDDER = HashEmbedder(dim=256)
"""Vectors of a kilobyte: a few of them are enough for a graph."""
WORDS = ("cat", "dog", "mouse", "bird")
TERMS = [int(vector.indices[0]) for vector in Bm25Encoder().encode(WORDS)]
QUESTION = sparse_leg("cat dog dog mouse bird")
PLACES = 8
"""The number of possible chunks: small, so that changes concern the same chunks."""

Step = tuple[str, Any]
"""A method of `Walk` and its argument; or "maintain" and the steps to take meanwhile."""


def points_of(chunks: Iterable[Chunk]) -> list[Point]:
    """Returns points, half of them with token vectors, which are written and copied differently."""
    points = make_points(chunks, embedder=EMBEDDER, by_token=True)
    return [p if p.chunk.position % 2 else replace(p, tokens=None) for p in points]


@dataclass
class Walk:
    """A changing index and its expected contents."""

    open: Callable[[], StoredIndex]
    index: StoredIndex
    held: dict[int, Chunk] = field(default_factory=dict)
    before: dict[int, Chunk] | None = None
    """The expected chunks of the previous version; None if there is none."""
    meanwhile: list[Step] = field(default_factory=list)

    async def write(self, texts: Mapping[int, str]) -> None:
        self.held |= {at: make_chunk(text, position=at) for at, text in texts.items()}
        chunks = [self.held[at] for at in texts]
        await self.index.upsert(SCOPE, points_of(chunks))

    async def rewrite(self, places: Sequence[int]) -> None:
        """Writes new payloads, also for missing chunks."""
        moved = [self.held.get(at, make_chunk("cat", position=at)) for at in places]
        moved = [replace(chunk, end=chunk.end + 1, meta={"n": 1}) for chunk in moved]
        self.held |= {c.position: c for c in moved if c.position in self.held}
        await self.index.upsert(SCOPE, [Point(chunk=chunk) for chunk in moved])

    async def delete(self, places: Sequence[int]) -> None:
        """Deletes chunks, also missing ones."""
        if any(at in self.held for at in places) and self.before is not None:
            self.before = {}  # all are of one document
        for at in places:
            self.held.pop(at, None)
        await self.index.delete(SCOPE, [make_chunk("", position=at).id for at in places])

    async def reopen(self, _: object) -> None:
        await self.index.close()
        self.index = self.open()

    async def switch(self, texts: Mapping[int, str]) -> None:
        """Switches to a new version with these points."""
        version = await self.index.begin_version(SCOPE)
        chunks = {at: make_chunk(text, position=at) for at, text in texts.items()}
        await self.index.upsert(version, points_of(chunks.values()))
        await self.index.maintain(version)
        await self.index.switch_version(SCOPE, version)
        self.before, self.held = dict(self.held), chunks

    async def maintain(self, meanwhile: Sequence[Step]) -> None:
        """Maintains the index, with changes during a rebuild, or after it if no rebuild is due."""
        self.meanwhile = list(meanwhile)
        await self.index.maintain(SCOPE)
        await self.change()

    async def change(self) -> None:
        """Takes the steps in `meanwhile`."""
        while self.meanwhile:
            await self.take(self.meanwhile.pop(0))

    async def take(self, step: Step) -> None:
        """Takes one step."""
        name, what = step
        await getattr(self, name)(what)

    async def back(self, _: object) -> None:
        """Switches to the previous version, if there is one."""
        if previous := await self.index.previous_version(SCOPE):
            assert self.before is not None
            await self.index.switch_version(SCOPE, previous)
            self.before, self.held = self.held, self.before

    async def check_idf(self) -> None:
        """Checks that the IDF is that of the current chunks, also before maintenance."""
        word_sets = [set(passage_text(chunk).split()) for chunk in self.held.values()]
        expected = [
            bm25_idf(len(word_sets), sum(word in words for words in word_sets)) for word in WORDS
        ]
        assert await self.index.chunk_ids(SCOPE, None) == {c.id for c in self.held.values()}
        if self.held:  # an empty collection has no IDF
            assert await self.index.idf(SCOPE, TERMS) == pytest.approx(expected, rel=1e-4)

    async def check_scores(self, fresh: StoredIndex) -> None:
        """Maintains the index; checks that scores equal those of a new, equal index."""
        await self.index.maintain(SCOPE)
        await fresh.upsert(SCOPE, make_points(self.held.values(), embedder=EMBEDDER))
        assert await scores(self.index) == pytest.approx(await scores(fresh), rel=1e-4)
        held = [chunk.id for chunk in self.held.values()]
        assert await self.index.fetch(SCOPE, held) == list(self.held.values())


async def scores(index: StoredIndex) -> dict[str, float]:
    [matches] = await index.search(SCOPE, [QUESTION])
    return {match.chunk_id: match.score for match in matches}


texts = st.lists(st.sampled_from((*WORDS, "the")), min_size=1, max_size=6).map(" ".join)
"""Some texts have only a stop word, which is no term."""
places = st.integers(0, PLACES - 1)
several = st.dictionaries(places, texts, min_size=1, max_size=PLACES)
some = st.lists(places, min_size=1, max_size=3)
plain = (
    st.tuples(st.just("write"), several)
    | st.tuples(st.just("rewrite"), some)
    | st.tuples(st.just("delete"), some)
)
walks = st.lists(
    plain
    | st.tuples(st.just("maintain"), st.lists(plain, max_size=3))
    | st.tuples(st.just("switch"), several)
    | st.tuples(st.just("back") | st.just("reopen"), st.none()),
    min_size=1,
    max_size=8,
)
FULL: Step = ("write", {at: "cat dog" if at % 2 else "cat" for at in range(PLACES)})
EXACT: Step = ("maintain", [])
"""Makes a graph: points in a graph are not changed in place but copied."""
GONE_MEANWHILE = [FULL, ("maintain", [("delete", [1, 3])])]
REPLACED = [FULL, EXACT, ("write", {1: "cat", 3: "mouse"}), ("rewrite", [0, 2])]
BLANK_AND_BACK = [FULL, ("write", {1: "the"}), ("write", {1: "dog"}), ("delete", [1]), FULL]


@contextlib.contextmanager
def all_due(rebuilt: Callable[..., Any]) -> Iterator[None]:
    """Makes `maintain` rebuild for the smallest reason."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_upkeep, "INDEX_FROM", 1)
        patch.setattr(shard_module, "ERASE_AFTER", 0.0)
        patch.setattr(shard_module, "ERASE_AFTER_EACH", 0.0)
        patch.setattr(edge_points, "INDEXING_KB", 4)
        patch.setattr(edge_upkeep, "run_child", rebuilt)
        yield


async def on_edge(steps: Sequence[Step], folder: Path) -> None:
    def opened() -> EdgeIndex:
        return EdgeIndex(folder / "walked", dim=EMBEDDER.dim)

    walk = Walk(opened, opened())

    async def rebuilt(source: Path, target: Path, mean_length: float, *, graph: bool) -> None:
        await walk.change()
        rebuild(source, target, mean_length, graph=graph)

    with all_due(rebuilt):
        for step in steps:
            await walk.take(step)
            await walk.check_idf()
        fresh = EdgeIndex(folder / "fresh", dim=EMBEDDER.dim)
        await walk.check_scores(fresh)
        await walk.index.close()
        await fresh.close()


async def in_memory_alone(steps: Sequence[Step], index: StoredIndex, fresh: StoredIndex) -> None:
    walk = Walk(lambda: index, index)
    with all_due(rebuild):
        for step in steps:
            if step[0] != "reopen":  # it would be empty
                await walk.take(step)
                await walk.check_idf()
        await walk.check_scores(fresh)


async def on_rank_bm25(steps: Sequence[Step]) -> None:
    encoder = Bm25Encoder()
    index, fresh = (RankBm25Index(MemoryIndex(), encoder=encoder) for _ in range(2))
    await in_memory_alone(steps, index, fresh)


async def on_qdrant(steps: Sequence[Step]) -> None:
    async with local_qdrant() as server, local_qdrant() as other:
        index, fresh = (QdrantIndex(each, dim=EMBEDDER.dim) for each in (server, other))
        await in_memory_alone(steps, index, fresh)


def try_edge(steps: Sequence[Step]) -> None:
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        asyncio.run(on_edge(steps, Path(folder)))


@settings(max_examples=8)
@given(walks)
@example(GONE_MEANWHILE)
@example(REPLACED)
@example(BLANK_AND_BACK)
def test_edge_scores_as_one_filled_afresh(steps: list[Step]) -> None:
    try_edge(steps)


@settings(max_examples=25)
@given(walks)
@example(BLANK_AND_BACK)
def test_rank_bm25_scores_as_one_filled_afresh(steps: list[Step]) -> None:
    asyncio.run(on_rank_bm25(steps))


@settings(max_examples=25)
@given(walks)
@example(GONE_MEANWHILE)
@example(REPLACED)
@example(BLANK_AND_BACK)
def test_the_qdrant_client_scores_as_one_filled_afresh(steps: list[Step]) -> None:
    asyncio.run(on_qdrant(steps))


@pytest.mark.attack
@pytest.mark.timeout(1200)
@settings(max_examples=100)
@given(walks)
def test_edge_scores_as_one_filled_afresh_after_many_walks(steps: list[Step]) -> None:
    try_edge(steps)
