"""Layouts of the graph on one engine, Qdrant's own in this process, and their recall under filters.

The server's layout is read from what `retrieval.indexes.qdrant_points` tells it, the embedded one's
from `retrieval.indexes.edge_points`: what is measured is what collections are made with.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import qdrant_edge as qe
from qdrant_client import models

from rag.types import Condition, Float32Array, Leg, Scope
from retrieval.indexes import edge_points, qdrant_points
from retrieval.indexes.payload import OWN_FIELDS, FieldType, path_of

SCOPE = Scope(tenant="bench", collection="graph")
GROUPS = 100
"""Parts of the points, about equal, by which filters keep some and not others."""
FIELDS: dict[str, FieldType] = {"drawn": "keyword", "written": "number"}
KEPT = (1, 10, 50, 90, 99)
"""Groups that filters keep."""
LATER: dict[str, FieldType] = {"drawn_later": "keyword", "written_later": "number"}
"""Fields that hold a point's group: one that was drawn, or its place in the order of writing. The
later ones are indexed once the graph is there."""
DENSE = edge_points.DENSE
K = 10
DEPTH = 100
AT_ONCE = 1_000
SAME = 1e-5
FULL_SCAN_KB = 10_000
"""Qdrant's default, which the server's layout has."""
ACORN = qe.SearchParams(acorn=qe.AcornSearchParams(enable=True, max_selectivity=1.0))
PLAIN = qe.SearchParams()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A graph, the payload indexes beside it by path, and those of users' fields by kind.

    `params` are those of a search.
    """

    hnsw: Mapping[str, Any]
    indexes: Mapping[str, Any]
    schema: Mapping[FieldType, Any]
    params: qe.SearchParams
    full_scan_kb: int = FULL_SCAN_KB
    quantized: Any = None


def server() -> Layout:
    """The layout of collections on a Qdrant server."""
    hnsw = qdrant_points.collection_options(qdrant_points.Layout(), dim=1)["hnsw_config"]
    leg = Leg(name="dense", vector=np.ones(1, np.float32), limit=1, where=(_at("drawn", 0),))
    asked = qdrant_points.query_of(SCOPE, leg, rescore=False).params
    params = ACORN if asked and asked.acorn else PLAIN
    return Layout(
        hnsw={"m": hnsw.m, "payload_m": hnsw.payload_m, "ef_construct": hnsw.ef_construct},
        indexes={path: _edge_index(index) for path, index in qdrant_points.INDEXES.items()},
        schema={kind: _edge_index(index) for kind, index in qdrant_points.SCHEMA.items()},
        params=params,
    )


def server_before() -> Layout:
    """A graph for each tenant and none across them, and links for every payload index."""
    keyword, number = qe.KeywordIndexParams(), qe.FloatIndexParams()
    own = {path: number if kind == "number" else keyword for path, kind in OWN_FIELDS.items()}
    return Layout(
        hnsw={"m": 0, "payload_m": 16, "ef_construct": 100},
        indexes=own | {"tenant": _tenant(), "fields": keyword, "mean": number},
        schema={"keyword": keyword, "number": number},
        params=PLAIN,
    )


def tenant_alone() -> Layout:
    """A graph for each tenant and none across them, and no other links: the trap."""
    layout = server_before()
    return replace(layout, indexes={"tenant": _tenant()}, schema={})


def edge() -> Layout:
    """The layout of the embedded index."""
    vectors: Any = edge_points.layout(dim=1).vectors
    hnsw = vectors[DENSE].hnsw_config
    leg = Leg(name="dense", vector=np.ones(1, np.float32), limit=1)
    return Layout(
        hnsw={"m": hnsw.m, "payload_m": hnsw.payload_m, "ef_construct": hnsw.ef_construct},
        indexes={path: edge_points.SCHEMA[kind] for path, kind in OWN_FIELDS.items()},
        schema=edge_points.SCHEMA,
        params=edge_points.query_of(leg, None).params or PLAIN,
        full_scan_kb=hnsw.full_scan_threshold,
        quantized=vectors[DENSE].quantization_config,
    )


def edge_before() -> Layout:
    """Full vectors, and a hundred candidates for links and for searches."""
    hnsw = {"m": 16, "payload_m": 0, "ef_construct": 100}
    return replace(
        edge(),
        hnsw=hnsw,
        params=ACORN,
        full_scan_kb=FULL_SCAN_KB,
        quantized=None,
    )


