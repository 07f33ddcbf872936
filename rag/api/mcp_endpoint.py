"""`/mcp`: MCP over HTTP. Its tools call this app's own routes, as the caller of the request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from rag.api.app_transport import AppTransport
from rag.errors import ConfigError, NotFoundError
from rag.mcp.rest import Rest
from rag.process.extras import needing
from rag.types import Principal

if TYPE_CHECKING:
    from rag.mcp.server import Context

PATH = "/mcp"
_FORWARDED = ("authorization", "api-key", "traceparent")
"""Headers of a request to `/mcp` that the calls of its tools have, too."""


class McpEndpoint:
    """Serves MCP; its package is imported at the first request, in a thread."""

    def __init__(self, app: ASGIApp, *, public_url: str | None) -> None:
        """Takes the whole app, with its gate, limits and audit, and the URL for browsers."""
        # The name is one that `OwnHosts` always serves.
        self._http = httpx.AsyncClient(
            transport=AppTransport(app), base_url="http://localhost", trust_env=False
        )
        self._public_url = public_url
        self._turn = asyncio.Lock()
        self._endpoint: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request.

        Raises:
            NotFoundError: The package is not installed.
        """
        async with self._turn:
            if self._endpoint is None:
                self._endpoint = await asyncio.to_thread(self._load)
        await self._endpoint(scope, receive, send)

    def _load(self) -> ASGIApp:
        try:
            with needing("mcp", for_=f"`{PATH}`"):
                from rag.mcp.server import make_server
                from rag.mcp.transports import HttpEndpoint
        except ConfigError as error:
            raise NotFoundError(str(error), code="mcp_not_installed") from None
        return HttpEndpoint(make_server(self._rest_of))

    def _rest_of(self, context: Context) -> Rest:
        request = context.request
        assert isinstance(request, Request)  # noqa: S101 - every one comes over HTTP
        caller: Principal = request.scope["principal"]
        headers = {name: request.headers[name] for name in _FORWARDED if name in request.headers}
        return Rest(
            http=self._http,
            headers=headers | {"X-Request-ID": request.scope["request_id"]},
            client=request.scope.get("client"),
            collection=request.query_params.get("collection", "default"),
            permissions=caller.scopes,
            public_url=self._public_url,
        )


def mcp_route(app: ASGIApp, *, public_url: str | None) -> Route:
    """Returns the route; without sessions there is nothing to get or to delete."""
    endpoint: Any = McpEndpoint(app, public_url=public_url)
    return Route(PATH, endpoint, methods=["POST"], include_in_schema=False)
