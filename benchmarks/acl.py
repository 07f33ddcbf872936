"""The cost of ACLs at 100,000 chunks of 1,000 groups, and what the graph misses under them.

Measured: p50 of hybrid retrieval by a caller whose ACL filter keeps a share of the chunks, and
recall@10 against an exact search of the same chunks. The floor is a search without readers. They
take turns, each with questions of its own: what a question reads is cached for the next one that is
like it. Each document is one group's; a caller is in one to all of them. Vectors are synthetic:
points of 12 dimensions around 2,000 centres, turned into 384, so that they lie together as those of
texts do. Terms are drawn as words are, the commonest most often. The default embedder encodes each
question, as in a service, and its vector is replaced by a synthetic one; `search alone` is the CPU
time without it, which other work on the machine changes less.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks._common import Report, Target, p50
from rag.build.embedding import build_embedder
from rag.protocols import Embedder
from rag.settings.tree import load_settings
from rag.telemetry.trace import Trace
from rag.types import (
    Chunk,
    Float32Array,
    Kind,
    Leg,
    Match,
    Point,
    Query,
    Readers,
    Scope,
    readers_of,
)
from retrieval.bm25 import Bm25Encoder
from retrieval.fusion import Fusion
from retrieval.hybrid import HybridRetriever
from retrieval.indexes.edge import EdgeIndex

CHUNKS, GROUPS, CHUNKS_EACH = 100_000, 1_000, 10
QUESTIONS, ASKED, DEPTH, TOP = 400, 8, 100, 10
LATENT, DIM, CENTRES = 12, 384, 2_000
WORDS, LENGTH, STOPPED = 50_000, 60, 20
"""Words, those of a chunk, and the commonest ones, which no question has."""
WRITTEN_AT_ONCE = 1_000
SCOPE = Scope(tenant="acme", collection="docs")
CALLERS = 10
MEMBER_OF = (1, 10, 30, 100, 300, 600, 900, 1_000)
"""Groups of a caller."""
P50 = Target(bound=1.2, by="ratio")
RECALL = Target(bound=0.98, at_least=True)


def run() -> Report:
    """Fills an index, and asks."""
    return asyncio.run(_run())


async def _run() -> Report:
    report = Report()
    embedder = build_embedder(load_settings().embedder)
    texts = _Texts(embedder)
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        index = EdgeIndex(Path(folder), dim=DIM)
        for first in range(0, CHUNKS, WRITTEN_AT_ONCE):
            await index.upsert(SCOPE, texts.points(first, WRITTEN_AT_ONCE))
        await index.maintain(SCOPE)
        for groups in MEMBER_OF:
            await _compare(report, index, texts, groups)
        await index.close()
    embedder.close()
    report.notes.append(
        f"{CHUNKS:,} chunks of {GROUPS:,} groups, {QUESTIONS} questions of {ASKED} terms, depth"
        f" {DEPTH}"
    )
    return report


class _Texts:
    """Makes chunks and questions; it is the embedder of the questions, too."""

    dim, fingerprint = DIM, "synthetic"

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.cpu_seconds = 0.0
        self._random = np.random.default_rng(0)
        shares = 1 / np.arange(1, WORDS + 1)
        self._upto = np.cumsum(shares / shares.sum())
        self._centres = self._random.normal(size=(CENTRES, LATENT))
        self._turn = self._random.normal(size=(LATENT, DIM))
        self._encoder = Bm25Encoder()
        self._asked: dict[str, Float32Array] = {}

    def points(self, first: int, number: int) -> list[Point]:
        """Returns the points of so many chunks, from the one at `first` on."""
        texts = [self._words(0.0, LENGTH) for _ in range(number)]
        parts = zip(texts, self._vectors(number), self._encoder.encode(texts), strict=True)
        return [
            Point(
                chunk=_chunk(first + i, text),
                dense=vector,
                sparse=sparse,
                acl=frozenset({f"group:{(first + i) // CHUNKS_EACH % GROUPS}"}),
            )
            for i, (text, vector, sparse) in enumerate(parts)
        ]

    def questions(self) -> list[str]:
        """Returns questions, whose vectors are known from then on."""
        texts = [self._words(self._upto[STOPPED], ASKED) for _ in range(QUESTIONS)]
        self._asked.update(zip(texts, self._vectors(QUESTIONS), strict=True))
        return texts

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        """Returns the vectors of questions; adds this process's time for it to `cpu_seconds`."""
        started = time.process_time()
        await self._embedder.embed(texts, kind=kind)
        self.cpu_seconds += time.process_time() - started
        return np.stack([self._asked[text] for text in texts])

    def legs(self, text: str) -> list[Leg]:
        """Returns the legs of a question, the dense one exact."""
        [sparse] = self._encoder.encode([text])
        dense = Leg(name="dense", vector=self._asked[text], limit=DEPTH, exact=True)
        return [dense, Leg(name="sparse", vector=sparse, limit=DEPTH)]

    def _words(self, over: float, number: int) -> str:
        drawn = over + (1 - over) * self._random.random(number)
        found = np.minimum(np.searchsorted(self._upto, drawn), WORDS - 1)
        return " ".join(map(_word, found.tolist()))

    def _vectors(self, number: int) -> Float32Array:
        near = self._centres[self._random.integers(CENTRES, size=number)]
        vectors = (near + 0.3 * self._random.normal(size=near.shape)) @ self._turn
        unit: Float32Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit.astype(np.float32)


