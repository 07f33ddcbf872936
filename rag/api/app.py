"""The FastAPI app: loads the models in the background and answers health checks meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response

import rag
from rag.api import openapi, problems
from rag.api.auditing import Auditing
from rag.api.browsers import OwnHosts, OwnOrigins
from rag.api.deps import Running
from rag.api.docs_pages import add_pages
from rag.api.draining import Draining
from rag.api.gate import Gate
from rag.api.mcp_endpoint import mcp_route
from rag.api.middleware import BodyLimit, ClientGoneError, Measured, RequestId, SlowClients
from rag.api.resource_metadata import ResourceMetadata
from rag.build.service import Service
from rag.build.storage import Storage
from rag.errors import RagError, StorageError
from rag.gateway.limit_fields import LIMIT_FIELDS
from rag.operations.gpu.watching import watching
from rag.operations.slo.freeze import freeze_of
from rag.privacy.redaction import words
from rag.process.imports import importing
from rag.settings.tree import Settings
from rag.types import Principal
from rag.web import page

_log = logging.getLogger(__name__)
MCP_HEADERS = ("MCP-Protocol-Version", "Mcp-Method", "Mcp-Name")
CLIENT_GONE = 499
"""The status that nginx logs for a client that hung up; nobody receives it."""


def create_app(
    settings: Settings,
    *,
    url: str,
    host: str,
    on_failure: Callable[[], None],
    waits: bool = False,
) -> FastAPI:
    """Returns an app that serves `settings`.

    Args:
        settings: Those of the service.
        url: Its address.
        host: The name or address that the server listens on.
        on_failure: Called if it cannot start.
        waits: Its startup lasts until the models are loaded; otherwise they are loaded while it
            answers already.
    """
    with importing():  # here: commands, which open less, need none of it
        from rag.api.batch_calls import answering_batches
        from rag.build.gateway import open_gateway
        from rag.build.health_checks import open_health
        from rag.build.running import (
            announcing,
            ingesting,
            rolling_out,
            scoring,
            start,
            synthetic_canary,
        )

    running, loaded = Running(), asyncio.Event()

    async def load() -> None:
        """Opens the service and keeps it open."""
        async with (
            start(settings) as (service, queue),
            ingesting(service, queue, running.gpus),
            scoring(service),
            announcing(service),
            rolling_out(service, running.freeze),
            open_gateway(service) as gateway,
            contextlib.AsyncExitStack() as stack,
        ):
            running.health = open_health(service, stack, running.gpus)
            await _warm(service)
            gc.collect()
            gc.freeze()  # loaded objects stay: a full collection would scan them, 50 ms each
            service.announce(url)
            running.opened, running.queue, running.gateway = service, queue, gateway
            running.audit = gateway.audit if gateway else None
            loaded.set()
            async with answering_batches(app, service), synthetic_canary(service, url):
                await asyncio.Event().wait()

    async def serve() -> None:
        try:
            with watching(settings.gpu) as running.gpus:
                await load()
        except Exception as error:  # noqa: BLE001 - otherwise it would load for ever
            running.failure = _failure_of(error)
        loaded.set()
        on_failure()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(serve())
        try:
            if waits:
                await loaded.wait()
            yield
        finally:
            loading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await loading

    hosts = (*settings.server.allowed_hosts, host)
    app = app_without_lifespan(settings, running, lifespan=lifespan, hosts=hosts)
    return app


def _failure_of(error: Exception) -> RagError:
    """Returns the error for which a service cannot start; logs one that is a bug."""
    if isinstance(error, RagError):
        return error
    if isinstance(error, OSError):
        return StorageError("The service cannot start.", detail=f"{words(error)}.")
    _log.error("The service cannot start.", exc_info=error)
    name = type(error).__name__
    return RagError(
        f"Internal error at the start, please report it: {name}. The log has the trace."
    )


class _App(FastAPI):
    """An app that keeps its OpenAPI document until its models are loaded: they add to it."""

    _documented: Storage | None = None
    """What was open when the document was built."""

    def openapi(self) -> dict[str, Any]:
        running = self.state.running
        if self.openapi_schema is None or self._documented is not running.opened:
            self._documented = running.opened
            self.openapi_schema = openapi.document(self, self.state.settings, running)
        return self.openapi_schema


def app_without_lifespan(
    settings: Settings,
    running: Running,
    lifespan: Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]] | None = None,
    *,
    hosts: Sequence[str] = ("*",),
    caller: Principal | None = None,
    routers: Sequence[APIRouter] | None = None,
) -> FastAPI:
    """Builds the app over a service that may be open already; the CLI runs one in its own process.

    `hosts` are its names besides those of loopback; `*` allows any: no browser reaches the app.
    `caller` sends all requests; with None, each is authenticated if the gateway is switched on.
    `routers` have the routes; with None, the app has all.
    """
    app = _App(
        title="Plumbline",
        version=rag.__version__,
        description="Documents in, grounded answers out: every citation is an exact span.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    add_pages(app)
    _add_page(app)
    app.state.running, app.state.settings = running, settings
    running.freeze = freeze_of(settings.slo)
    for router in _all_routers() if routers is None else routers:
        app.router.routes += router.routes  # `include_router` makes all anew, which takes 50 ms
    metadata = ResourceMetadata(settings)
    if routers is None:
        app.router.routes += [
            mcp_route(app, public_url=settings.server.public_url),
            metadata.route(),
        ]
    if caller is None and not settings.gateway.enabled:
        caller = Principal()
    app.add_middleware(BodyLimit, limits=settings.limits, batches=settings.batches)
    app.add_middleware(Gate, running=running, caller=caller, metadata=metadata)
    app.add_middleware(Auditing, running=running)
    _add_origin_checks(app, hosts, settings.server.allowed_origins)
    app.add_middleware(Draining, running=running)
    app.add_middleware(RequestId)
    app.add_middleware(SlowClients)
    app.add_middleware(Measured, questions=settings.log.questions and settings.log.format == "json")
    app.add_exception_handler(ClientGoneError, _on_client_gone)
    app.add_exception_handler(ClientDisconnect, _on_client_gone)
    problems.install(app)
    return app


def _all_routers() -> list[APIRouter]:
    # Imported here: a command that asks a question in its own process needs one of them.
    from rag.api.clients import dify, ollama, open_webui, rerankers
    from rag.api.openai import batch_routes, file_routes
    from rag.api.openai import routes as openai
    from rag.api.routes import (
        answers,
        collections,
        documents,
        eval_runs,
        feedback,
        health,
        jobs,
        keys,
        me,
        questions,
        rollouts,
        token_refusals,
        usage,
        whole_service,
    )

    own = (questions, feedback, documents, collections, jobs, keys, token_refusals, usage)
    views = (me, answers, eval_runs, whole_service, rollouts)
    others = (openai, file_routes, batch_routes, rerankers, dify, ollama, open_webui)
    return [module.router for module in (*own, *views, *others, health)]


def _add_page(app: FastAPI) -> None:
    for path in ("/", *(f"{folder}/{{file:path}}" for folder in page.FOLDERS)):
        app.add_route(path, page.response, include_in_schema=False)


def _add_origin_checks(app: FastAPI, hosts: Sequence[str], origins: Sequence[str]) -> None:
    app.add_middleware(OwnOrigins, origins=origins)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=[
                "Authorization",
                "api-key",
                "Cache-Control",
                "Content-Type",
                "X-Request-ID",
                "traceparent",
                *MCP_HEADERS,
            ],
            expose_headers=["Location", "X-Request-ID", *LIMIT_FIELDS],
        )
    app.add_middleware(OwnHosts, hosts=hosts)


async def _warm(service: Service) -> None:
    """Opens every collection with a search, so that the first question finds them in memory."""
    of_others = {
        collection
        for variant in service.settings.variants.values()
        if variant.embedder is not None
        for collection in variant.collections.values()
    }
    for scope in await service.catalog.collections.everywhere():
        if scope.collection not in of_others:  # the variant that has its embedder opens it
            await service.query.warm(scope)


async def _on_client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)