class Graph:
    """A shard that was filled and linked; `seconds` and `cpu_seconds` are what linking took."""

    def __init__(self, layout: Layout, vectors: Float32Array, folder: Path) -> None:
        """Writes the points, links them, and indexes the later fields."""
        self._layout = layout
        self._vectors = vectors
        count, dim = vectors.shape
        drawn = np.random.default_rng(0).integers(0, GROUPS, (2, count))
        written = np.arange(count) * GROUPS // count
        self._groups = {
            "drawn": drawn[0],
            "drawn_later": drawn[1],
            "written": written,
            "written_later": written,
        }
        self._shard = self._made(folder, dim)
        self._index(FIELDS)
        self._write()
        started, cpu = time.perf_counter(), time.process_time()
        self._shard.optimize()
        self.seconds, self.cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        self._index(LATER)

    def close(self) -> None:
        """Lets go of the folder."""
        self._shard.close()

    def recall(
        self, questions: Float32Array, field: str | None = None, kept: int = GROUPS
    ) -> tuple[float, float]:
        """Mean recall@10 where a filter on `field` keeps so many groups, and milliseconds a search.

        Every question leaves out, or keeps, other groups: of the first ones, too.
        """
        shares, spent = [], 0.0
        scores = questions @ self._vectors.T
        for number, question in enumerate(questions):
            groups = (np.arange(kept) + number * GROUPS // len(questions) + 1) % GROUPS
            kept_scores = scores[number]
            if field is not None:
                kept_scores = kept_scores[np.isin(self._groups[field], groups)]
            tenth = float(np.partition(kept_scores, -K)[-K])
            request = self._request(question, field, groups)
            started = time.perf_counter()
            points = self._shard.query(request)
            spent += time.perf_counter() - started
            shares.append(sum(point.score >= tenth - SAME for point in points[:K]) / K)
        return float(np.mean(shares)), spent / len(questions) * 1e3

    def _made(self, folder: Path, dim: int) -> qe.EdgeShard:
        layout = self._layout
        hnsw = qe.HnswIndexConfig(full_scan_threshold=layout.full_scan_kb, **layout.hnsw)
        dense = qe.EdgeVectorParams(
            size=dim,
            distance=qe.Distance.Dot,
            hnsw_config=hnsw,
            quantization_config=layout.quantized,
        )
        vectors = {DENSE: dense}
        optimizers = qe.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1)
        config = qe.EdgeConfig(vectors=vectors, hnsw_config=hnsw, optimizers=optimizers)
        shard = qe.EdgeShard.create(str(folder), config)
        for path, index in self._layout.indexes.items():
            shard.update(qe.UpdateOperation.create_field_index(path, index))
        return shard

    def _index(self, fields: Mapping[str, FieldType]) -> None:
        for field, kind in fields.items():
            if index := self._layout.schema.get(kind):
                path = path_of(field, kind)
                self._shard.update(qe.UpdateOperation.create_field_index(path, index))

    def _write(self) -> None:
        for first in range(0, len(self._vectors), AT_ONCE):
            points = [
                qe.Point(first + n + 1, {DENSE: vector.tolist()}, self._payload(first + n))
                for n, vector in enumerate(self._vectors[first : first + AT_ONCE])
            ]
            self._shard.update(qe.UpdateOperation.upsert_points(points))

    def _payload(self, place: int) -> dict[str, Any]:
        document = place // 50
        where = {
            field: {kind: [str(group) if kind == "keyword" else group]}
            for field, kind in (FIELDS | LATER).items()
            for group in [int(self._groups[field][place])]
        }
        return {
            "tenant": SCOPE.tenant,
            "fields": [*OWN_FIELDS, *FIELDS],
            "mean": 50.0,
            "document_id": f"document-{document}",
            "title": f"Document {document}",
            "uri": f"bench:{document}",
            "page": place % 50,
            "where": where,
        }

    def _request(
        self, question: Float32Array, field: str | None, groups: npt.NDArray[np.int64]
    ) -> qe.QueryRequest:
        where = list(self._conditions(field, groups))
        return qe.QueryRequest(
            limit=DEPTH,
            query=qe.Query.Nearest(question.tolist(), using=DENSE),
            filter=qe.Filter(must=where) if where else None,
            params=self._layout.params,
            with_payload=False,
        )

    def _conditions(self, field: str | None, groups: npt.NDArray[np.int64]) -> Iterator[Any]:
        if "tenant" in self._layout.indexes:
            yield qe.FieldCondition(key="tenant", match=qe.MatchValue(SCOPE.tenant))
        if field is None:
            return
        path = path_of(field, (FIELDS | LATER)[field])
        if "drawn" in field:
            yield qe.FieldCondition(key=path, match=qe.MatchAny([str(group) for group in groups]))
        else:
            yield qe.Filter(should=[_within(path, first, last) for first, last in _runs(groups)])


def _runs(groups: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """The first and last of each run of groups that follow one another."""
    ordered = np.sort(groups)
    parts = np.split(ordered, np.flatnonzero(np.diff(ordered) > 1) + 1)
    return [(int(part[0]), int(part[-1])) for part in parts]


def _within(path: str, first: int, last: int) -> qe.FieldCondition:
    bounds = qe.RangeFloat(gte=first, lte=last, gt=None, lt=None)
    return qe.FieldCondition(key=path, range=bounds)


def _at(field: str, group: int) -> Condition:
    return Condition(field=field, op="eq", value=str(group))


def _tenant() -> qe.KeywordIndexParams:
    return qe.KeywordIndexParams(is_tenant=True)


def _edge_index(index: qdrant_points.Schema) -> Any:
    """The same payload index in the embedded engine's terms."""
    if isinstance(index, models.KeywordIndexParams):
        return qe.KeywordIndexParams(is_tenant=index.is_tenant, enable_hnsw=index.enable_hnsw)
    if isinstance(index, models.FloatIndexParams):
        return qe.FloatIndexParams(enable_hnsw=index.enable_hnsw)
    return qe.DatetimeIndexParams(enable_hnsw=index.enable_hnsw)
