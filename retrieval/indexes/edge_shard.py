"""A Qdrant Edge shard: stores points and copies them. Sync; calls hold the interpreter lock."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as qe

from rag.errors import InputError
from rag.types import Point
from rag.types.acl import Readers, stored_acl
from retrieval.bm25 import rounded_mean
from retrieval.indexes.edge_points import (
    MAPPED,
    SCHEMA,
    copied,
    layout,
    length_of,
    point_of,
    tokens_field,
)
from retrieval.indexes.edge_reads import PAGE, PRISTINE_MARK, ShardReader, pages_of
from retrieval.indexes.edge_stats import has_stats, remove_stats
from retrieval.indexes.payload import (
    ACL,
    OWN_FIELDS,
    FieldType,
    field_kinds,
    path_of,
    payload_of,
)
from retrieval.indexes.sparse_files import storage_errors

MAX_FIELDS = 256
WRITE_SLICE = 32
"""Points in one call: about 2 ms in which nothing else runs, and several times that on a busy
machine. Qdrant Edge holds the interpreter lock meanwhile."""
TOKENS_SLICE = 8
"""Points with token vectors in one call: each takes 1 ms, and 1 MB when it is read."""
LOGGED = 1_000
"""Points with token vectors after which the log is flushed: they take about 100 KB each in it."""
UNERASED_MARK = "erase"
"""Empty file in a shard's folder: it marks that deleted or replaced text is still in the folder or
the log. Its time says since when."""
ERASE_AFTER, ERASE_AFTER_EACH = 60.0, 0.01
"""Seconds after which such text is erased, and additional seconds for each point of the shard: a
fresh shard of 50,000 points takes a minute of one core, and erases all text deleted until then."""


class Shard(ShardReader):
    """An open shard; its folder belongs to it alone."""

    def __init__(self, folder: Path, *, dim: int) -> None:
        super().__init__(folder)
        self._dim = dim
        self.has_unerased = (folder / UNERASED_MARK).exists()
        self._touched: set[str] | None = None
        self._logged = 0
        self._is_flushed = has_stats(folder)
        self._index_acl()

    @classmethod
    def create(cls, folder: Path, *, dim: int) -> Shard:
        """Creates an empty shard in an empty folder."""
        qe.EdgeShard.create(str(folder), layout(dim=dim)).close()
        (folder / PRISTINE_MARK).touch()
        shard = cls(folder, dim=dim)
        for field, kind in OWN_FIELDS.items():
            shard._index_field(field, kind)
        return shard

    def mean_with(self, points: Sequence[Point]) -> float:
        """Returns the mean length for weights once these new points are written."""
        lengths = {p.chunk.id: length_of(p.sparse) for p in points if p.dense is not None}
        return rounded_mean(
            self.stats.terms + sum(lengths.values()), self.stats.points + len(lengths)
        )

    def write(self, points: Sequence[Point], *, mean: float) -> None:
        """Inserts, replaces, or (without vectors) rewrites the payload of points.

        Weights are made with this mean length.
        """
        self._index_fields(points)
        vectors = list({p.chunk.id: p for p in points if p.dense is not None}.values())
        with storage_errors(self.folder):
            self._changed()
            self._forget_counts()
            if any(p.tokens is not None for p in vectors):
                self._admit_tokens()
            self._mark_unerased(self._forget([p.chunk.id for p in vectors]))
            self._mark_miscounted(p for p in vectors if not length_of(p.sparse))
            for p in vectors:
                self.stats.points += 1
                self.stats.terms += length_of(p.sparse)
            if vectors:
                self.stats.note_mean(mean)
            self._upsert([point_of(p, mean) for p in vectors])
            self._trim_log(sum(p.tokens is not None for p in vectors))
            moved: dict[Any, Point] = {p.chunk.id: p for p in points if p.dense is None}
            for id_ in self._mark_unerased(self._known(list(moved))):
                payload = payload_of(moved[str(id_)])
                self._update(qe.UpdateOperation.set_payload([id_], payload))
        self._touch(p.chunk.id for p in points)

    def set_acl(self, chunk_ids: Sequence[str], acl: Readers) -> None:
        """Replaces the ACL of points; unknown ids are ignored."""
        with storage_errors(self.folder):
            self._changed()
            known = self._known(list(chunk_ids))
            self._mark_miscounted(known)
            self._update(qe.UpdateOperation.set_payload(known, {ACL: sorted(acl)}))
        self._touch(chunk_ids)

    def delete(self, chunk_ids: Sequence[str]) -> None:
        """Removes points; unknown ids are ignored."""
        with storage_errors(self.folder):
            self._changed()
            self._forget_counts()
            known = self._mark_unerased(self._forget(chunk_ids))
            self._update(qe.UpdateOperation.delete_points(known))
        self._touch(chunk_ids)

    def erasure_due(self) -> bool:
        """True if deleted or replaced text in the folder has reached its time limit."""
        if not self.has_unerased:
            return False
        with storage_errors(self.folder):
            age = time.time() - (self.folder / UNERASED_MARK).stat().st_mtime
        return age >= ERASE_AFTER + ERASE_AFTER_EACH * self.stats.points

    def flush(self) -> None:
        """Writes everything to disk, including the counts, if anything has changed."""
        if self._is_flushed:  # for Qdrant Edge it is a hundred calls of `msync` in any case
            return
        with storage_errors(self.folder):
            self._edge.flush()
            self.stats.write(self.folder)
        self._is_flushed = True

    def close(self) -> None:
        """Flushes and closes the shard."""
        self.flush()
        self._changed()
        self._edge.close()

    @property
    def is_copied(self) -> bool:
        """True while a fresh shard is made of a copy of this one."""
        return self._touched is not None

    def begin_copy(self) -> None:
        """Starts recording which points change."""
        self.flush()
        self._touched = set()

    def end_copy(self) -> None:
        """Stops the recording that `begin_copy` started."""
        self._touched = None

    def repeat_on(self, copy: Shard) -> Iterator[None]:
        """Applies the changes since `begin_copy` to the copy; others may read between steps."""
        touched = sorted(self._touched or ())
        with storage_errors(copy.folder):
            copy._adopt_schema(self)
            size = TOKENS_SLICE if self._has_tokens else WRITE_SLICE
            for i in range(0, len(touched), size):
                yield
                ids: list[Any] = list(touched[i : i + size])
                records = self._edge.retrieve(ids, with_payload=True, with_vector=True)
                copy._mark_unerased(copy._known(ids))
                copy._mark_miscounted(_wordless(records))
                copy._update(qe.UpdateOperation.delete_points(ids))
                copy._upsert([copied(r) for r in records])
                for record in records:
                    copy.stats.note_mean((record.payload or {})["mean"])
        copy.stats.points, copy.stats.terms = self.stats.points, self.stats.terms
        copy._is_flushed = False
        yield
        copy.flush()
        self.end_copy()

    def fill_from(self, other: Shard, *, mean_length: float) -> None:
        """Copies all points of another shard into this empty one, weighed with `mean_length`."""
        with storage_errors(self.folder):
            self._forget_counts()
            self._adopt_schema(other)
            size = TOKENS_SLICE if other._has_tokens else PAGE
            for records in pages_of(other._edge, payload=True, vectors=True, size=size):
                self.stats.points += len(records)
                self.stats.terms += sum((record.payload or {})["length"] for record in records)
                self._mark_miscounted(_wordless(records))
                self._upsert([copied(record, mean=mean_length) for record in records])
                self._trim_log(len(records) if other._has_tokens else 0)
        self.stats.note_mean(mean_length)

    def build_graph(self) -> None:
        """Builds the graph of all points, and quantizes their vectors for searches."""
        self._is_flushed = False
        with storage_errors(self.folder):
            self._edge.optimize()
        self.stats.indexed = self.stats.points

    def _forget_counts(self) -> None:
        """Removes the file of the counts, which `flush` writes again."""
        self._is_flushed = False
        remove_stats(self.folder)

    def _update(self, operation: qe.UpdateOperation) -> None:
        self._is_flushed = False
        self._edge.update(operation)

    def _upsert(self, points: list[qe.Point]) -> None:
        if points:
            self._update(qe.UpdateOperation.upsert_points(points))

    def _admit_tokens(self) -> None:
        """Adds the field of token vectors, also to a shard that was created without it."""
        if not self._has_tokens:
            self._update(tokens_field(dim=self._dim))
            self._has_tokens = True

    def _trim_log(self, written: int) -> None:
        """Flushes regularly: Qdrant Edge keeps written points in its log until then."""
        self._logged += written
        if self._logged >= LOGGED:
            self._edge.flush()
            self._logged = 0

    def _forget(self, chunk_ids: Sequence[str]) -> list[Any]:
        """Subtracts points to be deleted or replaced from the counts; returns their ids."""
        records = self._edge.retrieve(list(chunk_ids), with_payload=["length"], with_vector=False)
        for record in records:
            self.stats.points -= 1
            self.stats.terms -= (record.payload or {})["length"]
        return [record.id for record in records]

    def _known(self, chunk_ids: list[Any]) -> list[Any]:
        """Returns those of these points that exist."""
        records = self._edge.retrieve(chunk_ids, with_payload=False, with_vector=False)
        return [record.id for record in records]

    def _mark_unerased(self, known: list[Any]) -> list[Any]:
        """Records that the text of points about to go stays on disk; returns the points."""
        self._mark_miscounted(known)
        if known and not self.has_unerased:
            (self.folder / UNERASED_MARK).touch()
            self.has_unerased = True
        return known

    def _mark_miscounted(self, points: Iterable[Any]) -> None:
        """Records, before these points are written, that the engine's IDF will miscount them."""
        if self._is_pristine and any(True for _ in points):
            (self.folder / PRISTINE_MARK).unlink(missing_ok=True)
            self._is_pristine = False

    def _touch(self, chunk_ids: Iterator[str] | Sequence[str]) -> None:
        if self._touched is not None:
            self._touched.update(chunk_ids)

    def _index_acl(self) -> None:
        """Indexes the ACLs, once in the life of a shard.

        Points that were stored before there were ACLs follow the collection's default.
        """
        with storage_errors(self.folder):
            if ACL in self._edge.info().payload_schema:
                return
            before = qe.Filter(must=[qe.IsEmptyCondition(ACL)])
            of_default = {ACL: sorted(stored_acl(None))}
            self._update(qe.UpdateOperation.set_payload_by_filter(before, of_default))
            self._update(qe.UpdateOperation.create_field_index(ACL, SCHEMA["keyword"]))

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
            params = MAPPED[kind] if field in OWN_FIELDS else SCHEMA[kind]
            index = qe.UpdateOperation.create_field_index(path_of(field, kind), params)
            self._update(index)
        self._kinds.add((field, kind))

    def _adopt_schema(self, other: Shard) -> None:
        mine = self._edge.info().payload_schema
        for path, index in other._edge.info().payload_schema.items():
            if path not in mine:
                self._update(qe.UpdateOperation.create_field_index(path, index.data_type))
        self._kinds |= other._kinds
        if other._has_tokens:
            self._admit_tokens()


def _wordless(records: Iterable[qe.Record]) -> Iterator[qe.Record]:
    """Yields the points without a word that BM25 counts."""
    return (record for record in records if not (record.payload or {})["length"])
