"""Caches the results of stages, by the stage's configuration and its input.

With another generator over the same retrieval, nothing is embedded or searched for again. Where
timings do not count, another reranker embeds no question again, and another use of its scores
judges no passage again. The matches of single legs are not cached: a search takes a millisecond,
about as long as reading two hundred matches.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np

import rag
from generation.grounding.answerability import Finder
from generation.grounding.choice import Features, Sentence
from generation.grounding.evidence import Evidence
from generation.grounding.presence import Missing
from rag.process.atomic_write import write_atomically
from rag.process.private_folder import make_private
from rag.protocols import Embedder, Index, Reranker, Retriever
from rag.telemetry.trace import Trace
from rag.types import Chunk, Float32Array, Hit, Kind, Prompt, Query, Retrieved

T = TypeVar("T")
CODE = ("generation", "ingest", "rag", "retrieval")
"""Packages that a question goes through."""


class StageCache(Protocol):
    """Stores results by stage and input as JSON, which outlive the process."""

    def get(self, key: str) -> Any | None:
        """Returns the result stored under this key; None if there is none."""

    def put(self, key: str, made: Any) -> None:
        """Stores a result under this key."""


class LocalStages:
    """`StageCache` in one file, for processes of one machine."""

    def __init__(self, file: Path) -> None:
        make_private(file.parent)
        file.touch(mode=0o600)  # SQLite gives the files beside it the same mode
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS stages (key TEXT PRIMARY KEY, made TEXT)")
        self.misses = 0

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path) -> Iterator[Self]:
        """Opens the file in a cache's folder until the end of the block."""
        stages = cls(folder / "stages.sqlite")
        try:
            yield stages
        finally:
            stages._db.close()

    def get(self, key: str) -> Any | None:
        """Returns the result stored under this key; None if there is none."""
        row = self._db.execute("SELECT made FROM stages WHERE key = ?", (key,)).fetchone()
        self.misses += row is None
        return None if row is None else json.loads(row[0])

    def put(self, key: str, made: Any) -> None:
        """Stores a result under this key."""
        self._db.execute("INSERT OR REPLACE INTO stages VALUES (?, ?)", (key, json.dumps(made)))


class SharedStages:
    """`StageCache` with a file per result, for workers: SQLite's lock fails on some volumes."""

    def __init__(self, folder: Path) -> None:
        """Uses the folder of a cache."""
        self._folder = folder / "stages"

    def get(self, key: str) -> Any | None:
        """Returns the result stored under this key; None if there is none."""
        try:
            return json.loads(self._file(key).read_bytes())
        except (FileNotFoundError, ValueError):  # a power cut may leave an empty file
            return None

    def put(self, key: str, made: Any) -> None:
        """Stores a result under this key."""
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(made))

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key[2:]}.json"


@cache
def code_fingerprint(*packages: str) -> str:
    """Returns a hash of the code of these packages, with fitted weights and prompts."""
    root = Path(rag.__file__).parent.parent
    digest = sha256()
    for file in sorted(file for name in packages for file in (root / name).rglob("*.*")):
        if file.suffix in (".py", ".json", ".jinja"):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def code_version() -> str:
    """Returns Plumbline's version, and a hash of the code that a run goes through."""
    return f"{rag.__version__}+{code_fingerprint(*CODE, 'eval', 'workers')}"


def key_of(*parts: object) -> str:
    """Returns one key for JSON of any size."""
    written = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return sha256(written.encode("utf-8", "surrogatepass")).hexdigest()


async def _each(
    cache: StageCache, items: Mapping[str, T], make: Callable[[list[T]], Awaitable[Iterable[Any]]]
) -> dict[str, Any]:
    """Returns the results of items, by their keys; missing results are made in one call."""
    made = {key: cached for key in items if (cached := cache.get(key)) is not None}
    new = {key: item for key, item in items.items() if key not in made}
    if new:
        for key, result in zip(new, await make(list(new.values())), strict=True):
            cache.put(key, result)
            made[key] = result
    return made


