"""Refuses new requests while the process ends. Plain ASGI."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from rag.api import problems
from rag.api.deps import Running
from rag.errors import BusyError

PROBES = ("/healthz", "/readyz", "/metrics")
"""Paths that are served to the end."""
HEALTH = "/v1/health"
"""The path that says what is wrong with a process that is unfit."""


class Draining:
    """Answers 503 in place of the app, and closes the connection.

    That is once the process is to end, and while a GPU of it has a fault.
    """

    def __init__(self, app: ASGIApp, *, running: Running) -> None:
        self._app = app
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        error = refusal(self._running) if scope["type"] == "http" else None
        unfit = error is not None and not self._running.draining
        if error is None or scope["path"] in PROBES or (unfit and scope["path"] == HEALTH):
            await self._app(scope, receive, send)
            return
        headers = problems.retry_after(error) | {"Connection": "close"}
        body = problems.problem_json(error, scope.get("request_id", ""))
        await problems.response(scope, body, headers)(scope, receive, send)


def refusal(running: Running) -> BusyError | None:
    """Returns the error for what another process should take; None while this one takes it."""
    if running.draining:
        return BusyError(
            "The service is about to stop. Try again: another one may answer.", code="draining"
        )
    if running.gpus is not None and running.gpus.faults:
        return BusyError(
            "A GPU of this process is unhealthy; operators find its fault at /v1/health. Try"
            " again: another process may answer.",
            code="gpu_unhealthy",
        )
    return None
