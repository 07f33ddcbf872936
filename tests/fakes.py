"""Working, tiny implementations of the protocols that need a model or a disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from generation.grounding.evidence import Evidence
from generation.grounding.presence import Missing
from generation.grounding.support import shared_grams, shared_numbers
from ingest.sources.files import load
from rag.build.service import Service
from rag.errors import RagError
from rag.protocols import Resting
from rag.text.passages import passage_text
from rag.types import (
    Chunk,
    Condition,
    Document,
    Embedding,
    Float16Array,
    Float32Array,
    Kind,
    Leg,
    Match,
    Message,
    Piece,
    Point,
    Prompt,
    Sampling,
    Scope,
    Span,
    SparseVector,
    TokenVectors,
    Usage,
)
from rag.types.acl import Readers
from retrieval.bm25 import Bm25Encoder, bm25_idf, bm25_weights, rounded_mean
from retrieval.indexes.filters import check
from retrieval.indexes.matching import matcher

_WORD = re.compile(r"\w+")
_ENCODER = Bm25Encoder()


@dataclass(frozen=True, slots=True)
class _Stored:
    chunk: Chunk
    dense: Float32Array
    sparse: SparseVector
    tokens: Float16Array | None
    acl: Readers


class MemoryIndex:
    """`Index` in a dict: every search compares every point, so its results are exact."""

    def __init__(self) -> None:
        self._points: dict[Scope, dict[str, _Stored]] = {}
        self._fields: dict[Scope, set[str]] = {}

    async def upsert(self, scope: Scope, points: Sequence[Point]) -> None:
        held = self._points.setdefault(scope, {})
        fields = self._fields.setdefault(scope, set())
        for point in points:
            fields.update(k for k, v in point.chunk.meta.items() if v != ())
            if point.dense is not None and point.sparse is not None:
                held[point.chunk.id] = _Stored(
                    point.chunk, point.dense, point.sparse, point.tokens, point.acl
                )
            elif old := held.get(point.chunk.id):
                held[point.chunk.id] = replace(old, chunk=point.chunk, acl=point.acl)

    async def delete(self, scope: Scope, chunk_ids: Sequence[str]) -> None:
        held = self._points.get(scope, {})
        gone = [held.pop(chunk_id) for chunk_id in chunk_ids if chunk_id in held]
        documents = {stored.chunk.document_id for stored in gone}
        if previous := await self.previous_version(scope):
            for stored in self._all(previous):
                if stored.chunk.document_id in documents:
                    del self._points[previous][stored.chunk.id]

    def erasing(self) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext()

    async def chunk_ids(self, scope: Scope, document_id: str | None) -> set[str]:
        return {
            stored.chunk.id
            for stored in self._all(scope)
            if document_id in (None, stored.chunk.document_id)
        }

    async def set_acl(self, scope: Scope, document_id: str, acl: Readers) -> None:
        for name in (scope.collection, f"{scope.collection}.next", f"{scope.collection}.previous"):
            held = self._points.get(replace(scope, collection=name), {})
            for id_, stored in held.items():
                if stored.chunk.document_id == document_id:
                    held[id_] = replace(stored, acl=acl)

    async def remove(self, scope: Scope) -> None:
        for name in (scope.collection, f"{scope.collection}.next", f"{scope.collection}.previous"):
            self._points.pop(replace(scope, collection=name), None)
            self._fields.pop(replace(scope, collection=name), None)

    async def points(self, scope: Scope) -> AsyncIterator[list[Point]]:
        yield [
            Point(chunk=s.chunk, dense=s.dense, sparse=s.sparse, tokens=s.tokens, acl=s.acl)
            for s in self._all(scope)
        ]

    def still(self) -> contextlib.AbstractAsyncContextManager[Resting]:
        return contextlib.nullcontext(lambda _: contextlib.nullcontext())

    async def fetch(self, scope: Scope, chunk_ids: Sequence[str]) -> list[Chunk]:
        held = self._readable(scope)
        return [held[i].chunk for i in chunk_ids if i in held]

    async def vectors(self, scope: Scope, chunk_ids: Sequence[str]) -> dict[str, Float32Array]:
        held = self._readable(scope)
        return {i: held[i].dense for i in chunk_ids if i in held}

    async def max_sim(
        self, scope: Scope, question: Float32Array, chunk_ids: Sequence[str]
    ) -> dict[str, float]:
        held = self._readable(scope)
        tokens = {i: held[i].tokens for i in chunk_ids if i in held}
        return {
            i: float((question @ rows.astype(np.float32).T).max(axis=1).sum())
            for i, rows in tokens.items()
            if rows is not None
        }

    async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
        if scope.whole not in self._points:
            return [[] for _ in legs]
        fields = self._fields[scope.whole]
        if scope.readers is not None:
            fields = {k for stored in self._all(scope) for k in stored.chunk.meta}
        for leg in legs:
            check(leg.where, fields)
        return [self._rank(scope, leg) for leg in legs]

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        if scope.whole not in self._points:
            return [0.0] * len(terms)
        return [self._idf(scope, term) for term in terms]

    async def version(self, scope: Scope) -> str:
        held = self._points.get(scope.whole)
        return "" if held is None else str(id(held))

    async def name_of(self, scope: Scope) -> str:
        return await self.version(scope)

    async def pages(self, scope: Scope) -> AsyncIterator[list[Chunk]]:
        yield [stored.chunk for stored in self._all(scope)]

    async def holds(self, scope: Scope) -> bool:
        return scope in self._points

    async def maintain(self, scope: Scope) -> None:
        """Does nothing: everything is computed on request."""

    async def begin_version(self, scope: Scope) -> Scope:
        version = replace(scope, collection=f"{scope.collection}.next")
        self._points[version], self._fields[version] = {}, set()
        return version

    async def previous_version(self, scope: Scope) -> Scope | None:
        previous = replace(scope, collection=f"{scope.collection}.previous")
        return previous if previous in self._points else None

    async def switch_version(self, scope: Scope, version: Scope) -> None:
        previous = replace(scope, collection=f"{scope.collection}.previous")
        for kept in (self._points, self._fields):
            new = kept.pop(version)
            if scope in kept:
                kept[previous] = kept.pop(scope)  # type: ignore[assignment]
            kept[scope] = new  # type: ignore[assignment]

    async def close(self) -> None:
        """Does nothing: there are no resources to close."""

    def _readable(self, scope: Scope) -> dict[str, _Stored]:
        held, readers = self._points.get(scope.whole, {}), scope.readers
        return {i: s for i, s in held.items() if readers is None or not readers.isdisjoint(s.acl)}

    def _all(self, scope: Scope) -> list[_Stored]:
        return list(self._readable(scope).values())

    def _rank(self, scope: Scope, leg: Leg) -> list[Match]:
        found = self._filtered(scope, leg.where)
        if isinstance(leg.vector, SparseVector):
            ranked = [m for m in self._bm25(scope, found, leg.vector) if m.score > 0]
        else:
            ranked = [Match(chunk_id=s.chunk.id, score=float(s.dense @ leg.vector)) for s in found]
        return sorted(ranked, key=lambda m: (-m.score, m.chunk_id))[: leg.limit]

    def _filtered(self, scope: Scope, where: Sequence[Condition]) -> list[_Stored]:
        fits = matcher(where)
        return [stored for stored in self._all(scope) if fits(stored.chunk)]

    def _bm25(self, scope: Scope, found: Sequence[_Stored], query: SparseVector) -> list[Match]:
        lengths = [float(stored.sparse.values.sum()) for stored in self._all(scope.whole)]
        mean = rounded_mean(sum(lengths), len(lengths))
        idf = {int(term): self._idf(scope, int(term)) for term in query.indices}
        ranked = []
        for stored in found:
            weights = bm25_weights(stored.sparse, mean_length=mean)
            held = dict(zip(stored.sparse.indices.tolist(), weights.tolist(), strict=True))
            score = sum(
                count * idf[term] * held.get(term, 0.0)
                for term, count in zip(query.indices.tolist(), query.values.tolist(), strict=True)
            )
            ranked.append(Match(chunk_id=stored.chunk.id, score=score))
        return ranked

    def _idf(self, scope: Scope, term: int) -> float:
        points = self._all(scope)
        return bm25_idf(len(points), sum(term in stored.sparse.indices for stored in points))


class RecordingIndex(MemoryIndex):
    """An index that records the legs of every search."""

    def __init__(self) -> None:
        super().__init__()
        self.searches: list[Sequence[Leg]] = []

    async def search(self, scope: Scope, legs: Sequence[Leg]) -> list[list[Match]]:
        self.searches.append(legs)
        return await super().search(scope, legs)


class HashEmbedder:
    """`Embedder`, `TokenEmbedder` and `PassageEmbedder`.

    A word is a random direction, a text the sum of its words.
    """

    def __init__(self, *, dim: int = 32, fingerprint: str = "hash-1") -> None:
        self.dim = dim
        self.fingerprint = fingerprint
        self.embedded: list[str] = []
        """Every text that was embedded, in order."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(_WORD.findall(text)) for text in texts]

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        self.embedded += texts
        return np.array([self.vector(text) for text in texts], np.float32).reshape(-1, self.dim)

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        return [self._tokens(text) for text in texts]

    async def embed_passages(self, texts: Sequence[str]) -> list[Embedding]:
        self.embedded += texts
        return [Embedding(dense=self.vector(text), tokens=self.tokens(text)) for text in texts]

    def tokens(self, text: str) -> Float16Array:
        return self._tokens(text).vectors.astype(np.float16)

    def vector(self, text: str) -> Float32Array:
        words = map(str.lower, _WORD.findall(text))
        return _unit(sum((_direction(w, self.dim) for w in words), _direction("", self.dim)))

    def _tokens(self, text: str) -> TokenVectors:
        words = list(_WORD.finditer(text))
        vectors = np.array([_unit(_direction(w[0].lower(), self.dim)) for w in words], np.float32)
        spans = np.array([w.span() for w in words], np.int32)
        return TokenVectors(vectors=vectors.reshape(-1, self.dim), spans=spans.reshape(-1, 2))


