"""Dependencies of the routes. All of them are async: FastAPI runs plain functions on threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request, params
from fastapi.routing import APIRoute

from rag.build.ingest import Ingesting
from rag.build.retrieval import Searching
from rag.build.service import Service
from rag.build.storage import Storage
from rag.catalog.collections import no_collection
from rag.errors import BusyError, ForbiddenError, RagError
from rag.gateway.api_keys import ApiKeys
from rag.gateway.audit_log import AuditLog
from rag.gateway.gateway import Gateway
from rag.gateway.refusals import TokenRefusals
from rag.operations.gpu.watching import GpuWatch
from rag.operations.slo.freeze import Freeze
from rag.protocols import Queue
from rag.records import CollectionRecord
from rag.settings.tree import COLLECTION, Settings
from rag.telemetry.conditions import Health
from rag.telemetry.metering import Meter
from rag.telemetry.trace import Trace, trace_of
from rag.types import PERMISSIONS, Permission, Principal, Scope

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
    gateway: Gateway | None = None
    audit: AuditLog | None = None
    health: Health | None = None
    freeze: Freeze | None = None
    gpus: GpuWatch | None = None
    failure: RagError | None = None
    draining: bool = False
    """True once the process is to end: it finishes what it has begun."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Lock for large requests: one is read at a time, each in a separate process."""
    analysis: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Lock for reports that take seconds of a core: one is computed at a time."""
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


async def principal(request: Request) -> Principal:
    """Returns the caller, whom `rag.api.gate` has put into the request."""
    found: Principal = request.scope["principal"]
    return found


def needs(permission: Permission) -> params.Depends:
    """Returns the dependency of a route that only callers with this permission may use."""
    found: params.Depends = Depends(_CHECKS[permission])
    return found


async def _known() -> None:
    """Lets every caller pass: the gate has refused those without a valid key or token."""


KNOWN: params.Depends = Depends(_known)
"""The dependency of a route that every caller may use, whatever the key permits."""


def needs_key(route: APIRoute) -> bool:
    """Returns True if a route declares who may use it."""
    return KNOWN in route.dependencies or permission_of(route) is not None


def permission_of(route: APIRoute) -> Permission | None:
    """Returns the permission that a route needs; None if it declares none."""
    checks = {dependency.dependency for dependency in route.dependencies}
    return next((each for each in PERMISSIONS if _CHECKS[each] in checks), None)


def _check_of(permission: Permission) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        if not (await principal(request)).may(permission):
            raise ForbiddenError(
                f"This needs the scope {permission!r}, which the key does not have. Ask for a key"
                " with it."
            )

    return check


_CHECKS = {permission: _check_of(permission) for permission in PERMISSIONS}


def scope_in(caller: Principal, collection: str) -> Scope:
    """Returns the scope of a collection for a caller: no other function of the API makes one.

    Raises:
        NotFoundError: The caller may not know of the collection, even if there is one.
    """
    if not caller.reaches(collection):
        raise no_collection(collection)
    return Scope(tenant=caller.tenant, collection=collection, readers=caller.readers)


def visible(records: Sequence[CollectionRecord], caller: Principal) -> list[CollectionRecord]:
    """Returns the collections of the caller's tenant that the caller may know of."""
    return [record for record in records if caller.reaches(record.name)]


async def scope(
    request: Request,
    caller: PrincipalDep,
    storage: StorageDep,
    collection: Annotated[str, Query(pattern=COLLECTION)] = "default",
) -> Scope:
    """Returns the scope of a request whose collection is in its URL."""
    request.scope["collection"] = collection  # for the audit log
    return await storage.catalog.collections.seen(scope_in(caller, collection))


async def api_keys(request: Request, storage: StorageDep) -> ApiKeys:
    """Returns what manages keys; the gateway of this process forgets those that are changed."""
    gateway = state_of(request).gateway
    changed = gateway.keys.forget if gateway else lambda _id: None
    return ApiKeys(storage.catalog.keys, changed=changed)


async def token_refusals(request: Request, storage: StorageDep) -> TokenRefusals:
    """Returns what refuses tokens: the gateway's, which knows at once what is changed here."""
    gateway = state_of(request).gateway
    return gateway.refusals if gateway else TokenRefusals(storage.catalog.refused_tokens)


async def settings_of(request: Request) -> Settings:
    """Returns the settings, before anything is loaded, too."""
    found: Settings = request.app.state.settings
    return found


def meter_of(request: Request) -> Meter:
    """Returns what the caller is charged by; without a gateway it only adds up."""
    return request.scope.get("account") or Meter()


def wants_fresh(request: Request) -> bool:
    """Returns True if the caller refuses answers from a cache: `no-cache`, RFC 9111, 5.2.1.4."""
    directives = request.headers.get("cache-control", "").lower().split(",")
    return any(directive.strip() == "no-cache" for directive in directives)


async def trace(request: Request, storage: StorageDep) -> Trace:
    """Returns the caller's trace, by its W3C `traceparent`, or a new one."""
    rate = storage.settings.traces.rate
    made = trace_of(request.headers.get("traceparent"), rate=rate)
    made.meter = meter_of(request)
    made.synthetic = (await principal(request)).tenant == storage.settings.synthetic.tenant
    request.scope["trace"] = made  # for the request log
    return made


StorageDep = Annotated[Storage, Depends(opened_as(Storage))]
IngestingDep = Annotated[Ingesting, Depends(opened_as(Ingesting))]
SearchingDep = Annotated[Searching, Depends(opened_as(Searching))]
ServiceDep = Annotated[Service, Depends(opened_as(Service))]
QueueDep = Annotated[Queue, Depends(queue)]
PrincipalDep = Annotated[Principal, Depends(principal)]
ApiKeysDep = Annotated[ApiKeys, Depends(api_keys)]
TokenRefusalsDep = Annotated[TokenRefusals, Depends(token_refusals)]
ScopeDep = Annotated[Scope, Depends(scope)]
SettingsDep = Annotated[Settings, Depends(settings_of)]
TraceDep = Annotated[Trace, Depends(trace)]
