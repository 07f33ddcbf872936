#!/usr/bin/env bash
# mcp 2.3.0: a request with the id 1.0 is answered 202, as a notification is, and never with a result.
#
# Seen 2026-12-01 with mcp 2.3.0 on Python 3.11.
#
# JSON-RPC 2.0 lets an id be any number ("SHOULD NOT contain fractional parts"), and to JSON 1 and 1.0 are the
# same. MCP asks for an integer or a string. So one expects the answer of the id 1, or an error: MCP's transport
# says that input which a server cannot accept gets an HTTP error.
# What happens: `1.0` is parsed as a float, which the strict integer of the request's model refuses. The message
# then fits the model of a notification, which ignores the id. The server says 202 Accepted, with no body, runs
# nothing and logs nothing.
#
# Output seen:
#   id 1: 200, an answer with the id 1
#   id "1": 200, an answer with the id "1"
#   id 1.0: 202, no body
#
# It matters because a gateway that reads numbers as doubles writes 1.0 (Gson does so where the type is not
# given): its client waits until its own time limit, and neither side has an error to show.
# Exits with 1 if any of this is no longer so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mcp==2.3.0 httpx==0.28.1
"$folder/venv/bin/python" - <<'PYTHON'
import json
import sys

import anyio
import httpx
from mcp.server import MCPServer

HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
BODY = (
    '{"jsonrpc": "2.0", "id": %s, "method": "initialize", "params": {"protocolVersion": "2025-06-18",'
    ' "capabilities": {}, "clientInfo": {"name": "client", "version": "1"}}}'
)


async def main():
    app = MCPServer("server", log_level="ERROR").streamable_http_app(json_response=True, stateless_http=True)
    seen = {}
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            for written in ("1", '"1"', "1.0"):
                answer = await client.post("/mcp", headers=HEADERS, content=BODY % written)
                body = answer.json()["id"] if answer.content else None
                seen[written] = (answer.status_code, body)
                says = f"an answer with the id {json.dumps(body)}" if answer.content else "no body"
                print(f"id {written}: {answer.status_code}, {says}")
    if seen != {"1": (200, 1), '"1"': (200, "1"), "1.0": (202, None)}:
        sys.exit("It was otherwise with mcp 2.3.0.")


anyio.run(main)
PYTHON
