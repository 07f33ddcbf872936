"""A whole service in this process, and a client of its API."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.build.gateway import open_gateway
from rag.build.running import start
from rag.build.service import Service
from rag.protocols import Queue
from rag.settings.tree import load_settings
from rag.types import Principal

if TYPE_CHECKING:
    from retrieval.embedders.embedder import BertEmbedder

Json = dict[str, Any]


@contextlib.asynccontextmanager
async def serving_here(
    data: Path, made: BertEmbedder, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    """Yields a client of a service over a data folder, and the service; its queue runs."""
    tree = load_settings(data_dir=data, **settings)
    async with (
        start(tree, embedder=made) as (service, queue),
        queue.started(),
        open_gateway(service) as gateway,
    ):
        app = app_without_lifespan(tree, Running(service, queue, gateway))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield http, service


@contextlib.asynccontextmanager
async def client_as(
    service: Service, queue: Queue, caller: Principal
) -> AsyncIterator[httpx.AsyncClient]:
    """Yields a client of an open service whose requests are all this caller's."""
    app = app_without_lifespan(service.settings, Running(service, queue), caller=caller)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield http


async def ingested(http: httpx.AsyncClient, accepted: httpx.Response) -> Json:
    """Returns the job of an accepted request, once it has ended."""
    assert accepted.status_code == 202, accepted.text
    with anyio.fail_after(120):
        while True:
            job: Json = (await http.get(f"/v1/jobs/{accepted.json()['job_id']}")).json()
            if job["state"] not in ("pending", "running"):
                return job
            await anyio.sleep(0.02)
