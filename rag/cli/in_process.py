"""The REST API in this process, which commands use if there is no server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter

from rag.api.app import app_without_lifespan
from rag.api.app_transport import AppTransport
from rag.api.deps import Running
from rag.build.storage import Storage
from rag.cli.connection import own_errors
from rag.cli.operator import HERE, operator
from rag.client import NEVER, AsyncClient
from rag.gateway.audit_log import AuditLog
from rag.process.imports import importing_for_command
from rag.protocols import Queue
from rag.types import Principal


@contextlib.asynccontextmanager
async def client_of(
    opened: Storage,
    queue: Queue | None = None,
    *,
    caller: Principal,
    audits: bool = False,
    routers: Sequence[APIRouter] | None = None,
) -> AsyncIterator[AsyncClient]:
    """Yields a client of an API that serves what is open to the caller; other routes fail.

    What it does is in the audit log if the gateway is switched on, or with `audits`. The API has
    the routes of `routers`; with None, all.
    """
    running = Running(opened=opened, queue=queue)
    with importing_for_command():  # FastAPI looks at each annotation
        app = app_without_lifespan(opened.settings, running, caller=caller, routers=routers)
    transport = AppTransport(app, client=(HERE, 0))
    async with contextlib.AsyncExitStack() as stack:
        if audits or opened.settings.gateway.enabled:
            running.audit = AuditLog(opened.catalog.audit, operator=operator())
            await stack.enter_async_context(running.audit.started())
        client = AsyncClient("http://rag.local", transport=transport, retries=NEVER)
        await stack.enter_async_context(client)
        with own_errors():
            yield client
