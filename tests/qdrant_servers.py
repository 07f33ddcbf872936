"""Qdrant for tests: the client's own local mode, and the server that `QDRANT_URL` names.

`QDRANT_GRPC_PORT` is its port for gRPC, 6334 where it is not set, and `QDRANT_API_KEY` its key.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from retrieval.indexes.qdrant_nodes import Node
from retrieval.indexes.qdrant_server import Server, connect
from tests.qdrant_shards import ShardedClient

NO_INDEXES = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect in the local Qdrant",
    "ignore:Local mode performs exact",
)
"""Local mode compares every point: it has no payload indexes and no graph."""


@contextlib.asynccontextmanager
async def local_qdrant() -> AsyncIterator[Server]:
    client: Any = ShardedClient()
    server = Server(Node(client, ":memory:"), timeout=60)
    yield server
    await server.close()


@contextlib.asynccontextmanager
async def real_qdrant(*, prefer_grpc: bool) -> AsyncIterator[Server]:
    url = os.environ.get("QDRANT_URL")
    if not url:
        pytest.skip("QDRANT_URL names no server")
    key = os.environ.get("QDRANT_API_KEY")
    port = int(os.environ.get("QDRANT_GRPC_PORT", "6334"))
    server = connect(url, api_key=key, grpc_port=port, prefer_grpc=prefer_grpc, timeout=60)
    yield server
    await server.close()


async def remove_collections(server: Server, prefix: str) -> None:
    for each in (await server.client.get_collections()).collections:
        if each.name.startswith(prefix):
            await server.client.delete_collection(each.name)
