"""One Qdrant Edge shard: points in, ranked ids out. Sync; every call holds the interpreter."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as qe

from rag.errors import InputError, StorageError
from rag.types import Chunk, Float32Array, Leg, Match, Point
from retrieval.edge_points import (
    DENSE,
    SCHEMA,
    SPARSE,
    copied,
    has_tokens,
    layout,
    length_of,
    max_sim_query,
    point_of,
    query_of,
    term_query,
    tokens_field,
    weight_of,
)
from retrieval.filters import check
from retrieval.payload import (
    OWN_FIELDS,
    FieldType,
    chunk_of,
    field_kinds,
    field_of,
    path_of,
    payload_of,
)
from retrieval.sparse import bm25_idf

MAX_FIELDS = 256
PAGE = 1_000
TOKENS_SLICE = 8
"""Points with token vectors in one call: each takes a millisecond, and a megabyte as it is read."""
LOGGED = 1_000
"""Points with token vectors after which the log is let go of: they take some 100 KB each in it."""
_STATS = "stats.json"
Offset = int | uuid.UUID | str | None
"""Where a page of points begins; None: at the first."""


@dataclass(slots=True)
class Stats:
    """What a shard must know of all its points: counted on the way, kept across restarts."""

    points: int = 0
    terms: int = 0
    indexed: int = 0
    lowest_mean: float = 0.0
    highest_mean: float = 0.0

    @property
    def mean_length(self) -> float:
        """Mean length of a chunk, in terms; 1 where there is none."""
        return self.terms / self.points if self.terms else 1.0

    def note_mean(self, mean: float) -> None:
        """Remembers that weights were made with this mean."""
        self.lowest_mean = min(self.lowest_mean or mean, mean)
        self.highest_mean = max(self.highest_mean, mean)

    def rebuild_due(self, *, index_from: int, stale_share: float, mean_drift: float) -> bool:
        """Whether the graph misses too much or the weights are too far off."""
        if not self.points:
            return False
        mean = self.mean_length
        drifted = max(self.highest_mean / mean, mean / self.lowest_mean) > 1 + mean_drift
        stale = (self.points - self.indexed) / self.points > stale_share
        return drifted or (stale and self.points >= index_from)


class Shard:
    """An open shard; its folder belongs to it alone."""

    def __init__(self, folder: Path, *, dim: int) -> None:
        self.folder = folder
        self._dim = dim
        with storage_errors(folder):
            self._edge = qe.EdgeShard.load(str(folder), layout(dim=None))
            self._kinds = {field_of(path) for path in self._edge.info().payload_schema}
            self._has_tokens = self._edge.count(has_tokens()) > 0
            self.stats = self._load_stats()
        self._touched: set[str] | None = None
        self._logged = 0

    @classmethod
    def create(cls, folder: Path, *, dim: int) -> Shard:
        """An empty shard in an empty folder."""
        qe.EdgeShard.create(str(folder), layout(dim=dim)).close()
        shard = cls(folder, dim=dim)
        for field, kind in OWN_FIELDS.items():
            shard._index_field(field, kind)
        return shard

    @property
    def fields(self) -> set[str]:
        """What filters may be on."""
        return {field for field, _ in self._kinds}

    def write(self, points: Sequence[Point]) -> None:
        """Inserts, replaces, or (without vectors) rewrites the payload of points."""
        self._index_fields(points)
        vectors = list({p.chunk.id: p for p in points if p.dense is not None}.values())
        with storage_errors(self.folder):
            self._unclean()
            if any(p.tokens is not None for p in vectors):
                self._admit_tokens()
            self._forget([p.chunk.id for p in vectors])
            for p in vectors:
                self.stats.points += 1
                self.stats.terms += length_of(p.sparse)
            mean = self.stats.mean_length
            self.stats.note_mean(mean)
            self._upsert([point_of(p, mean) for p in vectors])
            self._trim_log(sum(p.tokens is not None for p in vectors))
            moved: dict[Any, Chunk] = {p.chunk.id: p.chunk for p in points if p.dense is None}
            for record in self._edge.retrieve(list(moved), with_payload=False, with_vector=False):
                payload = payload_of(moved[str(record.id)])
                self._edge.update(qe.UpdateOperation.set_payload([record.id], payload))
        self._touch(p.chunk.id for p in points)

    def delete(self, chunk_ids: Sequence[str]) -> None:
        """Removes points; unknown ids are ignored."""
        with storage_errors(self.folder):
            self._unclean()
            known = self._forget(chunk_ids)
            # Qdrant Edge goes on counting a deleted point's terms for IDF, but not emptied ones.
            empty: Any = {SPARSE: qe.SparseVector([], [])}
            vectors = [qe.PointVectors(chunk_id, empty) for chunk_id in known]
            self._edge.update(qe.UpdateOperation.update_vectors(vectors))
            self._edge.update(qe.UpdateOperation.delete_points(known))
        self._touch(chunk_ids)

    def chunk_ids(self, document_id: str | None) -> set[str]:
        """Ids of a document's chunks, or of all."""
        where = None
        if document_id is not None:
            match = qe.FieldCondition(key="document_id", match=qe.MatchValue(document_id))
            where = qe.Filter(must=[match])
        with storage_errors(self.folder):
            return {str(r.id) for r in _scroll(self._edge, where=where, payload=False)}

    def page(self, offset: Offset) -> tuple[list[Chunk], Offset]:
        """`PAGE` chunks from an offset on, and the next offset: None after the last."""
        shown = qe.PayloadSelector.Exclude(["where"])
        request = qe.ScrollRequest(offset=offset, limit=PAGE, with_payload=shown, with_vector=False)
        with storage_errors(self.folder):
            records, next_offset = self._edge.scroll(request)
        return [chunk_of(str(r.id), r.payload or {}) for r in records], next_offset

    def fetch(self, chunk_ids: Sequence[str]) -> list[Chunk]:
        """Chunks in the order of the ids; unknown ids are left out."""
        with storage_errors(self.folder):
            # What filters look at says the same as meta, and decoding is most of the time.
            shown = qe.PayloadSelector.Exclude(["where"])
            records = self._edge.retrieve(list(chunk_ids), with_payload=shown, with_vector=False)
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
        """Late interaction of the question and each chunk, by id; those without are left out."""
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
            )
            for points in results
        ]

    def idf(self, terms: Sequence[int]) -> list[float]:
        """A term's top match scores idf * weight; what the match's weight is, is stored with it."""
        requests = [term_query(term) for term in terms]
        with storage_errors(self.folder):
            results = self._edge.query_batch(qe.QueryBatchRequest(requests)) if terms else []
        unseen = bm25_idf(self.stats.points, 0)
        return [
            points[0].score / weight_of(points[0], term) if points else unseen
            for term, points in zip(terms, results, strict=True)
        ]

    def flush(self) -> None:
        """Everything on disk, the counts too."""
        with storage_errors(self.folder):
            self._edge.flush()
            (self.folder / _STATS).write_text(json.dumps(asdict(self.stats)))

    def close(self) -> None:
        """Flushes and lets go of the folder."""
        self.flush()
        self._edge.close()

    def begin_copy(self) -> None:
        """From here on the shard remembers which points change."""
        self.flush()
        self._touched = set()

    def end_copy(self) -> None:
        """Forgets what `begin_copy` asked to remember."""
        self._touched = None

    def repeat_on(self, copy: Shard) -> None:
        """Brings what changed since `begin_copy` into the copy."""
        touched = sorted(self._touched or ())
        with storage_errors(copy.folder):
            copy._adopt_schema(self)
            size = TOKENS_SLICE if self._has_tokens else PAGE
            for i in range(0, len(touched), size):
                ids: list[Any] = list(touched[i : i + size])
                records = self._edge.retrieve(ids, with_payload=True, with_vector=True)
                copy._edge.update(qe.UpdateOperation.delete_points(ids))
                copy._upsert([copied(r) for r in records])
        copy.stats.points, copy.stats.terms = self.stats.points, self.stats.terms
        if touched:
            copy.stats.note_mean(self.stats.lowest_mean)
            copy.stats.note_mean(self.stats.highest_mean)
        copy.flush()
        self.end_copy()

    def _upsert(self, points: list[qe.Point]) -> None:
        if points:
            self._edge.update(qe.UpdateOperation.upsert_points(points))

    def _admit_tokens(self) -> None:
        """Makes room for token vectors, also in a shard that was made without."""
        if not self._has_tokens:
            self._edge.update(tokens_field(dim=self._dim))
            self._has_tokens = True

    def _trim_log(self, written: int) -> None:
        """Qdrant Edge keeps what it wrote in its log until it is flushed."""
        self._logged += written
        if self._logged >= LOGGED:
            self._edge.flush()
            self._logged = 0

    def _forget(self, chunk_ids: Sequence[str]) -> list[Any]:
        """Takes points that are about to go, or be replaced, out of the counts; their ids."""
        records = self._edge.retrieve(list(chunk_ids), with_payload=["length"], with_vector=False)
        for record in records:
            self.stats.points -= 1
            self.stats.terms -= (record.payload or {})["length"]
        return [record.id for record in records]

    def _touch(self, chunk_ids: Iterator[str] | Sequence[str]) -> None:
        if self._touched is not None:
            self._touched.update(chunk_ids)

    def _index_fields(self, points: Sequence[Point]) -> None:
        for field, kind in field_kinds(p.chunk.meta for p in points):
            if (field, kind) not in self._kinds:
                if len(self.fields | {field}) > MAX_FIELDS:
                    raise InputError(
                        f"The collection has {MAX_FIELDS} meta fields already and cannot take"
                        f" {field!r} as another: put rarely used values into one field.",
                        code="too_many_fields",
                    )
                self._index_field(field, kind)

    def _index_field(self, field: str, kind: FieldType) -> None:
        with storage_errors(self.folder):
            index = qe.UpdateOperation.create_field_index(path_of(field, kind), SCHEMA[kind])
            self._edge.update(index)
        self._kinds.add((field, kind))

    def _adopt_schema(self, other: Shard) -> None:
        mine = self._edge.info().payload_schema
        for path, index in other._edge.info().payload_schema.items():
            if path not in mine:
                self._edge.update(qe.UpdateOperation.create_field_index(path, index.data_type))
        self._kinds |= other._kinds
        if other._has_tokens:
            self._admit_tokens()

    def _unclean(self) -> None:
        (self.folder / _STATS).unlink(missing_ok=True)

    def _load_stats(self) -> Stats:
        file = self.folder / _STATS
        if file.exists():
            return Stats(**json.loads(file.read_text()))
        stats = Stats()  # the process was killed before it could write them: count again
        for record in _scroll(self._edge, payload=["length", "mean"]):
            payload = record.payload or {}
            stats.points += 1
            stats.terms += payload["length"]
            stats.note_mean(payload["mean"])
        return stats


@contextlib.contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Qdrant Edge raises bare `Exception`s; here they get a name and say what to do."""
    try:
        yield
    except (InputError, StorageError):
        raise
    except Exception as error:
        full = "No space left" in str(error) or "os error 28" in str(error)
        raise StorageError(
            f"The disk is full: {folder} cannot be written. Free some space and run it again;"
            " what was stored before is kept."
            if full
            else f"The index in {folder} cannot be used: {error}. If the folder was damaged,"
            " restore it from a backup, or delete the collection's folder and ingest again.",
            code="disk_full" if full else "storage",
        ) from error


def _scroll(
    shard: qe.EdgeShard, *, payload: bool | list[str], where: qe.Filter | None = None
) -> Iterator[qe.Record]:
    offset: Offset = None
    while True:
        request = qe.ScrollRequest(
            offset=offset, limit=PAGE, filter=where, with_payload=payload, with_vector=False
        )
        records, offset = shard.scroll(request)
        yield from records
        if offset is None:
            return
