"""Requests of questions to a Qdrant server, in the client's models: for REST and local mode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from rag.types import Chunk, Float32Array, Leg, Match, Scope
from retrieval.indexes.payload import chunk_of
from retrieval.indexes.qdrant_points import (
    DENSE,
    NO_CHUNK,
    has_ids,
    max_sim_query,
    of,
    query_of,
    turned,
)
from retrieval.indexes.qdrant_server import Server
from retrieval.indexes.qdrant_shards import Placement, placed


class ModelCalls:
    """`Calls` with the methods of the client."""

    def __init__(self, server: Server) -> None:
        """Take a server, which the caller closes."""
        self._server = server
        self._client = server.client

    async def search(
        self, name: str, scope: Scope, legs: Sequence[Leg], place: Placement, *, rescore: bool
    ) -> list[list[Match]]:
        """Returns the matches of each leg."""
        requests = [query_of(scope, leg, rescore=rescore) for leg in legs]
        return [
            _matches(scope, points) for points in await self.query(name, scope, requests, place)
        ]

    async def max_sim(
        self,
        name: str,
        scope: Scope,
        question: Float32Array,
        chunk_ids: Sequence[str],
        place: Placement,
    ) -> list[Match]:
        """Scores all of these chunks by late interaction."""
        [points] = await self.query(name, scope, [max_sim_query(scope, question, chunk_ids)], place)
        return _matches(scope, points)

    async def chunks(
        self, name: str, scope: Scope, chunk_ids: Sequence[str], place: Placement
    ) -> list[Chunk]:
        """Returns those of these chunks that exist."""
        payload_fields = models.PayloadSelectorExclude(exclude=list(NO_CHUNK))
        records = await self._records(name, scope, chunk_ids, place, with_payload=payload_fields)
        return [chunk_of(turned(scope, record.id), record.payload or {}) for record in records]

    async def vectors(
        self, name: str, scope: Scope, chunk_ids: Sequence[str], place: Placement
    ) -> dict[str, Float32Array]:
        """Returns the dense vectors of these chunks, by id."""
        records = await self._records(
            name, scope, chunk_ids, place, with_payload=False, with_vectors=[DENSE]
        )
        return {turned(scope, record.id): _dense(record) for record in records}

    async def query(
        self, name: str, scope: Scope, requests: Sequence[models.QueryRequest], place: Placement
    ) -> list[list[models.ScoredPoint]]:
        """Returns the points of each request, best first."""
        sent = [placed(scope, request, place) for request in requests]
        responses = await self._server.call(self._client.query_batch_points, name, sent)
        return [response.points for response in responses]

    async def _records(
        self, name: str, scope: Scope, chunk_ids: Sequence[str], place: Placement, **read: Any
    ) -> list[models.Record]:
        records, _ = await self._server.call(
            self._client.scroll,
            name,
            scroll_filter=of(scope, has_ids(scope, chunk_ids)),
            limit=len(chunk_ids),
            shard_key_selector=place.key,
            **read,
        )
        return records


def _matches(scope: Scope, points: Iterable[models.ScoredPoint]) -> list[Match]:
    return [Match(turned(scope, point.id), point.score) for point in points]


def _dense(record: models.Record) -> Float32Array:
    vector: Any = record.vector
    return np.array(vector[DENSE], np.float32)
