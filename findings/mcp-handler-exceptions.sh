#!/usr/bin/env bash
# Seen on 2026-11-30 with mcp 2.3.0 (httpx2 and starlette as it resolves them), Python 3.11, x86-64.
#
# One would expect: an exception that a handler of the low-level server does not catch is reported to the
# client as an internal error, without its text, whatever version of the protocol the client speaks.
# What happens: the version decides. A client of 2026-07-28 gets "Internal server error". A client of
# 2025-11-25, to whom the same server serves the same tool, gets the text of the exception, with code 0.
# Output seen:
#   auto: -32603 Internal server error
#   legacy: 0 no room left on volume archive-7
# Why it matters: texts of exceptions name hosts, folders and statements of databases. A test with the SDK's
# own client, which speaks the new version, sees none of it. Plumbline catches in its handlers what they raise
# (rag/mcp/server.py), and tests both versions.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mcp==2.3.0 uvicorn==0.39.0
"$folder/venv/bin/python" - <<'PYTHON' || { echo "It has changed."; exit 1; }
import asyncio
import contextlib
import logging
import socket

import httpx2
import uvicorn
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import ListToolsResult, Tool
from starlette.applications import Starlette
from starlette.routing import Mount

logging.disable(logging.CRITICAL)


async def list_tools(_context, _params):
    return ListToolsResult(tools=[Tool(name="save", input_schema={"type": "object"})])


async def call_tool(_context, _params):
    raise RuntimeError("no room left on volume archive-7")


server = Server("archive", on_list_tools=list_tools, on_call_tool=call_tool)
manager = StreamableHTTPSessionManager(server, stateless=True)


@contextlib.asynccontextmanager
async def lifespan(_app):
    async with manager.run():
        yield


async def error_of(url, mode):
    async with httpx2.AsyncClient() as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            try:
                await client.call_tool("save", {})
            except MCPError as error:
                return error.error.code, error.error.message
    raise AssertionError("the call did not fail")


async def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    app = Starlette(routes=[Mount("/mcp", app=manager.handle_request)], lifespan=lifespan)
    running = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    serving = asyncio.create_task(running.serve())
    while not running.started:
        await asyncio.sleep(0.05)
    found = {mode: await error_of(f"http://127.0.0.1:{port}/mcp/", mode) for mode in ("auto", "legacy")}
    running.should_exit = True
    await serving
    for mode, (code, message) in found.items():
        print(f"{mode}: {code} {message}")
    assert found == {
        "auto": (-32603, "Internal server error"),
        "legacy": (0, "no room left on volume archive-7"),
    }


asyncio.run(main())
PYTHON
