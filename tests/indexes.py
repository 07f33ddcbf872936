"""Every kind of index, and helpers that their tests share."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from rag.protocols import Index, StoredIndex
from rag.types import Chunk, Condition, Leg, MetaValue, Op, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_points import Layout
from retrieval.indexes.rank_bm25 import RankBm25Index
from tests.fakes import (
    HashEmbedder,
    MemoryIndex,
    make_chunk,
)
from tests.qdrant_grpc import grpc_qdrant
from tests.qdrant_rest import rest_qdrant
from tests.qdrant_servers import local_qdrant, real_qdrant, remove_collections

EMBEDDER = HashEmbedder()
DIM = EMBEDDER.dim
NOWHERE = str(uuid.uuid4())
"""Id of no chunk."""

SERVED = {"qdrant_server_grpc": True, "qdrant_server_rest": False}
"""Kinds of index on the server that `QDRANT_URL` names, and whether it is asked over gRPC."""


@contextlib.asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[StoredIndex]:
    """An empty index of a kind that the fixture `index` names; closed at the end."""
    edge = EdgeIndex(folder / "index", dim=DIM)
    match kind:
        case "memory":
            yield MemoryIndex()
        case "edge":
            yield edge
        case "rank_bm25":
            yield RankBm25Index(edge, encoder=Bm25Encoder())
        case "qdrant":
            async with local_qdrant() as server:
                yield QdrantIndex(server, dim=DIM)
        case "qdrant_grpc":
            async with grpc_qdrant() as server:
                yield QdrantIndex(server, dim=DIM)
        case "qdrant_rest":
            async with rest_qdrant() as server:
                yield QdrantIndex(server, dim=DIM)
        case "qdrant_shards":
            async with grpc_qdrant() as server:
                yield QdrantIndex(server, dim=DIM, layout=Layout(shards=3))
        case _:
            async with real_qdrant(prefer_grpc=SERVED[kind]) as server:
                prefix = f"test_{uuid.uuid4().hex}_"
                layout = Layout(shards=int(os.environ.get("QDRANT_SHARDS", "1")))
                yield QdrantIndex(server, dim=DIM, prefix=prefix, layout=layout)
                await remove_collections(server, prefix)
    await edge.close()


def corpus(*texts: str, document_id: str = "doc", **fields: Any) -> list[Chunk]:
    return [
        make_chunk(text, document_id=document_id, position=i, **fields)
        for i, text in enumerate(texts)
    ]


async def found(index: Index, scope: Scope, leg: Leg) -> list[str]:
    return [match.chunk_id for match in (await index.search(scope, [leg]))[0]]


async def term_of(word: str) -> int:
    return int(Bm25Encoder().encode([word])[0].indices[0])


def at(field: str, op: Op, value: MetaValue) -> Condition:
    return Condition(field=field, op=op, value=value)


def as_tuple(value: MetaValue) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
