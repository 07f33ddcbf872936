"""Reads from a Qdrant Edge shard. Sync; calls hold the interpreter lock."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as qe

from rag.types import Chunk, Float32Array, Leg, Match
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
from retrieval.indexes.edge_stats import Stats
from retrieval.indexes.filters import check
from retrieval.indexes.payload import chunk_of, field_of
from retrieval.indexes.sparse_files import storage_errors

PAGE = 1_000
Offset = int | uuid.UUID | str | None
"""The point at which a page begins; None: the first."""


class ShardReader:
    """The methods of a shard that read points."""

    def __init__(self, folder: Path) -> None:
        """Open the shard in a folder."""
        self.folder = folder
        with storage_errors(folder):
            self._edge = qe.EdgeShard.load(str(folder), layout(dim=None))
            self._kinds = {field_of(path) for path in self._edge.info().payload_schema}
            self._has_tokens = self._edge.count(has_tokens()) > 0
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

    def chunk_ids(self, document_id: str | None) -> set[str]:
        """Ids of a document's chunks, or of all."""
        where = None
        if document_id is not None:
            match = qe.FieldCondition(key="document_id", match=qe.MatchValue(document_id))
            where = qe.Filter(must=[match])
        with storage_errors(self.folder):
            pages = pages_of(self._edge, where=where, payload=False)
            return {str(record.id) for records in pages for record in records}

    def page(self, offset: Offset) -> tuple[list[Chunk], Offset]:
        """Returns `PAGE` chunks from an offset on, and the next offset: None after the last."""
        payload_fields = qe.PayloadSelector.Exclude(["where"])
        request = qe.ScrollRequest(
            offset=offset, limit=PAGE, with_payload=payload_fields, with_vector=False
        )
        with storage_errors(self.folder):
            records, next_offset = self._edge.scroll(request)
        return [chunk_of(str(r.id), r.payload or {}) for r in records], next_offset

    def fetch(self, chunk_ids: Sequence[str]) -> list[Chunk]:
        """Chunks in the order of the ids; unknown ids are left out."""
        with storage_errors(self.folder):
            # The fields for filters repeat the metadata, and decoding takes most of the time.
            payload_fields = qe.PayloadSelector.Exclude(["where"])
            records = self._edge.retrieve(
                list(chunk_ids), with_payload=payload_fields, with_vector=False
            )
        found = {str(r.id): chunk_of(str(r.id), r.payload or {}) for r in records}
        return [found[i] for i in chunk_ids if i in found]

    def vectors(self, chunk_ids: Sequence[str]) -> dict[str, Float32Array]:
        """float32[dim] of each chunk, by id; unknown ids are left out."""
        with storage_errors(self.folder):
            records: Any = self._edge.retrieve(
                list(chunk_ids), with_payload=False, with_vector=[DENSE]
            )
        return {str(r.id): np.array(r.vector[DENSE], np.float32) for r in records}

    def max_sim(self, question: Float32Array, chunk_ids: Sequence[str]) -> dict[str, float]:
        """Scores each chunk by late interaction, by id; chunks without tokens are left out."""
        if not self._has_tokens or not chunk_ids:
            return {}
        with storage_errors(self.folder):
            points = self._edge.query(max_sim_query(question, chunk_ids))
        return {str(point.id): point.score for point in points}

    def search(self, legs: Sequence[Leg]) -> list[list[Match]]:
        """Matches of each leg, best first, ties by chunk id."""
        for leg in legs:
            check(leg.where, self.fields)
        requests = [query_of(leg) for leg in legs]
        with storage_errors(self.folder):
            results = self._edge.query_batch(qe.QueryBatchRequest(requests))
        return [
            sorted(
                (Match(str(p.id), p.score) for p in points),
                key=lambda m: (-m.score, m.chunk_id),
            )[: leg.limit]
            for leg, points in zip(legs, results, strict=True)
        ]

    def idf(self, terms: Sequence[int]) -> list[float]:
        """Returns each term's IDF: its top match's score divided by that match's stored weight."""
        requests = [term_query(term) for term in terms]
        with storage_errors(self.folder):
            results = self._edge.query_batch(qe.QueryBatchRequest(requests)) if terms else []
        unseen = bm25_idf(self.stats.points, 0)
        return [
            points[0].score / weight_of(points[0], term) if points else unseen
            for term, points in zip(terms, results, strict=True)
        ]


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
