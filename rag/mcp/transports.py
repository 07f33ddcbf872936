"""The transports of the MCP server: streamable HTTP without sessions, and standard streams."""

from __future__ import annotations

import logging
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import INVALID_REQUEST
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

logging.getLogger("mcp.server.streamable_http_manager").setLevel(logging.WARNING)
_WRONG_ID = JSONResponse(
    {
        "jsonrpc": "2.0",
        "id": None,
        "error": {
            "code": INVALID_REQUEST,
            "message": "The `id` of a request is a string or an integer, such as 1, not 1.0.",
        },
    },
    status_code=400,
)


class HttpEndpoint:
    """Serves each POST by itself: no session is kept, so any replica can serve the next."""

    def __init__(self, server: Server[Any]) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request, and ends what it started."""
        # Here: an error of `receive`, such as a body over the limit, would come out of the
        # manager in an exception group.
        content = await Request(scope, receive).body()
        if _has_wrong_id(content):
            await _WRONG_ID(scope, receive, send)
            return
        body: Message | None = {"type": "http.request", "body": content}

        async def replayed() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message, body = body, None
            return message

        manager = StreamableHTTPSessionManager(self._server, stateless=True)
        async with manager.run():
            await manager.handle_request(scope, replayed, send)


def _has_wrong_id(content: bytes) -> bool:
    """True for a request with an id for which mcp 2.3.0 takes it for a notification: no answer."""
    try:
        message = from_json(content)
    except ValueError:
        return False  # which the SDK refuses
    if not isinstance(message, dict) or not {"id", "method"} <= message.keys():
        return False
    id_ = message["id"]
    return isinstance(id_, bool) or not isinstance(id_, int | str)


async def serve_standard_streams(server: Server[Any]) -> None:
    """Serves one client over standard input and output, until it closes them."""
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())
