"""The REST API in this process, which commands use if there is no server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.build.storage import Storage
from rag.client.http import Client
from rag.protocols import Queue
from rag.types import Principal


@contextlib.asynccontextmanager
async def client_of(
    opened: Storage, queue: Queue | None = None, *, caller: Principal
) -> AsyncIterator[Client]:
    """Yields a client of an API that serves what is open to the caller; other routes fail."""
    running = Running(opened=opened, queue=queue)
    app = app_without_lifespan(opened.settings, running, caller=caller)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # as a server answers
    async with httpx.AsyncClient(transport=transport, base_url="http://rag.local") as http:
        yield Client(http)
