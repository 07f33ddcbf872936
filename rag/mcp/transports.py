"""The transports of the MCP server: streamable HTTP without sessions, and standard streams."""

from __future__ import annotations

import logging
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

logging.getLogger("mcp.server.streamable_http_manager").setLevel(logging.WARNING)


class HttpEndpoint:
    """Serves each POST by itself: no session is kept, so any replica can serve the next."""

    def __init__(self, server: Server[Any]) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request, and ends what it started."""
        # Here: an error of `receive`, such as a body over the limit, would come out of the
        # manager in an exception group.
        body: Message | None = {
            "type": "http.request",
            "body": await Request(scope, receive).body(),
        }

        async def replayed() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message, body = body, None
            return message

        manager = StreamableHTTPSessionManager(self._server, stateless=True)
        async with manager.run():
            await manager.handle_request(scope, replayed, send)


async def serve_standard_streams(server: Server[Any]) -> None:
    """Serves one client over standard input and output, until it closes them."""
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())
