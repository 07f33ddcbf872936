"""Dependencies of the routes. All of them are async: FastAPI runs plain functions on threads."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Query, Request

from rag.build.service import TENANT, Service
from rag.errors import BusyError, RagError
from rag.protocols import Queue
from rag.settings.tree import COLLECTION
from rag.telemetry.trace import Trace, trace_of
from rag.types import Scope

MAX_WAIT_SECONDS = 60.0
"""Longest `Retry-After` in seconds: OpenAI's clients ignore one of more than two minutes."""


@dataclass(slots=True)
class Running:
    """The state that routes work on; empty until the models are loaded."""

    service: Service | None = None
    queue: Queue | None = None
    failure: RagError | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Lock for large requests: one is read at a time, each in a separate process."""
    since: float = field(default_factory=time.monotonic)

    def loading(self, what: str) -> BusyError:
        """Returns the error while something is still loading.

        A start takes between one and a hundred seconds: the remaining time is estimated as the time
        that has passed.
        """
        lasted = time.monotonic() - self.since
        return BusyError(what, code="loading", retry_after=min(lasted, MAX_WAIT_SECONDS))


def state_of(request: Request) -> Running:
    """Returns the app's state, loaded or not."""
    state: Running = request.app.state.running
    return state


async def service(request: Request) -> Service:
    """Returns the service.

    Raises:
        BusyError: The models are still loading.
    """
    state = state_of(request)
    if state.service is None:
        raise state.loading("The models are still loading; /readyz says when they are.")
    return state.service


async def queue(request: Request) -> Queue:
    """Returns the queue; it exists once the service does."""
    state = state_of(request)
    if state.queue is None:
        raise state.loading("The queue is still starting.")
    return state.queue


async def scope(collection: Annotated[str, Query(pattern=COLLECTION)] = "default") -> Scope:
    """Returns the scope of a request whose collection is in its URL."""
    return Scope(tenant=TENANT, collection=collection)


async def trace(request: Request, service: ServiceDep) -> Trace:
    """Returns the caller's trace, by its W3C `traceparent`, or a new one."""
    rate = service.settings.traces.rate
    made = trace_of(request.headers.get("traceparent"), rate=rate)
    request.scope["trace"] = made  # for the request log
    return made


ServiceDep = Annotated[Service, Depends(service)]
QueueDep = Annotated[Queue, Depends(queue)]
ScopeDep = Annotated[Scope, Depends(scope)]
TraceDep = Annotated[Trace, Depends(trace)]
