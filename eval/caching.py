"""What a stage made of a question is kept, by the stage's configuration and what it was given.

With another generator over the same retrieval, nothing is embedded and nothing is searched for.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from eval.files import write_whole
from generation.evidence import Evidence, Features, Sentence
from generation.judging import Finder
from rag.protocols import Index
from rag.telemetry import Trace
from rag.types import Hit, Prompt, Query
from retrieval.hybrid import Retriever

STAGES = "stages"
"""The folder within a cache."""


class StageCache:
    """Results by stage and input, a file each: any number of processes may share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.misses = 0

    def get(self, key: str) -> Any | None:
        """What was put there; None where nothing was."""
        try:
            return json.loads(self._file(key).read_bytes())
        except (FileNotFoundError, ValueError):  # a power cut may leave an empty file
            self.misses += 1
            return None

    def put(self, key: str, made: Any) -> None:
        """Keeps it."""
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(made))

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key[2:]}.json"


def key_of(*parts: object) -> str:
    """One key for JSON of any size."""
    written = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return sha256(written.encode("utf-8", "surrogatepass")).hexdigest()


class CachedRetriever:
    """`Retriever` that looks for a question once; hits are read from the index again."""

    def __init__(
        self, inner: Retriever, index: Index, cache: StageCache, *, fingerprint: str
    ) -> None:
        self._inner = inner
        self._index = index
        self._cache = cache
        self._fingerprint = fingerprint

    async def retrieve(self, query: Query, trace: Trace) -> list[Hit]:
        """As the retriever's. What was degraded is not kept."""
        where = [[c.field, c.op, c.value] for c in query.where]
        scope = [query.scope.tenant, query.scope.collection]
        key = key_of("retrieve", self._fingerprint, scope, query.text, query.top_k, where)
        kept = self._cache.get(key)
        if kept is not None and (again := await self._hits(query, kept)) is not None:
            return again
        hits = await self._inner.retrieve(query, trace)
        if not trace.degraded:
            self._cache.put(key, [[h.chunk.id, h.score, h.source, dict(h.ranks)] for h in hits])
        return hits

    async def _hits(self, query: Query, kept: list[Any]) -> list[Hit] | None:
        """None where the index has not all of them any more."""
        chunks = await self._index.fetch(query.scope, [id_ for id_, *_ in kept])
        by_id = {chunk.id: chunk for chunk in chunks}
        if any(id_ not in by_id for id_, *_ in kept):
            return None
        return [
            Hit(chunk=by_id[id_], score=score, source=source, ranks=ranks)
            for id_, score, source, ranks in kept
        ]


class CachedFinder:
    """`Finder` that reads the same passages for the same question once."""

    def __init__(self, inner: Finder, cache: StageCache, *, fingerprint: str) -> None:
        self._inner = inner
        self._cache = cache
        self._fingerprint = fingerprint

    async def find(self, prompt: Prompt) -> Evidence | None:
        """As the finder's."""
        read = [[hit.chunk.id, hit.chunk.start, hit.chunk.end] for hit in prompt.hits]
        key = key_of("find", self._fingerprint, prompt.question, read)
        if (kept := self._cache.get(key)) is not None:
            return _evidence(kept["evidence"])
        found = await self._inner.find(prompt)
        self._cache.put(key, {"evidence": found and asdict(found)})
        return found


def _evidence(kept: dict[str, Any] | None) -> Evidence | None:
    if kept is None:
        return None
    sentences = tuple(Sentence(**sentence) for sentence in kept["sentences"])
    return Evidence(sentences=sentences, features=Features(**kept["features"]))