@cache
def _direction(word: str, dim: int) -> Float32Array:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    made = np.random.default_rng(seed).standard_normal(dim, np.float32)
    made.setflags(write=False)
    return made


class CharacterSupport:
    """`SupportScorer` by characters and numbers alone."""

    async def score(self, claim: str, chunk: Chunk, spans: Sequence[Span]) -> Float32Array:
        texts = [chunk.text[start:end] for start, end in spans]
        return np.array([shared_grams(claim, t) * shared_numbers(claim, t) for t in texts], "f4")


class ScriptedModel:
    """`ChatModel` that streams its script word by word and records the messages it was sent."""

    name = "scripted"
    context_tokens = 4096

    def __init__(self, *script: str | RagError, seconds: float = 0.0) -> None:
        self._script = iter(script)
        self._seconds = seconds
        self.sent: list[tuple[Message, ...]] = []
        self.stopped = False

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(_WORD.findall(message.content)) for message in messages)

    async def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        self.sent.append(tuple(messages))
        answer = next(self._script)
        try:
            await asyncio.sleep(self._seconds)
            if isinstance(answer, RagError):
                raise answer
            words = re.findall(r"\S+\s*", answer)
            for word in words[: sampling.max_tokens]:
                yield Piece(text=word)
            cut = len(words) > sampling.max_tokens
            usage = Usage(
                input_tokens=await self.count_tokens(messages),
                output_tokens=min(len(words), sampling.max_tokens),
            )
            yield Piece(finish_reason="length" if cut else "stop", usage=usage)
        except asyncio.CancelledError:
            self.stopped = True
            raise


