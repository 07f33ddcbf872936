"""Reads from a Qdrant Edge shard. Sync; calls hold the interpreter lock."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as qe

from rag.errors import ConfigError
from rag.types import Chunk, Condition, Float32Array, Leg, Match, Point
from rag.types.acl import Readers
from retrieval.bm25 import bm25_idf
from retrieval.indexes.edge_points import (
    DENSE,
    has_tokens,
    layout,
    max_sim_query,
    query_of,
    term_query,
    weight_of,
)
from retrieval.indexes.edge_post_filter import post_filtered
from retrieval.indexes.edge_recent import Read, Recent
from retrieval.indexes.edge_stats import Stats
from retrieval.indexes.filters import check, edge_readable, to_edge
from retrieval.indexes.payload import ACL, OWN_FIELDS, acl_of, chunk_of, field_of, path_of
from retrieval.indexes.sparse_files import storage_errors
from retrieval.indexes.stored_points import TOKENS_PAGE, stored_point
from retrieval.memo import Memo

PAGE = 1_000
READERS_KEPT = 256
"""Sets of readers of which it is held about how many points they may read."""
IDF_KEPT = 4_000
"""Terms whose IDF is held of each shard, over all sets of readers: 1 MB."""
_NAMES: Memo[int, str] = Memo(lambda number: str(uuid.UUID(int=number)), most=20_000)
"""Ids as they are written, by their numbers: writing one takes longer than finding its point. With
20,000 it has 4 MB."""
PRISTINE_MARK = "pristine"
"""Empty file in a shard's folder: no point of the shard was ever deleted, replaced or changed, and
all have words. Then the engine's IDF is that of the points without a count: else it counts deleted
and replaced ones, and those without words until the next rebuild."""
Offset = int | uuid.UUID | str | None
"""The point at which a page begins; None: the first."""


class ShardReader:
    """The methods of a shard that read points."""

    def __init__(self, folder: Path) -> None:
        """Open the shard in a folder."""
        self.folder = folder
        with storage_errors(folder):
            self._edge = qe.EdgeShard.load(str(folder), layout(dim=None))
            config = json.loads((folder / "edge_config.json").read_text())
            self._stored_dim: int = config["vectors"][DENSE]["size"]
            self._kinds = {
                field_of(path) for path in self._edge.info().payload_schema if path != ACL
            }
            self._has_tokens = self._edge.count(has_tokens()) > 0
            self._is_pristine = (folder / PRISTINE_MARK).exists()
            self._estimates: dict[Readers, int] = {}
            self._idf: dict[tuple[Readers | None, int], float] = {}
            self._chunks = Recent(self._read_chunks)
            self._vectors = Recent(self._read_vectors)
            # A process that was killed could not write them: count again.
            self.stats = Stats.read(folder) or Stats.counted(
                record.payload or {}
                for records in pages_of(self._edge, payload=["length", "mean"])
                for record in records
            )

    @property
    def fields(self) -> set[str]:
        """The fields that filters may name."""
        return {field for field, _ in self._kinds}

    def document_ids(self, chunk_ids: Sequence[str]) -> set[str]:
        """Returns the ids of these chunks' documents; unknown ids are ignored."""
        with storage_errors(self.folder):
            records = self._edge.retrieve(
                list(chunk_ids), with_payload=["document_id"], with_vector=False
            )
        return {(record.payload or {})["document_id"] for record in records}

    def chunk_ids(self, document_id: str | None, readers: Readers | None = None) -> set[str]:
        """Ids of a document's chunks, or of all; only those that these readers may read."""
        must: list[Any] = edge_readable(readers)
        if document_id is not None:
            must.append(qe.FieldCondition(key="document_id", match=qe.MatchValue(document_id)))
        where = qe.Filter(must=must) if must else None
        with storage_errors(self.folder):
            pages = pages_of(self._edge, where=where, payload=False)
            return {str(record.id) for records in pages for record in records}

    def page(self, offset: Offset, readers: Readers | None) -> tuple[list[Chunk], Offset]:
        """Returns `PAGE` chunks from an offset on, and the next offset: None after the last."""
        payload_fields = qe.PayloadSelector.Exclude(["where"])
        request = qe.ScrollRequest(
            offset=offset,
            limit=PAGE,
            filter=to_edge((), readers),
            with_payload=payload_fields,
            with_vector=False,
        )
        with storage_errors(self.folder):
            records, next_offset = self._edge.scroll(request)
        return [chunk_of(str(r.id), r.payload or {}) for r in records], next_offset

    def page_of_points(self, offset: Offset) -> tuple[list[Point], Offset]:
        """Returns some points with their vectors, from an offset on, and the next offset."""
        request = qe.ScrollRequest(
            offset=offset,
            limit=TOKENS_PAGE if self._has_tokens else PAGE,
            with_payload=qe.PayloadSelector.Exclude(["where"]),
            with_vector=True,
        )
        with storage_errors(self.folder):
            records, next_offset = self._edge.scroll(request)
        return [
            stored_point(str(r.id), r.payload or {}, dict(r.vector))  # type: ignore[arg-type]
            for r in records
        ], next_offset

    def fetch(self, chunk_ids: Sequence[str], readers: Readers | None) -> list[Chunk]:
        """Chunks in the order of the ids; those that may not be read are as unknown ones."""
        return list(self._chunks.of(chunk_ids, readers).values())

    def vectors(self, chunk_ids: Sequence[str], readers: Readers | None) -> dict[str, Float32Array]:
        """float32[dim] of each chunk, by id; those that may not be read are as unknown ones."""
        return self._vectors.of(chunk_ids, readers)

    def max_sim(
        self, question: Float32Array, chunk_ids: Sequence[str], readers: Readers | None
    ) -> dict[str, float]:
        """Scores each chunk by late interaction, by id; chunks without tokens are left out."""
        if not self._has_tokens or not chunk_ids:
            return {}
        with storage_errors(self.folder):
            points = self._edge.query(max_sim_query(question, chunk_ids, readers))
        return {str(point.id): point.score for point in points}

    def search(self, legs: Sequence[Leg], readers: Readers | None) -> list[list[Match]]:
        """Matches of each leg, best first, ties by chunk id.

        Raises:
            ConfigError: A dense vector is not as long as the stored ones.
        """
        self._check_lengths(legs)
        # Before: whoever may read all that is left may not know the fields of what was deleted.
        self._check_fields([condition for leg in legs for condition in leg.where], readers)
        readers = self._narrowed(readers)
        first = post_filtered(
            legs, readers, readable=self._about(readers), points=self.stats.points
        )
        filtered = [query_of(leg, readers, pristine=self._is_pristine) for leg in legs]
        results = self._query([first.get(i, request) for i, request in enumerate(filtered)])
        for i in first:
            if len(results[i]) < legs[i].limit:
                (results[i],) = self._query([filtered[i]])
        return [
            [Match(chunk_id, -negated) for negated, chunk_id in _best_first(points)[: leg.limit]]
            for leg, points in zip(legs, results, strict=True)
        ]

    def idf(self, terms: Sequence[int], readers: Readers | None) -> list[float]:
        """Returns each term's IDF: its top match's score divided by that match's stored weight."""
        readers = self._narrowed(readers)
        kept = self._idf
        known = {term: kept[readers, term] for term in terms if (readers, term) in kept}
        if unknown := [term for term in dict.fromkeys(terms) if term not in known]:
            if len(kept) >= IDF_KEPT:
                kept.clear()
            for term, idf in zip(unknown, self._read_idf(unknown, readers), strict=True):
                known[term] = kept[readers, term] = idf
        return [known[term] for term in terms]

    def _query(self, requests: list[qe.QueryRequest]) -> list[list[qe.ScoredPoint]]:
        """Returns the points of each request."""
        with storage_errors(self.folder):
            return self._edge.query_batch(qe.QueryBatchRequest(requests))

    def _read_idf(self, terms: Sequence[int], readers: Readers | None) -> list[float]:
        results = self._query(
            [term_query(term, readers, pristine=self._is_pristine) for term in terms]
        )
        unseen = 0.0 if all(results) else bm25_idf(self._count(readers, exact=True), 0)
        return [
            points[0].score / weight_of(points[0], term) if points else unseen
            for term, points in zip(terms, results, strict=True)
        ]

    def _read_chunks(self, chunk_ids: Sequence[str]) -> Iterator[Read[Chunk]]:
        # The fields for filters repeat the metadata, and decoding takes most of the time.
        payload_fields = qe.PayloadSelector.Exclude(["where"])
        with storage_errors(self.folder):
            records: Any = self._edge.retrieve(
                list(chunk_ids), with_payload=payload_fields, with_vector=False
            )
        for record in records:
            chunk_id, payload = _NAMES[record.id.int], record.payload or {}
            yield Read(chunk_id, acl_of(payload), chunk_of(chunk_id, payload))

    def _read_vectors(self, chunk_ids: Sequence[str]) -> Iterator[Read[Float32Array]]:
        with storage_errors(self.folder):
            records: Any = self._edge.retrieve(
                list(chunk_ids), with_payload=[ACL], with_vector=[DENSE]
            )
        for record in records:
            vector = np.array(record.vector[DENSE], np.float32)
            yield Read(_NAMES[record.id.int], acl_of(record.payload or {}), vector)

    def _changed(self) -> None:
        """Forgets what is known of the points; called before each change."""
        self._estimates.clear()
        self._idf.clear()
        self._chunks.clear()
        self._vectors.clear()

    def _check_lengths(self, legs: Sequence[Leg]) -> None:
        for leg in legs:
            if isinstance(leg.vector, np.ndarray) and len(leg.vector) != self._stored_dim:
                raise ConfigError(
                    f"The collection was made with vectors of {self._stored_dim} numbers, and the"
                    f" embedder's have {len(leg.vector)}: set the embedder back, or embed all of it"
                    " again with `rag reindex`.",
                    code="embedder_mismatch",
                )

    def _narrowed(self, readers: Readers | None) -> Readers | None:
        """Returns the readers, or None if they may read every point: then nothing is filtered.

        That costs a look for such a point after each write, and each search without it a filter on
        every point that it looks at.
        """
        is_open = readers is None or self._about(readers) == self.stats.points
        return None if is_open else readers

    def _about(self, readers: Readers | None) -> int:
        """Returns about how many points these readers may read: that of all only if it is all."""
        if readers is None:
            return self.stats.points
        if readers not in self._estimates:
            while len(self._estimates) >= READERS_KEPT:
                del self._estimates[next(iter(self._estimates))]
            self._estimates[readers] = self._estimated(readers)
        return self._estimates[readers]

    def _estimated(self, readers: Readers) -> int:
        hidden = qe.Filter(must_not=[*edge_readable(readers)])
        if not self._has_point(hidden):
            return self.stats.points
        return min(self._count(readers, exact=False), self.stats.points - 1)

    def _count(self, readers: Readers | None, *, exact: bool) -> int:
        """Returns the number of points that these readers may read.

        Exact, it takes longer than a search: for 30,000 points 7 ms of CPU.
        """
        if readers is None:
            return self.stats.points
        request = qe.CountRequest(filter=to_edge((), readers), exact=exact)
        with storage_errors(self.folder):
            return self._edge.count(request)

    def _has_point(self, where: qe.Filter) -> bool:
        request = qe.ScrollRequest(limit=1, filter=where, with_payload=False, with_vector=False)
        with storage_errors(self.folder):
            return bool(self._edge.scroll(request)[0])

    def _check_fields(self, where: Sequence[Condition], readers: Readers | None) -> None:
        """Refuses filters that cannot hold.

        For readers, a field exists if a chunk that they may read has it.
        """
        if readers is None:
            check(where, self.fields)
            return
        asked = {condition.field for condition in where}
        seen = {field for field in asked & self.fields if self._is_seen(field, readers)}
        if not asked <= seen:
            seen = {field for field in self.fields if self._is_seen(field, readers)}
        check(where, seen)

    def _is_seen(self, field: str, readers: Readers) -> bool:
        """True if a chunk that these readers may read has the field."""
        if field in OWN_FIELDS:
            return True
        for path in (path_of(*kind) for kind in self._kinds if kind[0] == field):
            where = qe.Filter(must=[*edge_readable(readers)], must_not=[qe.IsEmptyCondition(path)])
            if self._has_point(where):
                return True
        return False


def _best_first(points: Sequence[Any]) -> list[tuple[float, str]]:
    """Returns negated scores with chunk ids: the order of such tuples is that of matches."""
    return sorted([(-point.score, _NAMES[point.id.int]) for point in points])


def pages_of(
    shard: qe.EdgeShard,
    *,
    payload: bool | list[str],
    where: qe.Filter | None = None,
    vectors: bool = False,
    size: int = PAGE,
) -> Iterator[list[qe.Record]]:
    """Yields the points that meet a condition, or all, in pages; the last may be empty."""
    offset: Offset = None
    while True:
        request = qe.ScrollRequest(
            offset=offset, limit=size, filter=where, with_payload=payload, with_vector=vectors
        )
        records, offset = shard.scroll(request)
        yield records
        if offset is None:
            return
