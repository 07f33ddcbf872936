"""Refuses new requests while the process ends. Plain ASGI."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from rag.api import problems
from rag.api.deps import Running
from rag.errors import BusyError

PROBES = ("/healthz", "/readyz", "/metrics")
"""Paths that are served to the end."""


class Draining:
    """Answers 503 in place of the app, and closes the connection, once the process is to end."""

    def __init__(self, app: ASGIApp, *, running: Running) -> None:
        self._app = app
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        draining = self._running.draining and scope["type"] == "http"
        if not draining or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        error = ending()
        headers = problems.retry_after(error) | {"Connection": "close"}
        body = problems.problem_json(error, scope.get("request_id", ""))
        await problems.response(scope, body, headers)(scope, receive, send)


def ending() -> BusyError:
    """Returns the error for what comes too late: another process takes it."""
    return BusyError(
        "The service is about to stop. Try again: another one may answer.", code="draining"
    )
