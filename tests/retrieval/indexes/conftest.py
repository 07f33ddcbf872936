"""Indexes on a Qdrant server, in the client's local mode and behind gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_server import Server
from tests.qdrant_corpus import DIM
from tests.qdrant_grpc import grpc_qdrant
from tests.qdrant_servers import local_qdrant


@pytest.fixture(params=[local_qdrant, grpc_qdrant], ids=["local", "grpc"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    async with request.param() as made:
        yield made


@pytest.fixture
def index(server: Server) -> QdrantIndex:
    return QdrantIndex(server, dim=DIM)
