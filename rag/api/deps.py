"""Dependencies of the routes. All of them are async: FastAPI runs plain functions on threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request

from rag.build.ingest import Ingesting
from rag.build.retrieval import Searching
from rag.build.service import Service
from rag.build.storage import Storage
from rag.errors import BusyError, RagError
from rag.protocols import Queue
from rag.settings.tree import COLLECTION
from rag.telemetry.trace import Trace, trace_of
from rag.tenant import tenant_of_caller
from rag.types import Scope

Opened = TypeVar("Opened", bound=Storage)
MAX_WAIT_SECONDS = 60.0
"""Longest `Retry-After` in seconds: OpenAI's clients ignore one of more than two minutes."""


@dataclass(slots=True)
class Running:
    """The state that routes work on; empty until the models are loaded.

    A command of the CLI opens only what its routes need.
    """

    opened: Storage | None = None
    queue: Queue | None = None
    failure: RagError | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Lock for large requests: one is read at a time, each in a separate process."""
    since: float = field(default_factory=time.monotonic)

    def loading(self, message: str) -> BusyError:
        """Returns the error while something is still loading.

        A start takes between one and a hundred seconds: the remaining time is estimated as the time
        that has passed.
        """
        lasted = time.monotonic() - self.since
        return BusyError(message, code="loading", retry_after=min(lasted, MAX_WAIT_SECONDS))


def state_of(request: Request) -> Running:
    """Returns the app's state, loaded or not."""
    state: Running = request.app.state.running
    return state


def opened_as(part: type[Opened]) -> Callable[[Request], Awaitable[Opened]]:
    """Returns the dependency that returns what is open, of which a route uses this part.

    It raises a BusyError while the models are loading.
    """

    async def opened(request: Request) -> Opened:
        state = state_of(request)
        if state.opened is None:
            raise state.loading("The models are still loading; /readyz says when they are.")
        if not isinstance(state.opened, part):
            raise TypeError(f"{request.url.path} needs {part.__name__}, which is not open.")
        return state.opened

    return opened


async def queue(request: Request) -> Queue:
    """Returns the queue; it exists once the service does."""
    state = state_of(request)
    if state.queue is None:
        raise state.loading("The queue is still starting.")
    return state.queue


async def tenant(request: Request) -> str:
    """Returns the tenant of the caller."""
    found = tenant_of_caller()
    request.scope["tenant"] = found  # for the request log
    return found


async def scope(
    tenant: TenantDep, collection: Annotated[str, Query(pattern=COLLECTION)] = "default"
) -> Scope:
    """Returns the scope of a request whose collection is in its URL."""
    return Scope(tenant=tenant, collection=collection)


async def trace(request: Request, storage: StorageDep) -> Trace:
    """Returns the caller's trace, by its W3C `traceparent`, or a new one."""
    rate = storage.settings.traces.rate
    made = trace_of(request.headers.get("traceparent"), rate=rate)
    request.scope["trace"] = made  # for the request log
    return made


StorageDep = Annotated[Storage, Depends(opened_as(Storage))]
IngestingDep = Annotated[Ingesting, Depends(opened_as(Ingesting))]
SearchingDep = Annotated[Searching, Depends(opened_as(Searching))]
ServiceDep = Annotated[Service, Depends(opened_as(Service))]
QueueDep = Annotated[Queue, Depends(queue)]
TenantDep = Annotated[str, Depends(tenant)]
ScopeDep = Annotated[Scope, Depends(scope)]
TraceDep = Annotated[Trace, Depends(trace)]