class StuckFinder:
    """A `Finder` that raises an error, or hangs if it has none."""

    def __init__(self, error: RagError | None = None) -> None:
        self._error = error
        self.begun = self.stopped = False

    async def find(self, prompt: Prompt) -> Evidence | None:
        if self._error:
            raise self._error
        self.begun = True
        try:
            return await asyncio.Future()
        finally:
            self.stopped = True

    def missing(self, prompt: Prompt) -> Missing:
        return Missing(words=(), everything=True)


def _unit(vector: Float32Array) -> Float32Array:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def make_chunk(text: str, *, document_id: str = "doc", position: int = 0, **fields: Any) -> Chunk:
    """A chunk whose id follows from its document and position."""
    values: dict[str, Any] = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{document_id} {position}")),
        "version": "1",
        "start": 0,
        "end": len(text),
        "title": "",
        "uri": "file:///doc.txt",
    }
    return Chunk(text=text, document_id=document_id, position=position, **(values | fields))


def make_points(
    chunks: Iterable[Chunk], *, embedder: HashEmbedder | None = None, by_token: bool = False
) -> list[Point]:
    """The chunks with the vectors that ingesting them would give."""
    chunks = list(chunks)
    texts = [passage_text(chunk) for chunk in chunks]
    embedder = embedder or HashEmbedder()
    return [
        Point(
            chunk=chunk,
            dense=embedder.vector(text),
            sparse=sparse,
            tokens=embedder.tokens(text) if by_token else None,
        )
        for chunk, text, sparse in zip(chunks, texts, _ENCODER.encode(texts), strict=True)
    ]


def dense_leg(text: str, *where: Condition, limit: int = 100) -> Leg:
    return Leg(name="dense", vector=HashEmbedder().vector(text), limit=limit, where=where)


def sparse_leg(text: str, *where: Condition, limit: int = 100) -> Leg:
    return Leg(name="sparse", vector=_ENCODER.encode([text])[0], limit=limit, where=where)


def in_memory() -> Path | None:
    """Returns the folder of shared memory if it is writable and has 2 GiB free, else None."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK)
    return memory if roomy and shutil.disk_usage(memory).free > 2 << 30 else None


class HereReader:
    """A `Reader` that reads in this process."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    async def read(self, source: Mapping[str, Any], path: Path, *, id_: str, uri: str) -> Document:
        return load(source, path, id_=id_, uri=uri, max_bytes=self._max_bytes)


def service_of(**parts: object) -> Service:
    """Returns a service that has only these parts."""
    made = object.__new__(Service)
    for name, part in parts.items():
        object.__setattr__(made, name, part)
    return made