def _word(number: int) -> str:
    """Returns a word of letters alone: one with digits would be an identifier."""
    return "".join(chr(ord("b") + int(digit)) + "a" for digit in f"{number:05}")


def _chunk(place: int, text: str) -> Chunk:
    return Chunk(
        id=str(uuid.UUID(int=place)),
        document_id=f"doc-{place // CHUNKS_EACH}",
        version="1",
        position=place % CHUNKS_EACH,
        text=text,
        start=0,
        end=len(text),
        title="",
        uri=f"doc:{place // CHUNKS_EACH}",
    )


async def _compare(report: Report, index: EdgeIndex, texts: _Texts, groups: int) -> None:
    retriever = HybridRetriever(
        embedder=texts, encoder=Bm25Encoder(), index=index, depth=DEPTH, seconds=60.0
    )
    random = np.random.default_rng(groups)
    times: dict[str, list[float]] = {"all": [], "acl": []}
    alone: dict[str, list[float]] = {"all": [], "acl": []}
    found: list[tuple[str, Readers, set[str]]] = []
    callers = [
        readers_of(
            subject=f"user{i}", groups=map(str, random.choice(GROUPS, groups, replace=False))
        )
        for i in range(CALLERS)
    ]
    for i, text in enumerate(texts.questions()):
        name, readers = ("acl", callers[i // 2 % CALLERS]) if i % 2 else ("all", None)
        query = Query(text=text, scope=replace(SCOPE, readers=readers), top_k=TOP)
        texts.cpu_seconds = 0.0
        started, cpu = time.perf_counter(), time.process_time()
        retrieved = await retriever.retrieve(query, Trace())
        times[name].append((time.perf_counter() - started) * 1e3)
        alone[name].append((time.process_time() - cpu - texts.cpu_seconds) * 1e3)
        if readers is not None:
            found.append((text, readers, {hit.chunk.id for hit in retrieved.hits}))
    share = f"{groups / GROUPS:.1%} of the chunks ({groups:,} groups)"
    report.add(
        f"hybrid, {share}", p50(times["acl"]), unit="ms", floor=p50(times["all"]), target=P50
    )
    report.add(f"search alone, {share}", p50(alone["acl"]), unit="ms", floor=p50(alone["all"]))
    kept = [
        len(exact & ids) / len(exact)
        for text, readers, ids in found
        for exact in [await _exact(index, texts, text, readers)]
    ]
    report.add(f"recall@{TOP}, {share}", float(np.mean(kept)), target=RECALL)


async def _exact(index: EdgeIndex, texts: _Texts, text: str, readers: Readers) -> set[str]:
    """Returns the ids of the best chunks, by an exact search of what the readers may read."""
    legs = texts.legs(text)
    lists = await index.search(replace(SCOPE, readers=readers), legs)
    fusion = Fusion(k=60, weights={})
    found: dict[str, Sequence[Match]] = {
        leg.name: matches for leg, matches in zip(legs, lists, strict=True)
    }
    return {each.chunk_id for each in fusion.fuse(found, TOP)}