class CachedEmbedder:
    """`Embedder` that embeds a text once."""

    def __init__(self, inner: Embedder, cache: StageCache, *, fingerprint: str) -> None:
        self._inner = inner
        self._cache = cache
        self._key = fingerprint
        self.dim = inner.dim
        self.fingerprint = inner.fingerprint

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        """Returns float32[n, dim], as the embedder does."""

        async def make(unknown: list[str]) -> list[str]:
            return [row.tobytes().hex() for row in await self._inner.embed(unknown, kind=kind)]

        keys = [key_of("embed", self._key, kind, text) for text in texts]
        made = await _each(self._cache, dict(zip(keys, texts, strict=True)), make)
        rows = b"".join(bytes.fromhex(made[key]) for key in keys)
        return np.frombuffer(rows, np.float32).reshape(len(texts), self.dim)


class CachedReranker:
    """`Reranker` that judges a chunk for a question once."""

    def __init__(self, inner: Reranker, cache: StageCache, *, fingerprint: str) -> None:
        self._inner = inner
        self._cache = cache
        self._fingerprint = fingerprint

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        """Returns float32[chunks]; a score does not depend on the other chunks."""

        async def make(unknown: list[Chunk]) -> list[float]:
            scores: list[float] = (await self._inner.score(query, unknown)).tolist()
            return scores

        keys = [key_of("score", self._fingerprint, query.text, chunk.id) for chunk in chunks]
        made = await _each(self._cache, dict(zip(keys, chunks, strict=True)), make)
        return np.array([made[key] for key in keys], np.float32)


class CachedRetriever:
    """`Retriever` that searches for a question once; hits are read from the index again."""

    def __init__(
        self, inner: Retriever, index: Index, cache: StageCache, *, fingerprint: str
    ) -> None:
        self._inner = inner
        self._index = index
        self._cache = cache
        self._fingerprint = fingerprint

    async def retrieve(self, query: Query, trace: Trace) -> Retrieved:
        """Returns hits as the retriever does. Degraded results are not cached."""
        where = [[c.field, c.op, c.value] for c in query.where]
        scope = [query.scope.tenant, query.scope.collection]
        key = key_of("retrieve", self._fingerprint, scope, query.text, query.top_k, where)
        cached = self._cache.get(key)
        if cached is not None and (again := await self._hits(query, cached)) is not None:
            return Retrieved(hits=again)
        found = await self._inner.retrieve(query, trace)
        if not found.degraded:
            cached = [[h.chunk.id, h.score, h.source, dict(h.ranks)] for h in found.hits]
            self._cache.put(key, cached)
        return found

    async def _hits(self, query: Query, cached: list[Any]) -> tuple[Hit, ...] | None:
        """Returns the cached hits; None if the index no longer has all of them."""
        chunks = await self._index.fetch(query.scope, [id_ for id_, *_ in cached])
        by_id = {chunk.id: chunk for chunk in chunks}
        if any(id_ not in by_id for id_, *_ in cached):
            return None
        return tuple(
            Hit(chunk=by_id[id_], score=score, source=source, ranks=ranks)
            for id_, score, source, ranks in cached
        )


class CachedFinder:
    """`Finder` that reads the same passages for the same question once."""

    def __init__(self, inner: Finder, cache: StageCache, *, fingerprint: str) -> None:
        self._inner = inner
        self._cache = cache
        self._fingerprint = fingerprint

    async def find(self, prompt: Prompt) -> Evidence | None:
        """Returns evidence as the finder does."""
        read = [[hit.chunk.id, hit.chunk.start, hit.chunk.end] for hit in prompt.hits]
        key = key_of("find", self._fingerprint, prompt.question, read)
        if (cached := self._cache.get(key)) is not None:
            return _evidence(cached["evidence"])
        found = await self._inner.find(prompt)
        self._cache.put(key, {"evidence": found and asdict(found)})
        return found

    def missing(self, prompt: Prompt) -> Missing:
        """Returns the missing words as the finder does."""
        return self._inner.missing(prompt)


def _evidence(cached: dict[str, Any] | None) -> Evidence | None:
    if cached is None:
        return None
    sentences = tuple(Sentence(**sentence) for sentence in cached["sentences"])
    features = tuple(Features(**each) for each in cached["features"])
    return Evidence(
        sentences=sentences,
        features=features,
        absent=tuple(cached["absent"]),
        dates=tuple((place, date) for place, date in cached["dates"]),
    )
