"""The REST API in this process, which the CLI uses if there is no server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx

from rag.api.app import bare_app
from rag.api.deps import Running
from rag.build.running import start
from rag.build.service import Service
from rag.client.http import Client
from rag.protocols import Queue
from rag.settings.tree import Settings


@contextlib.asynccontextmanager
async def carry(settings: Settings) -> AsyncIterator[tuple[Client, Service, Queue]]:
    """Yields a client of an API in this process, its service, and its queue, not started."""
    async with start(settings) as (service, queue):
        app = bare_app(settings, Running(service=service, queue=queue))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # as a server answers
        async with httpx.AsyncClient(transport=transport, base_url="http://rag.local") as http:
            yield Client(http), service, queue
